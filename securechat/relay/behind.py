"""Members who are told what was said from the log, page by page as they read, until they hear it as it is said.

Somebody has come back, or reads more slowly than a room talks: what is said is not put in line for them then (see
`Room.level`), and so costs no memory here. When they have read what was in line before, a page is read from the
log; meanwhile what is said is kept beside it, a page of that at most. Where the log had no more than that page, the
two are all there is, and they are level; otherwise the next page follows when they have read this one.

A page is asked for when all that was said in the room is kept, so that nothing falls between the page and what is
said next. Whoever comes to their page before that waits for a hint that the room has got further (see `bus`). One
client has one page at a time, of one room after the other.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from typing import Final, NamedTuple

from securechat.relay.bus import Bus
from securechat.relay.journal import Keeping
from securechat.relay.pages import PAGE_BYTES, History, Page, Told
from securechat.relay.room import Client, Room
from securechat.relay.telling import Telling
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from securechat.wire.messages import Gap, SessionKey

LastSeq = Callable[[str], int]
"""The number of the last message of a room."""


class Reader:
    """Somebody who is behind in some rooms; a `room.Hearer`."""

    __slots__ = ("_size", "client", "given", "now", "page", "rooms", "said")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.rooms: dict[str, tuple[Room, int]] = {}
        """By name, with the number of the next message that they are to be told; the next page is of the first."""
        self.now: str | None = None
        """The room of which a page is being read."""
        self.page = 0
        """Which page that is."""
        self.given = b""
        """The epoch of which they were given the session key last."""
        self.said: list[bytes] | None = None
        """What was said in that room since; None where that is too much to keep."""
        self._size = 0

    def asks(self, name: str) -> None:
        """A page of a room is asked for."""
        self.now, self.said, self._size = name, [], 0
        self.page += 1

    def say(self, data: bytes) -> None:
        """Something is said in that room."""
        self._size += len(data)
        if self._size > PAGE_BYTES:
            self.said = None
        if self.said is not None:
            self.said.append(data)


class Behind:
    """Everybody who is behind."""

    def __init__(self, history: History, journal: Keeping, bus: Bus, last_seq: LastSeq) -> None:
        self._history = history
        self._journal = journal
        self._last_seq = last_seq
        self._readers: dict[Client, Reader] = {}
        self._waiting: dict[str, dict[Reader, None]] = {}
        """Those whose next page is of a room that is not kept as far as it goes."""
        bus.hear_reached(self._reached)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._readers)

    def begin(self, client: Client, room: Room, after: int) -> None:
        """Tell a member who is here what was said after a number, and then what is said."""
        self.end(client, room)
        if after >= self._last_seq(room.name):
            room.level[client.name] = client
            return
        reader = self._readers.get(client)
        if reader is None:
            reader = self._readers[client] = Reader(client)
            client.stream(self._turn(reader))
        reader.rooms[room.name] = room, after + 1

    def end(self, client: Client, room: Room) -> None:
        """Tell somebody nothing more of a room."""
        room.level.pop(client.name, None)
        room.joining.pop(client.name, None)
        reader = self._readers.get(client)
        if reader is not None:
            reader.rooms.pop(room.name, None)
            if reader.now == room.name:
                # The page that is on its way is of no use.
                reader.now = None
                client.stream(self._turn(reader))

    def gone(self, client: Client) -> None:
        """A link is lost."""
        self._readers.pop(client, None)

    def _turn(self, reader: Reader) -> Iterator[bytes]:
        """Stands in line, and asks for the next page when all that stands before it has been read."""
        self._journal.at_turn_end(partial(self._ask, reader))
        yield from ()

    def _reached(self, name: str, seq: int) -> None:
        """A hint says that a room has got further: whoever waits for that looks whether it has, and may wait on."""
        for reader in self._waiting.pop(name, ()):
            # At once: at the end of the turn there would be more that is not kept.
            self._ask(reader)

    def _ask(self, reader: Reader) -> None:
        if self._readers.get(reader.client) is not reader or reader.now is not None:
            return
        if not reader.rooms:
            del self._readers[reader.client]
            return
        name, (room, first) = next(iter(reader.rooms.items()))
        if room.kept_seq < self._last_seq(name):
            self._waiting.setdefault(name, {})[reader] = None
            return
        reader.asks(name)
        room.joining[reader.client.name] = reader
        self._history.read(name, first, partial(self._read, reader, reader.page, room, first, self._last_seq(name)))

    def _read(self, reader: Reader, asked: int, room: Room, first: int, last: int, page: Page | None) -> None:
        """A page has come: `last` was the room's last message when it was asked for."""
        client = reader.client
        if reader.page != asked or room.joining.get(client.name) is not reader:
            return
        if page is None:
            client.fail()
            return
        room.joining.pop(client.name)
        reader.now = None
        if page.messages and not page.is_last:
            last = page.messages[-1].seq
        frames = list(self._frames(reader, room, page, first, last))
        del reader.rooms[room.name]
        if page.is_last and reader.said is not None:
            room.level[client.name] = client
            frames += reader.said
        else:
            reader.rooms[room.name] = room, last + 1
        client.stream(chain(frames, self._turn(reader)))

    def _frames(self, reader: Reader, room: Room, page: Page, first: int, last: int) -> Iterator[bytes]:
        """The numbers from `first` to `last`: messages, the keys that they need, and what there is instead."""
        device = reader.client.device
        readable = {
            epoch: room.log.member_at(device, epoch) is not None
            for epoch in {message.epoch for message in page.messages}
        }
        for epoch, key in page.keys.items():
            if readable.get(epoch) and epoch not in (room.epoch, reader.given):
                reader.given = epoch
                yield frame(SessionKey(room.name, epoch, key))
        for code, spans in groupby(_spans(page.messages, readable, first, last, self._history.missing), _code):
            some = list(spans)
            if code is not None:
                yield frame(Gap(room.name, some[0].first, some[-1].last, code))
                continue
            telling = Telling()
            messages = [span.message for span in some if span.message is not None]
            telling.say((each.seq, (each.sender, each.time_ms, each.sealed)) for each in messages)
            yield from (data for _, data in telling.frames(room.name))


class _Span(NamedTuple):
    """Numbers in a row, and what is under them: a message, or why there is nothing."""

    code: Code | None
    first: int
    last: int
    message: Told | None = None


_code: Final = attrgetter("code")


def _spans(
    messages: list[Told], readable: dict[bytes, bool], first: int, last: int, missing: Code
) -> Iterator[_Span]:
    """All numbers from `first` to `last`, for somebody who may read messages of some epochs."""
    for message in messages:
        if message.seq > first:
            yield _Span(missing, first, message.seq - 1)
        yield _Span(None if readable[message.epoch] else Code.NOT_A_MEMBER, message.seq, message.seq, message)
        first = message.seq + 1
    if first <= last:
        yield _Span(missing, first, last)
