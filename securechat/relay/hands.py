"""Sealed keys from member to member, and the asking for them.

Every key is kept until its device says that it has stored it. When that is here, keys are fed to it as it reads:
they come in hundreds, and who hands them out must not be able to push somebody over the bound of what waits.
"""

from collections.abc import Callable, Iterator, Mapping

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
        self._fed: dict[Client, dict[str, int]] = {}
        """The serial number of the last key that a client was given on its link, by room."""

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

    def feed_again(self, client: Client, room: Room) -> None:
        """Give a member who enters all that it has not said to have stored."""
        self._fed.get(client, {}).pop(room.name, None)
        self.feed(client, room)

    def feed(self, client: Client, room: Room) -> None:
        """Give a member who is here what waits for the device that it is here with, and was not given yet."""
        feeding = self._feeding.setdefault(client, set())
        if room.name not in feeding:
            feeding.add(room.name)
            client.stream(self._frames(client, room.name))

    def _frames(self, client: Client, room: str) -> Iterator[bytes]:
        fed = self._fed.setdefault(client, {})
        while True:
            last, items = self.waiting.some(client.device, room, fed.get(room, 0))
            if not items:
                break
            fed[room] = last
            yield frame(SealedKey(room, last, items))
        self._feeding[client].discard(room)

    def stored(self, client: Client, room: str, handed: int) -> None:
        """A client has stored the keys that it was given in a room, up to a serial number."""
        if handed:
            self.waiting.forget(client.device, room, handed)

    def put_out(self, room: Room, device: bytes) -> None:
        """A device is no member's any more; what was handed to it goes."""
        self.waiting.forget(device, room.name)

    def gone(self, client: Client) -> None:
        """A link is lost; what it was not given waits on."""
        self._feeding.pop(client, None)
        self._fed.pop(client, None)
