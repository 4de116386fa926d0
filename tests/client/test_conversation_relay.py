"""Conversations over the real relay, in memory: frames, batches of the worker and losses in any order.

The model is short. Whatever is said is told to its speaker exactly once, as sent or as not sent. Whoever hears
something hears what was really said, in its speaker's order, and at most once. Nobody posts for an epoch other than
the last one that they were told, nor more than the window allows. In the end everybody hears everybody.
"""

from __future__ import annotations

from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.conversation import Conversation
from securechat.client.events import Event, Message, NotSent, Sent, Unreadable
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MemoryLog
from securechat.relay.protocol import RelayProtocol
from securechat.wire import messages as wire
from securechat.wire.framing import frame
from tests.client.harness import NOW_MS, RELAY, HandWorker
from tests.wire.harness import MemoryTransport, bodies, from_relay

NAMES = ("alice", "bob", "keeper")
ROOMS = ("#lobby", "#other")
"""`keeper` never loses its link and never leaves these, so that the relay's memory of their ids stays."""

DIRECT = "@alice+bob"


class Person:
    """One user: a conversation, and the link between it and the relay's end, a frame at a time."""

    def __init__(self, name: str, relay: Relay) -> None:
        self.name = name
        self.relay = relay
        self.worker = HandWorker(at_once=False)
        self.events: list[Event] = []
        self.up: deque[bytes] = deque()
        self.down: deque[wire.FromRelay] = deque()
        self.epochs: dict[str, bytes] = {}
        self.said: dict[str, str] = {}
        """What was said so far, by label: the room."""
        self.unanswered = 0
        self.linked = False
        self.protocol: RelayProtocol
        self.transport: MemoryTransport
        self._ids = 0
        self.conversation = Conversation(name, self.worker, self.send, self.events.append, self._random)

    def _random(self, size: int) -> bytes:
        self._ids += 1
        return f"{self.name}{self._ids:010}".encode().ljust(size, b"-")

    def send(self, message: wire.FromClient) -> None:
        """Send to the relay, and see that it is what may be sent now."""
        assert self.linked
        if isinstance(message, wire.Post):
            assert message.epoch == self.epochs.get(message.room), "a post for another epoch than that of now"
            self.unanswered += len(message.items)
            assert self.unanswered <= self.relay.window, "more posts than the window allows"
        self.up.append(frame(message))

    def connect(self) -> None:
        """Get a new link and log in."""
        assert not self.linked
        self.protocol = RelayProtocol(self.relay.factory, None)
        self.transport = MemoryTransport(self.relay.clock, self.protocol)
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(frame(wire.Hello(1, self.name)))
        self.relay.clock.advance(0)
        self.fetch()
        greeting, welcome = self.down.popleft(), self.down.popleft()
        assert isinstance(greeting, wire.Greeting)
        assert isinstance(welcome, wire.Welcome), welcome
        self.linked = True
        self.unanswered = 0
        self.epochs.clear()
        self.conversation.link_up(welcome, RELAY, "")

    def lose(self) -> None:
        """Lose the link with all that is on its way."""
        self.linked = False
        self.up.clear()
        self.fetch()
        self.down.clear()
        self.transport.lose()
        self.conversation.link_down(RELAY, "broken", 1.0)

    def fetch(self) -> None:
        """Take what the relay has written."""
        for body in bodies(self.transport.value()):
            message = from_relay.decode(body)
            assert not isinstance(message, wire.Refused | wire.Goodbye), message
            self.down.append(message)
        self.transport.clear()

    def move_up(self, frames: int) -> None:
        """Let the relay receive some frames."""
        for _ in range(min(frames, len(self.up))):
            self.protocol.dataReceived(self.up.popleft())

    def move_down(self, frames: int) -> None:
        """Let the conversation receive some frames."""
        for _ in range(min(frames, len(self.down))):
            message = self.down.popleft()
            if isinstance(message, wire.SessionKey):
                self.epochs[message.room] = message.epoch
            elif isinstance(message, wire.Ack):
                self.unanswered -= len(message.items)
            elif isinstance(message, wire.Declined):
                self.unanswered -= len(message.ids)
            self.conversation.received(message)

    def say(self, room: str) -> str:
        """Say something new."""
        label = f"{self.name} {len(self.said)}"
        self.said[label] = room
        self.conversation.say(room, f"text of {label}", label)
        return label


class Relay:
    """The real relay over a clock."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.clock = Clock()
        limits = RelayLimits(window=window, posts_per_s=0, bytes_per_s=0, requests_burst=10**6, outbox_frames=10**6)
        self.factory = RelayFactory(self.clock, lambda: NOW_MS, MemoryLog(), limits)
        self.people = {name: Person(name, self) for name in NAMES}

    def turn(self) -> None:
        """End the relay's turn, and take what it has written."""
        self.clock.advance(0)
        for person in self.people.values():
            if person.linked:
                person.fetch()

    def settle(self) -> None:
        """Go on until nothing moves any more."""
        for _ in range(1_000):
            self.turn()
            moved = False
            for person in self.people.values():
                moved = moved or bool(person.up or person.down or person.worker.jobs)
                person.move_up(1_000)
                person.move_down(1_000)
                person.worker.work()
            if not moved:
                return
        raise AssertionError("it never ends")

    def close(self) -> None:
        """End everything; no call is left."""
        for person in self.people.values():
            if person.linked:
                person.lose()
        self.clock.advance(0)
        assert not self.clock.getDelayedCalls()


class Talking(RuleBasedStateMachine):
    """Everything that users, links, workers and the relay can do, in any order."""

    relay: Relay
    lossless: bool

    @initialize(window=st.integers(1, 5))
    def begin(self, window: int) -> None:
        """Everybody is in the lobby, and keeper in the other room too."""
        self.relay = Relay(window)
        self.lossless = True
        for name, person in self.relay.people.items():
            person.connect()
            for room in ROOMS if name == "keeper" else ROOMS[:1]:
                person.conversation.enter(room)
        self.relay.settle()

    def person(self, name: str) -> Person:
        """Somebody by name."""
        return self.relay.people[name]

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

    @rule(name=st.sampled_from(NAMES[:2]), room=st.sampled_from((*ROOMS, DIRECT)))
    def enter(self, name: str, room: str) -> None:
        """Enter a room."""
        self.person(name).conversation.enter(room)

    @rule(name=st.sampled_from(NAMES[:2]), room=st.sampled_from((*ROOMS, DIRECT)))
    def leave(self, name: str, room: str) -> None:
        """Leave a room."""
        self.person(name).conversation.leave(room)

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
        self.relay.turn()

    @rule(name=st.sampled_from(NAMES), jobs=st.integers(1, 3))
    def work(self, name: str, jobs: int) -> None:
        """Let somebody's worker do something."""
        self.person(name).worker.work(jobs)

    @rule(name=st.sampled_from(NAMES[:2]))
    def lose(self, name: str) -> None:
        """Lose a link."""
        if self.person(name).linked:
            self.person(name).lose()
            self.lossless = False

    @precondition(lambda self: not all(person.linked for person in self.relay.people.values()))
    @rule()
    def come_back(self) -> None:
        """Somebody gets a new link."""
        for person in self.relay.people.values():
            if not person.linked:
                self.relay.turn()
                person.connect()
                return

    @invariant()
    def nothing_unreadable(self) -> None:
        """Whatever is delivered can be opened, and nothing is told twice."""
        for person in self.relay.people.values():
            assert not [event for event in person.events if isinstance(event, Unreadable)]
            labels = [event.id for event in person.events if isinstance(event, Sent | NotSent)]
            assert len(labels) == len(set(labels)), "told twice"

    def teardown(self) -> None:
        """Let everything come to rest, and hold it against the model."""
        if not hasattr(self, "relay"):
            return
        for person in self.relay.people.values():
            if not person.linked:
                person.connect()
        self.relay.settle()
        for person in self.relay.people.values():
            self.check_told(person)
            self.check_heard(person)
        self.check_end()
        self.relay.close()

    def check_told(self, person: Person) -> None:
        """Everything said was told as sent or not sent, and as sent in the order of saying it."""
        told = [event for event in person.events if isinstance(event, Sent | NotSent)]
        assert sorted(str(event.id) for event in told) == sorted(person.said)
        assert not person.conversation.unacknowledged
        assert not person.conversation.opening
        for room in (*ROOMS, DIRECT):
            sent = [(event.seq, event.id) for event in told if isinstance(event, Sent) and event.room == room]
            in_order = [label for label in person.said if label in {label for _, label in sent}]
            assert [label for _, label in sent] == in_order
        for event in told:
            assert (event.room, event.text) == (person.said[str(event.id)], f"text of {event.id}")

    def check_heard(self, person: Person) -> None:
        """What was heard was said, in its order; and once, where the relay could remember."""
        heard = [event for event in person.events if isinstance(event, Message)]
        for other in self.relay.people.values():
            for room in (*ROOMS, DIRECT):
                texts = [event.text for event in heard if (event.room, event.sender) == (room, other.name)]
                if room != DIRECT or self.lossless:
                    said = iter([f"text of {label}" for label, where in other.said.items() if where == room])
                    assert all(text in said for text in texts), "not in order, or twice"
                else:
                    assert set(texts) <= {
                        f"text of {label}" for label, where in other.said.items() if where == room
                    }

    def check_end(self) -> None:
        """Everybody is where the relay thinks, and is heard by all who are there."""
        for person in self.relay.people.values():
            person.conversation.enter("#lobby")
        self.relay.settle()
        for person in self.relay.people.values():
            assert sorted(person.conversation.members("#lobby")) == sorted(NAMES)
            label = person.say("#lobby")
            self.relay.settle()
            for other in self.relay.people.values():
                last = [event for event in other.events if isinstance(event, Message | Sent)][-1]
                assert isinstance(last, Sent if other is person else Message)
                assert last.text == f"text of {label}"


class RelayTests(SynchronousTestCase):
    """Conversations and the real relay."""

    def test_model(self) -> None:
        """Whatever happens in whatever order, the model holds."""
        from hypothesis.stateful import run_state_machine_as_test

        checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
        run_state_machine_as_test(
            Talking,
            settings=settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=checks),
        )
