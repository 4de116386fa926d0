"""The root of what this package raises."""


class E2EError(Exception):
    """A message cannot be sealed or opened; the message is for the person at the screen."""
