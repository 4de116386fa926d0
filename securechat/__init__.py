"""A chat that people host themselves: relay, client, and a batching crypto engine."""

__version__ = "0.1.0"
