"""The root of what this package raises."""


class RelayError(Exception):
    """The relay cannot start or go on; the message is one line for its operator."""
