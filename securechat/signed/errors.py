"""The root of what this package raises, and the one error of everything that is not authentic."""


class SignedError(Exception):
    """Something signed was not taken; the message is for the person at the screen."""


class NotAuthentic(SignedError):  # noqa: N818
    """What came is not what its author made: malformed, unsigned, altered, or made for another place.

    Which of these it was is deliberately not told, neither in the text nor by another class: whoever sent it
    could learn from the difference. It carries no arguments for the same reason.
    """

    def __init__(self) -> None:
        """Take nothing: there is nothing to tell."""
        super().__init__("it is not authentic: somebody changed it, or made it for another place")
