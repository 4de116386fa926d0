"""The server: names, rooms, session keys, relayed frames that stay unopened."""
