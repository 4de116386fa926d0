"""Rooms against a model: whatever clients do in whatever turns, each hears just what the model says."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.messages import (
    Ack,
    Declined,
    Delivery,
    Enter,
    Leave,
    Message,
    Post,
    Presence,
    Roster,
    SessionKey,
)
from tests.relay.harness import Client, Relay, post_id

NAMES: Final = ("alice", "bob", "carol", "dan")
ROOMS: Final = ("#tea", "#cake")
UNKNOWN: Final = bytes(32)

Event = tuple[Any, ...]


@dataclass
class ModelRoom:
    """A room: members in order, epochs by number, what was said."""

    members: list[str] = field(default_factory=list)
    epoch: int = 0
    last_seq: int = 0
    kept: dict[tuple[str, bytes], int] = field(default_factory=dict)


@dataclass
class Model:
    """What should happen: actions of a turn go in, events for each client come out."""

    rooms: dict[str, ModelRoom] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)
    epochs: int = 0
    told: dict[str, list[Event]] = field(default_factory=dict)
    answered: dict[str, list[Event]] = field(default_factory=dict)

    def tell(self, name: str, *event: Any) -> None:
        """Something that a client hears."""
        self.told.setdefault(name, []).append(event)

    def enter(self, name: str, room_name: str) -> None:
        """Somebody enters."""
        room = self.rooms.setdefault(room_name, ModelRoom())
        again = name in room.members
        if not again:
            for each in room.members:
                self.tell(each, "presence", room_name, name, True)
            room.members.append(name)
            self.changed[room_name] = None
        self.tell(name, "roster", room_name, tuple(room.members), room.last_seq)
        if again and room_name not in self.changed:
            self.tell(name, "key", room_name, room.epoch)

    def leave(self, name: str, room_name: str) -> None:
        """Somebody leaves."""
        room = self.rooms.get(room_name)
        if room is None or name not in room.members:
            self.answered.setdefault(name, []).append(("declined", room_name, None, Code.NOT_A_MEMBER))
            return
        for each in room.members:
            self.tell(each, "presence", room_name, name, False)
        room.members.remove(name)
        self.changed[room_name] = None
        if not room.members:
            del self.rooms[room_name], self.changed[room_name]

    def start_epochs(self) -> None:
        """New keys for what changed."""
        for room_name in self.changed:
            room = self.rooms[room_name]
            self.epochs += 1
            room.epoch = self.epochs
            for each in room.members:
                self.tell(each, "key", room_name, room.epoch)
        self.changed = {}

    def posts(self, batch: list[tuple[str, str, int, bytes, bytes]]) -> None:
        """Posts that follow each other: sender, room, epoch, id, text."""
        self.start_epochs()
        said: dict[str, list[tuple[int, str, bytes]]] = {}
        for name, room_name, epoch, ident, text in batch:
            room = self.rooms.get(room_name)
            answers = self.answered.setdefault(name, [])
            if room is not None and (name, ident) in room.kept:
                answers.append(("ack", room_name, ident, room.kept[name, ident]))
            elif room is None or name not in room.members:
                answers.append(("declined", room_name, ident, Code.NOT_A_MEMBER))
            elif epoch != room.epoch:
                answers.append(("declined", room_name, ident, Code.STALE_EPOCH))
            else:
                room.last_seq += 1
                room.kept[name, ident] = room.last_seq
                answers.append(("ack", room_name, ident, room.last_seq))
                said.setdefault(room_name, []).append((room.last_seq, name, text))
        for room_name, messages in said.items():
            for each in self.rooms[room_name].members:
                for seq, sender, text in messages:
                    if sender != each:
                        self.tell(each, "message", room_name, seq, sender, text)


class RoomsMachine(RuleBasedStateMachine):
    """Four people, two rooms, turns of any length."""

    def __init__(self) -> None:
        super().__init__()
        limits = RelayLimits(requests_burst=10_000, posts_per_s=0, bytes_per_s=0)
        self.relay = Relay(limits)
        self.model = Model()
        self.clients: dict[str, Client] = {}
        self.turn: list[tuple[Any, ...]] = []
        self.known: dict[int, SessionKey] = {}
        self.ids = 0
        for name in NAMES:
            self.come(name)

    def come(self, name: str) -> None:
        """Somebody logs in."""
        (self.clients[name],) = self.relay.login(name)

    people = st.sampled_from(NAMES)
    places = st.sampled_from(ROOMS)

    @rule(name=people, room=places)
    def enter(self, name: str, room: str) -> None:
        """Enter, maybe again."""
        self.clients[name].send(Enter(room))
        self.turn.append(("enter", name, room))

    @rule(name=people, room=places)
    def leave(self, name: str, room: str) -> None:
        """Leave, maybe without being there."""
        self.clients[name].send(Leave(room))
        self.turn.append(("leave", name, room))

    @rule(name=people, room=places, count=st.integers(1, 3), back=st.integers(0, 1), repeat=st.booleans())
    def post(self, name: str, room: str, count: int, back: int, repeat: bool) -> None:
        """Post under the last epoch that one has heard of or the one before, maybe the same ids again."""
        heard = [each for each in self.clients[name].heard if isinstance(each, SessionKey) and each.room == room]
        key = heard[-1 - back] if len(heard) > back else None
        number = next((n for n, each in self.known.items() if each == key), 0)
        first = max(0, self.ids - 2) if repeat else self.ids
        items = [(post_id(first + each), b"%d" % (first + each)) for each in range(count)]
        self.ids = max(self.ids, first + count)
        self.clients[name].send(Post(room, key.epoch if key else UNKNOWN, items))
        self.turn.extend(("post", name, room, number, ident, text) for ident, text in items)

    @rule(name=people)
    def vanish(self, name: str) -> None:
        """A link is lost and its owner comes back with another one, in the same turn."""
        self.clients[name].transport.lose()
        self.turn.append(("vanish", name))
        self.clients[name] = self.relay.connect_silently(name)

    @precondition(lambda self: self.turn)
    @rule()
    def end_of_turn(self) -> None:
        """The turn ends; everybody has heard what the model says, and nothing else."""
        self.carry_out()
        for name, client in self.clients.items():
            told, answered = self.events(client, name)
            model = self.model.told.get(name, [])
            told = self.number_keys(told, model)
            assert told == model, (name, told, model)
            expected = sorted(self.model.answered.get(name, []), key=repr)
            assert sorted(answered, key=repr) == expected, (name, answered, expected)
        self.model.told, self.model.answered, self.turn = {}, {}, []

    def carry_out(self) -> None:
        """Let the model do what was asked for in this turn."""
        batch: list[tuple[str, str, int, bytes, bytes]] = []
        for kind, name, *rest in self.turn:
            if kind == "post":
                batch.append((name, *rest))
                continue
            if batch:
                self.model.posts(batch)
                batch = []
            if kind == "enter":
                self.model.enter(name, rest[0])
            elif kind == "leave":
                self.model.leave(name, rest[0])
            else:
                for room_name in sorted(self.model.rooms):
                    if name in self.model.rooms[room_name].members:
                        self.model.leave(name, room_name)
                # What the lost link was owed nobody hears.
                self.model.told[name], self.model.answered[name] = [], []
        if batch:
            self.model.posts(batch)
        self.model.start_epochs()

    def events(self, client: Client, name: str) -> tuple[list[Event], list[Event]]:
        """What a client has heard in this turn, as the model puts it."""
        told: list[Event] = []
        answered: list[Event] = []
        for message in client.hears():
            match message:
                case Presence(room, who, here):
                    told.append(("presence", room, who, here))
                case Roster(room, members, last_seq):
                    told.append(("roster", room, tuple(members), last_seq))
                case SessionKey(room):
                    told.append(("key", room, message))
                case Delivery(room, first_seq, items):
                    for seq, (sender, _, text) in enumerate(items, first_seq):
                        if sender != name:
                            told.append(("message", room, seq, sender, text))
                case Ack(room, items):
                    answered.extend(("ack", room, ident, seq) for ident, seq in items)
                case Declined(room, ids, code):
                    answered.extend(("declined", room, ident, code) for ident in (ids or (None,)))
                case _:
                    self.unexpected(message)
        return told, answered

    def unexpected(self, message: Message) -> None:
        """A message that nobody should get here, but for the welcome of who came back."""
        assert type(message).__name__ in ("Greeting", "Welcome"), message

    def number_keys(self, told: list[Event], expected: list[Event]) -> list[Event]:
        """The events with the model's number for each key: one that is new stands where a new one is expected."""
        numbered = []
        for event, model in zip_longest(told, expected, fillvalue=()):
            if event and event[0] == "key" and model and model[0] == "key":
                number, key = model[2], event[2]
                if number not in self.known:
                    for each in self.known.values():
                        assert each.key != key.key, "one key for two epochs"
                        assert each.epoch != key.epoch, "one epoch with two keys"
                    self.known[number] = key
                assert self.known[number] == key, "members of one epoch got different keys"
                event = ("key", event[1], number)
            if event:
                numbered.append(event)
        return numbered

    @invariant()
    def nobody_is_dropped(self) -> None:
        """Nobody has done anything to be dropped for."""
        assert not any(client.protocol.closing for client in self.clients.values())

    def teardown(self) -> None:
        """All leave, and nothing is left."""
        self.relay.end(SynchronousTestCase())


class ModelTests(SynchronousTestCase):
    """The machine, run."""

    def test_rooms(self) -> None:
        """Members, epochs, keys, numbers and order are those of the model for any sequence of requests."""
        run_state_machine_as_test(
            RoomsMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )
