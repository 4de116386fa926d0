"""Conversations over the real relay, in memory: frames, batches of the worker and losses in any order.

The model is short. Whatever is said is told to its speaker exactly once, as sent or as not sent, unless the program
ended before. Whoever hears something hears what was really said, in its speaker's order, and at most once, over a
start of the program too. All hear it under the number that the relay gave it, in that order but for what is marked
as late, and only who was a member then; whoever stays there and loses no link hears all. Nobody posts for an
epoch other than the last one that they were told, nor more than the window allows. In the end everybody hears
everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.events import Fault, Gap, Message, Missed, NotSent, Sent, Unreadable
from securechat.e2e.identity import Person as Keys
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MemoryLog, Outcome, Run
from securechat.relay.room import Room
from securechat.wire import messages as wire
from tests.client.town import LOBBY, Person, Town

NAMES = ("alice", "bob", "keeper")
ROOMS = (LOBBY, "#other")
"""`keeper` never loses its link and never leaves these, so that the relay's memory of their ids stays."""

DIRECT = "@alice+bob"
CLOSED = "#closed"


class Truth(MemoryLog):
    """What the relay took, of whom, and who was a member and there at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms: Mapping[str, Room] = {}
        """The relay's, once there is one."""
        self.taken: dict[tuple[str, int], Taken] = {}

    def append(self, runs: Sequence[Run], kept: Callable[[Sequence[list[Outcome]]], None]) -> None:
        """Take a batch, and note it."""

        def noted(outcomes: Sequence[list[Outcome]]) -> None:
            for run, results in zip(runs, outcomes, strict=True):
                for seq, new in results:
                    if new:
                        room = self.rooms[run.room]
                        members = frozenset(each.name for each in room.log.members.values())
                        self.taken[run.room, seq] = Taken(run.sender, members, frozenset(room.entered))
            kept(outcomes)

        super().append(runs, noted)


@dataclass(frozen=True)
class Taken:
    """One message that the relay took."""

    sender: str
    members: frozenset[str]
    here: frozenset[str]


class Counted(Person):
    """A person who is seen to send only what may be sent."""

    def __init__(self, keys: Keys, town: Town, at_once: bool = False) -> None:
        self.epochs: dict[str, bytes] = {}
        self.texts: dict[str, str] = {}
        """What was said so far, by label: the room."""
        self.unanswered = 0
        self.ended: set[str] = set()
        """What was not answered when the program ended."""
        super().__init__(keys, town, at_once)

    def send(self, message: wire.FromClient) -> None:
        """Send, and see that it is what may be sent now."""
        if isinstance(message, wire.Post):
            assert message.epoch == self.epochs.get(message.room), "a post for another epoch than that of now"
            self.unanswered += len(message.items)
            assert self.unanswered <= cast(Model, self.town).window, "more posts than the window allows"
        super().send(message)

    def hear(self, message: wire.FromRelay) -> None:
        """Hear, and count."""
        if isinstance(message, wire.SessionKey):
            self.epochs[message.room] = message.epoch
        elif isinstance(message, wire.Ack):
            self.unanswered -= len(message.items)
        elif isinstance(message, wire.Declined):
            self.unanswered -= len(message.ids)
        super().hear(message)

    def linked_up(self) -> None:
        """A new link: nothing of it is unanswered."""
        self.unanswered = 0
        self.epochs.clear()

    def restart(self) -> None:
        """End the program in good order, and start it with what its key store has."""
        self.worker.work()
        if self.linked:
            self.lose()
        self.conversation.pack()
        self.worker.jobs.clear()
        told = {event.id for event in self.events if isinstance(event, Sent | NotSent)}
        self.ended |= {label for label in self.texts if label not in told}
        self.begin()

    def say(self, room: str) -> str:
        """Say something new."""
        label = f"{self.name} {len(self.texts)}"
        self.texts[label] = room
        self.conversation.say(room, f"text of {label}", label)
        return label


class Model(Town):
    """The town of the model."""

    person_class = Counted
    people: list[Counted]  # type: ignore[assignment]

    def __init__(self, window: int) -> None:
        self.window = window
        many = 10**6
        super().__init__(
            RelayLimits(
                window=window,
                posts_per_s=0,
                bytes_per_s=0,
                hands_per_s=0,
                requests_burst=many,
                appends_burst=many,
                outbox_frames=many,
            )
        )

    def start_relay(self) -> None:
        """Start a relay that is watched."""
        self.truth = Truth()
        self.factory = RelayFactory(self.clock, self.now_ms, self.truth, self._limits, self._motd)
        self.truth.rooms = self.factory.rooms.memberships.rooms


class Talking(RuleBasedStateMachine):
    """Everything that users, links, workers and the relay can do, in any order."""

    town: Model
    steady: set[str]
    """Who has not lost a link so far."""
    left: set[tuple[str, str]]
    """Who has wanted out of which room: what comes until then is not waited for."""

    @initialize(window=st.integers(1, 5))
    def begin(self, window: int) -> None:
        """Everybody is in the lobby, and keeper in the other room too."""
        self.town = Model(window)
        self.steady = set(NAMES)
        self.left = set()
        self.town.come(*NAMES, at_once=False)
        for name in ("keeper", "alice", "bob"):
            for room in ROOMS if name == "keeper" else ROOMS[:1]:
                self.person(name).conversation.enter(room)
            self.town.settle()
        self.person("keeper").conversation.found_closed(CLOSED)
        self.town.settle()

    def person(self, name: str) -> Counted:
        """Somebody by name."""
        return next(each for each in self.town.people if each.name == name)

    @rule(name=st.sampled_from(NAMES), room=st.sampled_from(ROOMS), times=st.integers(1, 6))
    def say(self, name: str, room: str, times: int) -> None:
        """Say something in a room."""
        for _ in range(times):
            self.person(name).say(room)

    @rule(name=st.sampled_from(NAMES[:2]), times=st.integers(1, 3))
    def say_alone(self, name: str, times: int) -> None:
        """Say something to the other one."""
        for _ in range(times):
            self.person(name).say(DIRECT)

    @rule(name=st.sampled_from(NAMES[:2]), room=st.sampled_from(ROOMS))
    def enter(self, name: str, room: str) -> None:
        """Enter a room."""
        self.person(name).conversation.enter(room)

    @rule(name=st.sampled_from(NAMES[:2]), room=st.sampled_from(ROOMS))
    def leave(self, name: str, room: str) -> None:
        """Leave a room."""
        self.person(name).conversation.leave(room)
        self.left.add((name, room))

    @rule(name=st.sampled_from(NAMES), room=st.sampled_from(ROOMS))
    def rekey(self, name: str, room: str) -> None:
        """Begin a new session."""
        self.person(name).conversation.rekey(room)

    @rule(name=st.sampled_from(NAMES), up=st.integers(0, 3), down=st.integers(0, 5))
    def move(self, name: str, up: int, down: int) -> None:
        """Let some frames arrive."""
        person = self.person(name)
        if person.linked:
            person.move_up(up)
            person.move_down(down)

    @rule()
    def turn(self) -> None:
        """Let the relay's turn end."""
        self.town.turn()

    @rule(name=st.sampled_from(NAMES), jobs=st.integers(1, 3))
    def work(self, name: str, jobs: int) -> None:
        """Let somebody's worker do something."""
        self.person(name).worker.work(jobs)

    @rule(name=st.sampled_from(NAMES[:2]))
    def lose(self, name: str) -> None:
        """Lose a link."""
        if self.person(name).linked:
            self.person(name).lose()
            self.steady.discard(name)

    @rule(name=st.sampled_from(NAMES[:2]))
    def restart(self, name: str) -> None:
        """Start somebody's program again."""
        self.person(name).restart()
        self.steady.discard(name)

    @rule(name=st.sampled_from(NAMES[:2]))
    def invite(self, name: str) -> None:
        """The owner of the closed room brings somebody in."""
        self.person("keeper").conversation.invite(CLOSED, name)

    @rule(name=st.sampled_from(NAMES[:2]))
    def remove(self, name: str) -> None:
        """The owner of the closed room puts somebody out."""
        self.person("keeper").conversation.remove(CLOSED, name)

    @rule(name=st.sampled_from(NAMES))
    def say_closed(self, name: str) -> None:
        """Say something in the closed room, whether or not that may be."""
        self.person(name).say(CLOSED)

    @precondition(lambda self: not all(person.linked for person in self.town.people))
    @rule()
    def come_back(self) -> None:
        """Somebody gets a new link."""
        person = next(each for each in self.town.people if not each.linked)
        self.town.turn()
        person.connect()

    @invariant()
    def told_once(self) -> None:
        """Whatever is delivered is authentic, no room is at fault, and nothing is told twice."""
        for person in self.town.people:
            assert not [event for event in person.events if isinstance(event, Unreadable | Fault)], person.events
            labels = [event.id for event in person.events if isinstance(event, Sent | NotSent)]
            assert len(labels) == len(set(labels)), "told twice"

    def teardown(self) -> None:
        """Let everything come to rest, and hold it against the model."""
        if not hasattr(self, "town"):
            return
        for person in self.town.people:
            if not person.linked:
                person.connect()
        self.town.settle()
        for person in self.town.people:
            self.check_told(person)
            self.check_heard(person)
        self.check_end()
        self.check_epochs()
        self.town.close()

    def check_told(self, person: Counted) -> None:
        """Everything said was told as sent or not sent, and as sent in the order of saying it."""
        told = [event for event in person.events if isinstance(event, Sent | NotSent)]
        assert {str(event.id) for event in told} == set(person.texts) - person.ended
        assert not person.conversation.unacknowledged
        assert not person.conversation.opening
        for room in (*ROOMS, DIRECT, CLOSED):
            sent = [(event.seq, event.id) for event in told if isinstance(event, Sent) and event.room == room]
            in_order = [label for label in person.texts if label in {label for _, label in sent}]
            assert [label for _, label in sent] == in_order
        for event in told:
            assert (event.room, event.text) == (person.texts[str(event.id)], f"text of {event.id}")

    def check_heard(self, person: Counted) -> None:
        """What was heard was said, in its order, and once."""
        heard = [event for event in person.events if isinstance(event, Message)]
        for other in self.town.people:
            for room in (*ROOMS, DIRECT, CLOSED):
                texts = [event.text for event in heard if (event.room, event.sender) == (room, other.name)]
                said = iter([f"text of {label}" for label, where in other.texts.items() if where == room])
                assert all(text in said for text in texts), "not in order, or twice"

    def check_epochs(self) -> None:
        """Under one number all heard the same, if they were members then; who was there all the time heard all."""
        said: dict[tuple[str, int], set[tuple[str, str]]] = {}
        for person in self.town.people:
            heard = {}
            highest = dict.fromkeys((*ROOMS, DIRECT, CLOSED), 0)
            for event in person.events:
                if isinstance(event, Message):
                    assert event.late or event.seq > highest[event.room], "not in the relay's order"
                    highest[event.room] = max(event.seq, highest[event.room])
                    heard[event.room, event.seq] = event.sender, event.text
                    said.setdefault((event.room, event.seq), set()).add((event.sender, event.text))
                elif isinstance(event, Sent):
                    said.setdefault((event.room, event.seq), set()).add((person.name, f"text of {event.id}"))
            if person.name in self.steady:
                lost = [event for event in person.events if isinstance(event, Gap | Missed)]
                assert not lost, (person.name, lost)
            for place, taken in self.town.truth.taken.items():
                due = taken.sender != person.name and person.name in taken.members
                if not due:
                    assert place not in heard, "heard by who was no member"
                elif (
                    person.name in taken.here
                    and person.name in self.steady
                    and (person.name, place[0]) not in self.left
                ):
                    assert place in heard, (person.name, place, taken)
        for place, what in said.items():
            assert [sender for sender, _ in what] == [self.town.truth.taken[place].sender], (place, what)

    def check_end(self) -> None:
        """Everybody is where the relay thinks, and is heard by all who are there."""
        for person in self.town.people:
            person.conversation.enter(LOBBY)
            self.town.settle()
        for person in self.town.people:
            assert sorted(person.conversation.members(LOBBY)) == sorted(NAMES)
            label = person.say(LOBBY)
            self.town.settle()
            for other in self.town.people:
                last: Any = [event for event in other.events if isinstance(event, Message | Sent)][-1]
                assert isinstance(last, Sent if other is person else Message), (other.name, last)
                assert last.text == f"text of {label}", (other.name, last)


class RelayTests(SynchronousTestCase):
    """Conversations and the real relay."""

    def test_model(self) -> None:
        """Whatever happens in whatever order, the model holds."""
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
        run_state_machine_as_test(
            Talking,
            settings=settings(
                max_examples=400, stateful_step_count=40, deadline=None, suppress_health_check=checks
            ),
        )
