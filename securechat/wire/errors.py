"""The root of what this package raises."""


class WireError(Exception):
    """Something about an address, a name or a message was not as the protocol wants it."""
