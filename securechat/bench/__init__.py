"""Measuring how fast this machine seals and opens: `securechat bench crypto`, and benchmarks/crypto.py on top."""
