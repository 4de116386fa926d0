"""What a room of many members costs who joins it and who is in it (SC1 §3, §5)."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from time import perf_counter
from typing import Final

from _messages import OURS, PLAIN, Plain
from _rooms import NOW_MS, ROOM, WrongResultError, people, room_of
from _table import Way, Work

from securechat.bench.measure import Timer, timer
from securechat.e2e.hpke import best_suite
from securechat.e2e.outcomes import KeyTaken
from securechat.e2e.room import SecureRoom
from securechat.e2e.safety import Pins
from securechat.signed.prekeys import read_prekey
from securechat.signed.roster import Roster
from securechat.signed.suites import Suite

SUITES: Final = {Suite.X25519: "X25519", Suite.X_WING: "X-Wing"}
COMERS: Final = 20
"""So many people come and go, each in turn: the log would not let one come while they are in."""


class LargeRoom:
    """A room of so many members, of whom the last one is new."""

    def __init__(self, count: int) -> None:
        """Make the members and their log."""
        self.count = count
        self.members = people(count)
        self.log = room_of(self.members).packed

    def follow(self) -> None:
        """What the newcomer does first: follow the whole log, and remember everybody's key."""
        newcomer = self.members[-1]
        room = SecureRoom(newcomer.person, newcomer.ring(Suite.X25519), Roster(self.log[0], ROOM), Pins())
        room.follow(self.log[1:])
        if len(room.roster.members) != self.count:
            raise WrongResultError("the log does not have everybody")

    def join_timer(self) -> Timer:
        """Time a newcomer's join being drafted and taken; the newcomer then leaves, untimed."""
        roster = Roster(self.log[0], ROOM)
        roster.follow(self.log[1:])
        comers = cycle(people(COMERS, "comer"))

        def timed(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                comer = next(comers)
                begun = perf_counter()
                entry = roster.join(comer.person, NOW_MS)
                taken = roster.append(entry)
                seconds += perf_counter() - begun
                if taken is None or len(roster.members) != self.count + 1:
                    raise WrongResultError("the join was not taken")
                roster.append(roster.leave(comer.person, NOW_MS))
            return seconds / times

        return timed

    def welcome_timer(self, suite: Suite) -> Timer:
        """Time what a member does about somebody who joins: follow the entry, and hand over the key."""
        room = self.members[0].enter(self.log)
        everybody = people(COMERS, "comer")
        comers = cycle([(each, each.record(suite)) for each in everybody])

        def timed(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                comer, record = next(comers)
                # The one before has left, so there is a new session: everybody else has its key already.
                for member in room.to_hand(NOW_MS):
                    room.pass_over(member)
                entry = room.roster.join(comer.person, NOW_MS)
                begun = perf_counter()
                room.follow([entry])
                missing = room.to_hand(NOW_MS)
                blobs = [room.hand(each, read_prekey(record, each.device, NOW_MS), NOW_MS) for each in missing]
                seconds += perf_counter() - begun
                if [each.device for each in missing] != [comer.device] or len(blobs) != 1:
                    raise WrongResultError("it is not the newcomer alone who was handed the key")
                room.follow([room.roster.leave(comer.person, NOW_MS)])
            return seconds / times

        return timed

    def first_message_timer(self, suite: Suite) -> Timer:
        """Time the newcomer's key being sealed to all others, which comes before the first message."""
        room = self.members[-1].enter(self.log)
        records = {each.device: each.record(suite) for each in self.members}

        def timed(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                room.rekey()
                begun = perf_counter()
                handed = 0
                for member in room.to_hand(NOW_MS):
                    prekey = read_prekey(records[member.device], member.device, NOW_MS)
                    handed += bool(room.hand(member, prekey, NOW_MS))
                seconds += perf_counter() - begun
                if handed != self.count - 1 or room.to_hand(NOW_MS):
                    raise WrongResultError("somebody was not handed the key")
            return seconds / times

        return timed

    def open_timer(self, suite: Suite) -> Timer:
        """Time a sealed key being opened: that of a new session each time."""
        sender, listener = self.members[-1], self.members[0]
        theirs, ours = sender.enter(self.log), listener.enter(self.log, suite)
        record = read_prekey(listener.record(suite), listener.device, NOW_MS)
        [member] = [each for each in theirs.to_hand(NOW_MS) if each.device == listener.device]

        def timed(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                theirs.rekey()
                blob = theirs.hand(member, record, NOW_MS)
                begun = perf_counter()
                taken = ours.sealed_key(0, sender.name, blob)
                seconds += perf_counter() - begun
                if not isinstance(taken, KeyTaken):
                    raise WrongResultError(f"a sealed key was not taken: {taken}")
            return seconds / times

        return timed


def large_room(count: int) -> Iterator[Work]:
    """Join a room of many, and have somebody join it."""
    room = LargeRoom(count)
    suites: Sequence[Suite] = [each for each in SUITES if each.rank <= best_suite().rank]
    others = count - 1
    ways = [
        Way("an Ed25519 signature verified", PLAIN, timer(Plain(100).verify)),
        Way("newcomer: the log followed, each entry", OURS, timer(room.follow), count),
        Way("newcomer: the join drafted and taken", OURS, room.join_timer()),
    ]
    for suite in suites:
        name = SUITES[suite]
        ways += [
            Way(
                f"newcomer: the key sealed to {others:,} devices, {name}",
                OURS,
                room.first_message_timer(suite),
                others,
            ),
            Way(f"every member: the join followed, a key sealed, {name}", OURS, room.welcome_timer(suite)),
            Way(f"every member: the newcomer's key opened, {name}", OURS, room.open_timer(suite)),
        ]
    yield Work("Joining a large room", f"{count:,} members", ways)
