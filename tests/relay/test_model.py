"""Rooms against a model: whatever clients do in whatever turns, each hears just what the model says."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.limits import RelayLimits
from securechat.signed.entries import Op, Role
from securechat.signed.rights import RosterError
from securechat.wire.messages import (
    LAST_SEQ,
    Ack,
    Append,
    Declined,
    Delivery,
    Enter,
    Hand,
    Message,
    Post,
    Presence,
    Present,
    Roster,
    SealedKey,
    SessionKey,
    Welcome,
)
from tests.relay.harness import Client, Relay, post_id
from tests.relay.model import Event, Model, Session
from tests.relay.people import Chain, person

NAMES: Final = ("alice", "bob", "carol", "dan")
ROOMS: Final = ("#tea", "#cake")
UNKNOWN: Final = bytes(32)
CHANGES: Final = (Op.CREATE, Op.JOIN, Op.ADD, Op.REMOVE, Op.LEAVE)


class RoomsMachine(RuleBasedStateMachine):
    """Four people, two open rooms, turns of any length."""

    def __init__(self) -> None:
        super().__init__()
        limits = RelayLimits(requests_burst=10_000, appends_burst=10_000, posts_per_s=0, bytes_per_s=0)
        self.relay = Relay(limits)
        self.model = Model()
        self.clients: dict[str, Client] = {}
        self.links: dict[str, int] = {}
        self.turn: list[tuple[Any, ...]] = []
        self.chains: dict[str, Chain] = {room: Chain(room) for room in ROOMS}
        """Each room's log as it will be when the turn's entries are taken."""
        self.before: dict[str, Chain] = {}
        """Each room's log as it was before the last entry."""
        self.known: dict[int, SessionKey] = {}
        self.count = 0
        for name in NAMES:
            (self.clients[name],) = self.relay.login(name)
            self.new_session(name)
        # Everybody is in both rooms, so that most of what is asked for can be done.
        for owner, room in zip(NAMES, ROOMS, strict=False):
            self.append(owner, owner, room, Op.CREATE, 1)
            for other in NAMES:
                if other != owner:
                    self.append(owner, other, room, Op.ADD, 1)
        self.end_of_turn()

    def new_session(self, name: str) -> None:
        """Somebody has a new link."""
        self.links[name] = self.links.get(name, 0) + 1
        self.model.now[name] = name, self.links[name]

    def session(self, name: str) -> Session:
        """Somebody's session of now."""
        return name, self.links[name]

    def here(self, name: str) -> bool:
        """Whether somebody has a link."""
        return name in self.clients

    people = st.sampled_from(NAMES)
    places = st.sampled_from(ROOMS)

    @rule(name=people, room=places, have=st.integers(0, 4))
    def enter(self, name: str, room: str, have: int) -> None:
        """Enter, maybe again or as no member."""
        if self.here(name):
            self.clients[name].send(Enter(room, have, LAST_SEQ))
            self.turn.append(("enter", self.session(name), room, have))

    @rule(name=people, other=people, room=places, op=st.sampled_from(CHANGES), late=st.integers(0, 9))
    def append(self, name: str, other: str, room: str, op: Op, late: int) -> None:
        """Change a room, with a right to it or without, and now and then too late."""
        if not self.here(name):
            return
        now = self.chains[room]
        chain = self.before.get(room, now) if late == 0 else now
        if chain.log is None:
            op = Op.CREATE
        subject = name if op in (Op.CREATE, Op.JOIN, Op.LEAVE) else other
        entry, before = self.entry(chain, name, op, subject)
        self.clients[name].send(Append(room, entry))
        self.turn.append(("append", self.session(name), room, op.value, subject, entry, before))
        self.foresee(room, entry)

    def entry(self, chain: Chain, name: str, op: Op, subject: str) -> tuple[bytes, bytes]:
        """An entry behind a log, and the one before it."""
        if op is Op.CREATE:
            return Chain(chain.room).founding(person(name)).entry, b""
        comes = op in (Op.JOIN, Op.ADD)
        detail = person(subject).certificate.packed if comes else b""
        entry = chain.signed(person(name), op, person(subject), Role.MEMBER if comes else None, detail)
        return entry, chain.known.packed[-1]

    def foresee(self, room: str, entry: bytes) -> None:
        """Go on with a log as the relay will."""
        now = self.chains[room]
        copy = Chain(room) if now.log is None else Chain.copy(now.log)
        try:
            copy.take(entry)
        except RosterError:
            return
        self.before[room] = now
        self.chains[room] = copy if copy.known.members else Chain(room)

    @rule(name=people, other=people, room=places)
    def hand(self, name: str, other: str, room: str) -> None:
        """Hand a key to somebody, a member or not, here or away."""
        if self.here(name):
            self.count += 1
            blob = b"key %d" % self.count
            self.clients[name].send(Hand(room, [(person(other).device.public, blob)]))
            self.turn.append(("hand", self.session(name), room, other, blob))

    @rule(name=people, room=places, count=st.integers(1, 3), back=st.integers(0, 1), repeat=st.booleans())
    def post(self, name: str, room: str, count: int, back: int, repeat: bool) -> None:
        """Post under the last epoch that one has heard of or the one before, maybe the same ids again."""
        if not self.here(name):
            return
        heard = [each for each in self.clients[name].heard if isinstance(each, SessionKey) and each.room == room]
        key = heard[-1 - back] if len(heard) > back else None
        number = next((n for n, each in self.known.items() if each == key), 0)
        first = max(0, self.count - 2) if repeat else self.count
        items = [(post_id(first + each), b"%d" % (first + each)) for each in range(count)]
        self.count = max(self.count, first + count)
        self.clients[name].send(Post(room, key.epoch if key else UNKNOWN, items))
        self.turn.extend(("post", self.session(name), room, number, ident, text) for ident, text in items)

    @rule(name=people)
    def vanish(self, name: str) -> None:
        """A link is lost."""
        if self.here(name):
            self.clients.pop(name).transport.lose()
            self.turn.append(("vanish", self.session(name)))
            del self.model.now[name]

    @rule(name=people)
    def come(self, name: str) -> None:
        """Log in, maybe in the turn in which a link was lost, and maybe in place of one that was not."""
        if self.here(name):
            self.turn.append(("vanish", self.session(name)))
        self.clients[name] = self.relay.connect_silently(person(name))
        self.new_session(name)
        self.model.tell(self.session(name), "welcome", self.model.rooms_of(name))

    @precondition(lambda self: self.turn)
    @rule()
    def end_of_turn(self) -> None:
        """The turn ends; everybody has heard what the model says, and nothing else."""
        self.carry_out()
        for name, client in self.clients.items():
            told, answered = self.events(client, name)
            model = self.model.told.get(self.session(name), [])
            told = self.number_keys(told, model)
            assert told == model, (name, told, model)
            expected = sorted(self.model.answered.get(self.session(name), []), key=repr)
            assert sorted(answered, key=repr) == expected, (name, answered, expected)
        self.model.told, self.model.answered, self.turn = {}, {}, []

    def carry_out(self) -> None:
        """Let the model do what was asked for in this turn."""
        batch: list[Any] = []

        def say() -> None:
            self.model.tell_all()
            self.model.posts(batch)
            self.model.feed_all()
            batch.clear()

        for kind, *rest in self.turn:
            if batch and kind not in ("post", "hand"):
                say()
            if kind == "post":
                batch.append(tuple(rest))
            else:
                getattr(self.model, kind)(*rest)
        say()

    def events(self, client: Client, name: str) -> tuple[list[Event], list[Event]]:
        """What a client has heard in this turn, as the model puts it."""
        told: list[Event] = []
        answered: list[Event] = []
        for message in client.hears():
            match message:
                case Welcome(_, rooms):
                    told.append(("welcome", tuple(rooms)))
                case Presence(room, who, here):
                    told.append(("presence", room, who, here))
                case Present(room, names):
                    told.append(("present", room, tuple(names)))
                case Roster(room, first, entries, total, last_seq):
                    assert first + len(entries) == total, message
                    told.append(("roster", room, first, tuple(entries), last_seq))
                case SessionKey(room):
                    told.append(("key", room, message))
                case SealedKey(room, _, items):
                    # They may overtake what else was said in the turn.
                    answered.extend(("sealed", room, sender, blob) for sender, blob in items)
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
        """A message that nobody should get here."""
        assert type(message).__name__ == "Greeting", message

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
