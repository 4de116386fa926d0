"""A line that was said is forgotten when whoever said it knows what became of it, and not before."""

from collections.abc import Callable, Iterable

from securechat.client.ledger import Ledger
from securechat.client.ordered import InOrder


class Lines:
    """The lines in a ledger.

    A client that is killed between an acknowledgement and its telling would otherwise leave nothing of the line,
    and nobody would ever tell of it. As it is the next run says it again under its id, and hears of the first.
    """

    def __init__(
        self, ledger: Ledger, in_order: InOrder, is_taken: Callable[[], bool], flush_soon: Callable[[], None]
    ) -> None:
        """Take the ledger, what tells, whether what was told is out of our hands, and what writes the ledger."""
        self._ledger = ledger
        self._in_order = in_order
        self._is_taken = is_taken
        self._flush_soon = flush_soon
        self._leaving: set[bytes] = set()
        """Of these it is known what became of them."""
        self._told: set[bytes] = set()
        """Of these it has been told."""

    def keep_only(self, post_ids: Iterable[bytes]) -> None:
        """Of what was said only this is neither acknowledged nor given up; of the rest it was said, if not told."""
        gone = self._ledger.lines - set(post_ids) - self._leaving
        if gone:
            self._leaving |= gone
            self._in_order.after(lambda: self._tell(gone))
        if self._told and self._is_taken():
            self._ledger.forget(self._told)
            self._leaving -= self._told
            self._told = set()

    def _tell(self, gone: Iterable[bytes]) -> None:
        self._told.update(gone)
        self._flush_soon()
