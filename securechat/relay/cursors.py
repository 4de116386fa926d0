"""Up to where each member's device has what was said in a room, as it says itself (`Seen`)."""

from collections.abc import Iterable, Mapping

from securechat.relay.records import CursorMoved, Recorder
from securechat.relay.room import Client, Room


class Cursors:
    """Of all rooms; numbers only go up."""

    def __init__(self, records: Recorder) -> None:
        self._records = records
        self._of_room: dict[str, dict[bytes, int]] = {}

    def moved(self, client: Client, room: Room, seq: int) -> None:
        """A member's device has seen what was said up to a number."""
        seen = self._of_room.setdefault(room.name, {})
        if seq > seen.get(client.device, 0):
            seen[client.device] = seq
            self._records.add_later(CursorMoved(room.name, client.device, seq))

    def restore(self, room: str, seen: Mapping[bytes, int]) -> None:
        """Go on with a room that was kept."""
        self._of_room[room] = dict(seen)

    def forget(self, room: str) -> None:
        """A room has ended."""
        self._of_room.pop(room, None)

    def seen_by_all(self, room: Room) -> int:
        """Up to where every member has seen what was said: 0 where somebody has seen nothing."""
        seen = self._of_room.get(room.name, {})
        return min(seen.get(member.device, 0) for member in room.log.members.values())

    def done_with(self, rooms: Iterable[Room]) -> dict[str, int]:
        """Of rooms whose members want no history: up to where nobody needs their messages any more."""
        done = {room.name: self.seen_by_all(room) for room in rooms if not room.log.policy.history_days}
        return {name: seq for name, seq in done.items() if seq}
