"""Sealed keys from member to member, and the asking for them.

Every key is kept first and, when its device is here, fed to it as it reads: keys come in hundreds, and who hands
them out must not be able to push somebody over the bound of what waits for them.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from securechat.relay.limits import RelayLimits
from securechat.relay.records import Recorder
from securechat.relay.room import Client, Room
from securechat.relay.waiting import WaitingKeys
from securechat.wire.framing import frame
from securechat.wire.messages import Ask, Asked, Hand, SealedKey


class Hands:
    """The sealed keys of all rooms."""

    def __init__(
        self, rooms: Mapping[str, Room], now_ms: Callable[[], int], limits: RelayLimits, records: Recorder
    ) -> None:
        self.waiting = WaitingKeys(now_ms, limits, records)
        self._rooms = rooms
        self._feeding: dict[Client, set[str]] = {}
        """The rooms for which a stream of keys is on its way to a client."""

    def hand(self, client: Client, hand: Hand) -> None:
        """Pass sealed keys on from a member to devices of members; what is not that is dropped."""
        room = self._rooms.get(hand.room)
        if room is None or not room.has(client):
            return
        for device, blob in hand.items:
            member = room.log.member_at(device, room.log.epoch)
            if member is not None:
                self.waiting.keep(device, room.name, client.device, client.name, blob)
                recipient = room.entered.get(member.name)
                if recipient is not None:
                    self.feed(recipient, room)

    def ask(self, client: Client, ask: Ask) -> None:
        """Pass a member's question for a key on to a member's device that is here."""
        room = self._rooms.get(ask.room)
        if room is None or not room.has(client):
            return
        member = room.log.member_at(ask.device, room.log.epoch)
        asked = None if member is None else room.entered.get(member.name)
        if asked is not None and asked.device == ask.device:
            asked.put(frame(Asked(ask.room, client.device, ask.sid)))

    def feed(self, client: Client, room: Room) -> None:
        """Give a member who is here what waits for the device that it is here with."""
        feeding = self._feeding.setdefault(client, set())
        if room.name not in feeding:
            feeding.add(room.name)
            client.stream(self._frames(client, room.name))

    def _frames(self, client: Client, room: str) -> Iterator[bytes]:
        take = partial(self.waiting.take, client.device, room)
        for items in iter(take, []):
            yield frame(SealedKey(room, 0, items))
        self._feeding[client].discard(room)

    def put_out(self, room: Room, device: bytes) -> None:
        """A device is no member's any more; what was handed to it goes."""
        self.waiting.forget(device, room.name)

    def gone(self, client: Client) -> None:
        """A link is lost; what it was not given waits on."""
        self._feeding.pop(client, None)
