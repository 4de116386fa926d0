"""What becomes of what was posted: taken, given back, or posted again where the relay has no room for it now."""

from collections.abc import Callable
from typing import Final

from securechat.client import events
from securechat.client.archive import Archive
from securechat.client.events import Error, Event, Missed, NotSent, Sent, time_of
from securechat.client.room import Pending, Room
from securechat.client.saying import Saying
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code

POST_LEAST_S: Final = 5.0
POST_MOST_S: Final = 60.0
"""How long a message waits that a relay has no room for, the first time and after many."""

_FOR_NOW: Final = frozenset({Code.STORAGE_FULL, Code.FAILED, Code.BUSY})
"""Why something is not taken that may be taken later."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds."""


class Answers:
    """Hears the relay's answers to posts, room by room."""

    def __init__(
        self,
        name: str,
        saying: Saying,
        archive: Archive,
        tell: Callable[[Event], None],
        later: Later,
        now_ms: Callable[[], int],
        *,
        posts_again: bool,
    ) -> None:
        """Take our name, what posts, where what was taken can be read again, where events go, and the clock.

        What the relay has no room for now is posted again where it `posts_again`, and else was not sent.
        """
        self._name = name
        self._saying = saying
        self._archive = archive
        self._tell = tell
        self._later = later
        self._now_ms = now_ms
        self._posts_again = posts_again

    def acknowledged(self, room: Room, ack: wire.Ack) -> None:
        """The relay has taken posts of ours."""
        if room.secure is not None:
            room.secure.hands_came()
        for post_id, seq in ack.items:
            pending = room.outbox.pop(post_id, None)
            room.numbers.own(seq)
            room.absence.own(seq)
            if pending is not None:
                room.refusals = 0
                if seq <= room.last_seq:
                    # Taken on a link that was lost: nobody is given what was sealed for this one.
                    self._saying.not_delivered(room, pending)
                self._keep_own(room, seq, pending)
                self._tell(Sent(room.name, seq, pending.text, pending.label))
        self.tell_missed(room)

    def declined(self, room: Room, declined: wire.Declined) -> None:
        """The relay has not taken posts of ours."""
        code = declined.code
        if code in _FOR_NOW and self._posts_again:
            self._post_later(room, declined)
        elif code is not Code.STALE_EPOCH:
            for post_id in declined.ids:
                pending = room.outbox.pop(post_id, None)
                if pending is not None:
                    self._tell(NotSent(room.name, REASONS[code], pending.text, pending.label))
        # A stale epoch needs no answer: its new key comes, or has come, and posts them again.
        self.tell_missed(room)

    def tell_missed(self, room: Room) -> None:
        """Tell what was said while we were away, once it is known what of that is our own."""
        if not room.repeats:
            for first, last, reason in room.absence.take():
                self._tell(Missed(room.name, first, last, reason))

    def _keep_own(self, room: Room, seq: int, pending: Pending) -> None:
        """Something of ours was taken: it can be read again as what others say can."""
        if room.secure is not None:
            now_ms = self._now_ms()
            message = events.Message(room.name, self._name, pending.text, time_of(now_ms), seq)
            self._archive.keep(room.secure.roster, [message], now_ms)

    def _post_later(self, room: Room, declined: wire.Declined) -> None:
        """Post once more what the relay had no room for, after a while, and all that comes after it."""
        for post_id in declined.ids:
            pending = room.outbox.get(post_id)
            if pending is not None:
                self._saying.declined(room, pending)
        if room.waits:
            return
        if not room.refusals:
            self._tell(
                Error(f"{room.name}: {REASONS[declined.code]}; what you say waits, and is sent when it can be")
            )
        wait = min(POST_MOST_S, POST_LEAST_S * 2.0 ** min(room.refusals, 16))
        room.refusals, room.waits = room.refusals + 1, True

        def again() -> None:
            room.waits = False
            self._saying.post(room)

        self._later(wait, again)
