"""Owners and numbers that write down what changes, and how all that was kept comes back at the start."""

from collections.abc import Hashable, Sequence

from securechat.relay.bans import Ban, Bans
from securechat.relay.directory import MemoryOwners, Owner
from securechat.relay.errors import RelayError
from securechat.relay.log import MemoryLog, Outcome, Recalled, Run
from securechat.relay.memberships import Memberships
from securechat.relay.pages import History
from securechat.relay.records import Banned, MessageTaken, OwnerChanged, OwnerRemoved, Recorder, Unbanned
from securechat.relay.room import Room
from securechat.relay.storage_key import StorageKey
from securechat.relay.store import Kept
from securechat.relay.tags import post_tag
from securechat.signed.rights import RosterError
from securechat.signed.roster import Roster as Log


class KeptOwners(MemoryOwners):
    """Owners whose changes are written down."""

    def __init__(self, records: Recorder) -> None:
        super().__init__()
        self._records = records

    def keep(self, owner: Owner) -> None:
        """Keep somebody new, or what is new of somebody known."""
        if self.identified(owner.identity) != owner:
            self._records.add(OwnerChanged(owner))
            self.restore(owner)

    def remove(self, owner: Owner) -> None:
        """Let somebody else have an owner's name."""
        self._records.add(OwnerRemoved(owner))
        super().remove(owner)

    def restore(self, owner: Owner) -> None:
        """Go on with somebody who was kept; who got their name back was kept twice, the second time with it."""
        if owner.is_former:
            self.remember(owner)
        else:
            super().keep(owner)


class KeptBans(Bans):
    """Bans that are written down."""

    def __init__(self, records: Recorder) -> None:
        super().__init__()
        self._records = records

    def add(self, ban: Ban) -> None:
        """Ban something."""
        self._records.add(Banned(ban))
        self.restore(ban)

    def remove(self, ban: Ban) -> None:
        """Ban it no more."""
        self._records.add(Unbanned(ban))
        super().remove(ban)

    def restore(self, ban: Ban) -> None:
        """Go on with a ban that was kept."""
        super().add(ban)


class KeptLog(MemoryLog):
    """A log whose messages are written down; they are known by the tags under which the store has them."""

    def __init__(self, records: Recorder, key: StorageKey, history: History) -> None:
        super().__init__()
        self._records = records
        self._storage_key = key
        self._history = history

    def remembers(self, room: str, after: int) -> bool:
        """Whether the ids of all messages of a room with numbers above `after` are in memory."""
        return after >= self._remembered_after(room)

    def recall(self, room: str, sender: str, post_id: bytes, after: int, recalled: Recalled) -> None:
        """Look for it among what was kept."""
        tag = post_tag(self._storage_key, room, sender, post_id)

        def found(seq: int | None) -> None:
            if seq:
                self._remember(room, tag, seq)
            recalled(seq is not None)

        self._history.find(room, tag, after, self._remembered_after(room), found)

    def _keys(self, run: Run) -> Sequence[bytes]:
        return [post_tag(self._storage_key, run.room, run.sender, post_id) for post_id, _ in run.items]

    def _take(self, run: Run, keys: Sequence[Hashable], outcomes: Sequence[Outcome]) -> None:
        for (post_id, sealed), key, (seq, is_new) in zip(run.items, keys, outcomes, strict=True):
            if is_new:
                assert isinstance(key, bytes)
                self._records.add(
                    MessageTaken(
                        run.room, seq, key, run.sender, post_id, run.epoch, run.time_ms, sealed, run.keep_days
                    )
                )


def restore(kept: Kept, owners: KeptOwners, bans: KeptBans, log: MemoryLog, memberships: Memberships) -> None:
    """Go on where the relay stood when it ended. Raises `RelayError` where that cannot have been."""
    for owner in kept.owners:
        owners.restore(owner)
    for ban in kept.bans:
        bans.restore(ban)
    for each in kept.rooms:
        try:
            # Each was checked when it came, and the store is sealed.
            entries = Log.restored(each.entries, each.name)
        except RosterError as wrong:
            raise RelayError("the store is damaged: a room's log does not hold") from wrong
        if entries.epoch != each.epoch:
            raise RelayError("the store is damaged: a room has another epoch than its log")
        room = Room(each.name, entries)
        room.begin_epoch(each.epoch, each.key)
        room.kept_seq = each.last_seq
        memberships.restore(room)
        memberships.cursors.restore(each.name, each.cursors)
        log.restore(each.name, each.last_seq, each.ids)
    for waiting in kept.waiting:
        memberships.hands.waiting.restore(waiting)
