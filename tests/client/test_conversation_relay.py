"""Conversations over the real relay, in memory: frames, batches of the worker and losses in any order.

The model is short. Whatever is said is told to its speaker exactly once, as sent or as not sent, unless their
program ends before. Whoever hears something hears what was really said, in its speaker's order, and at most once.
Nobody posts for an epoch other than the last one that they were told, nor more than the window allows. In the end
everybody hears everybody.
"""

from __future__ import annotations

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

from securechat.client.events import Fault, Message, NotSent, Sent, Unreadable
from securechat.e2e.identity import Person as Keys
from securechat.e2e.outcomes import Refusal
from securechat.relay.limits import RelayLimits
from securechat.wire import messages as wire
from tests.client.town import LOBBY, Person, Town

NAMES = ("alice", "bob", "keeper")
ROOMS = (LOBBY, "#other")
"""`keeper` never loses its link and never leaves these, so that the relay's memory of their ids stays."""

DIRECT = "@alice+bob"


class Counted(Person):
    """A person who is seen to send only what may be sent."""

    def __init__(self, keys: Keys, town: Town, at_once: bool = False) -> None:
        self.epochs: dict[str, bytes] = {}
        self.texts: dict[str, str] = {}
        """What was said so far, by label: the room."""
        self.unfinished: set[str] = set()
        """What was said and not told when the program ended."""
        self.restarts = 0
        self.unanswered = 0
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

    @property
    def untold(self) -> set[str]:
        """What was said and not told as sent or not sent."""
        return set(self.texts) - {str(event.id) for event in self.events if isinstance(event, Sent | NotSent)}

    def restart(self) -> None:
        """End the program and start it again."""
        self.restarts += 1
        self.conversation.pack()
        if self.linked:
            self.lose()
        self.unfinished |= self.untold
        self.worker.jobs.clear()
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


class Talking(RuleBasedStateMachine):
    """Everything that users, links, workers and the relay can do, in any order."""

    town: Model

    @initialize(window=st.integers(1, 5))
    def begin(self, window: int) -> None:
        """Everybody is in the lobby, and keeper in the other room too."""
        self.town = Model(window)
        self.town.come(*NAMES, at_once=False)
        for name in ("keeper", "alice", "bob"):
            for room in ROOMS if name == "keeper" else ROOMS[:1]:
                self.person(name).conversation.enter(room)
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
    def invite(self, name: str, room: str) -> None:
        """Be brought into a room by its owner."""
        self.person("keeper").conversation.invite(room, name)

    @rule(name=st.sampled_from(NAMES[:2]), room=st.sampled_from(ROOMS))
    def remove(self, name: str, room: str) -> None:
        """Be put out of a room by its owner."""
        self.person("keeper").conversation.remove(room, name)

    @rule(name=st.sampled_from(NAMES[:2]))
    def restart(self, name: str) -> None:
        """Start a program again."""
        self.person(name).restart()

    @rule(name=st.sampled_from(NAMES[:2]), room=st.sampled_from((*ROOMS, DIRECT)))
    def leave(self, name: str, room: str) -> None:
        """Leave a room."""
        self.person(name).conversation.leave(room)

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
    def wait(self) -> None:
        """Let time pass for whoever has lost a race."""
        self.town.wait()

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
            bad = [event for event in person.events if isinstance(event, Unreadable | Fault)]
            if person.restarts:
                # What came while nobody had kept its key is gone.
                bad = [event for event in bad if event.reason != Refusal.KEY_GONE]
            assert not bad, bad
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
        self.town.close()

    def check_told(self, person: Counted) -> None:
        """Everything said was told as sent or not sent, and as sent in the order of saying it."""
        told = [event for event in person.events if isinstance(event, Sent | NotSent)]
        assert person.untold == person.unfinished
        assert not person.conversation.unacknowledged
        assert not person.conversation.opening
        for room in (*ROOMS, DIRECT):
            sent = [(event.seq, event.id) for event in told if isinstance(event, Sent) and event.room == room]
            in_order = [label for label in person.texts if label in {label for _, label in sent}]
            assert [label for _, label in sent] == in_order
        for event in told:
            assert (event.room, event.text) == (person.texts[str(event.id)], f"text of {event.id}")

    def check_heard(self, person: Counted) -> None:
        """What was heard was said, in its order, and once."""
        heard = [event for event in person.events if isinstance(event, Message)]
        for other in self.town.people:
            for room in (*ROOMS, DIRECT):
                texts = [event.text for event in heard if (event.room, event.sender) == (room, other.name)]
                said = iter([f"text of {label}" for label, where in other.texts.items() if where == room])
                assert all(text in said for text in texts), "not in order, or twice"

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
