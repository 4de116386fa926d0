"""Random rooms: logs against a plain model of rights, and messages through loss, repetition and disorder."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.outcomes import Arrived, Opened, Refusal, Refused
from securechat.signed.entries import Op, Policy, Role, read_entry, sign_entry
from securechat.signed.rights import Fault, RosterError
from securechat.signed.roster import Roster, found
from tests.e2e.scene import HOUR, NOW, Scene, finish, someone

NAMES = ("alice", "bob", "carol", "dave")
PEOPLE = {name: someone(name) for name in NAMES}


@dataclass(frozen=True)
class Delivered:
    """One delivery of a run of frames, by their numbers; some may come twice or never."""

    numbers: tuple[int, ...]


def deliveries(count: int) -> st.SearchStrategy[list[Delivered]]:
    """Runs of up to `count` numbers in any order: dropped, repeated, cut anywhere."""
    run = st.lists(st.integers(0, count - 1), min_size=1, max_size=count).map(tuple).map(Delivered)
    return st.lists(run, min_size=1, max_size=8)


def in_order(count: int) -> st.SearchStrategy[list[Delivered]]:
    """All numbers in order, with some swapped, in one run."""
    return st.lists(st.integers(0, count - 1), max_size=4).map(
        lambda dropped: [Delivered(tuple(number for number in range(count) if number not in dropped))]
    )


class DisorderTests(SynchronousTestCase):
    """One sender, one recipient, and a relay that drops, repeats and reorders."""

    @settings(max_examples=60, deadline=None)
    @given(st.data(), st.integers(1, 14), st.integers(0, 14))
    def test_shown_once(self, data: st.DataObject, count: int, rekey_at: int) -> None:
        """What is delivered is shown once and as it was said; what is reported missing is what did not come."""
        scene = Scene("alice", "bob")
        frames = []
        for number in range(count):
            if number == rekey_at:
                scene.rooms["alice"].rekey()
            frames.append(scene.say("alice", str(number)))
        first_of_second = rekey_at if rekey_at < count else count
        shown: list[int] = []
        missing: set[int] = set()
        delivered: set[int] = set()
        for run in data.draw(deliveries(count) | in_order(count)):
            arrived = [Arrived(number, "alice", frames[number]) for number in run.numbers]
            delivered.update(run.numbers)
            for outcome in finish(scene.rooms["bob"].receive(arrived, scene.now)):
                if isinstance(outcome, Opened):
                    self.assertEqual(outcome.said.text, str(outcome.seq))
                    self.assertFalse(outcome.is_forked)
                    self.assertEqual(outcome.is_late, outcome.seq in missing)
                    shown.append(outcome.seq)
                    missing.discard(outcome.seq)
                    base = first_of_second if outcome.seq >= first_of_second else 0
                    if outcome.gap is not None:
                        missing.update(range(base + outcome.gap[0], base + outcome.gap[1] + 1))
                else:
                    assert isinstance(outcome, Refused)
                    self.assertEqual(outcome.refusal, Refusal.REPLAYED)
        self.assertEqual(sorted(shown), sorted(delivered))
        self.assertTrue(missing.isdisjoint(delivered))
        heads = [max((n for n in delivered if n < first_of_second), default=-1)]
        heads.append(max((n for n in delivered if n >= first_of_second), default=first_of_second - 1))
        expected = {*range(heads[0] + 1), *range(first_of_second, heads[1] + 1)} - delivered
        self.assertEqual(missing, expected)


class RosterMachine(RuleBasedStateMachine):
    """A log, and a model of it: who is in, in which role, and whether the room is open."""

    @initialize(is_open=st.booleans())
    def begin(self, is_open: bool) -> None:
        """Alice founds the room."""
        self.roster = Roster(found(PEOPLE["alice"].person, "#den", Policy(is_open), NOW))
        self.roles = {"alice": Role.OWNER}
        self.is_open = is_open
        self.epochs = [self.roster.epoch]

    @rule(
        actor=st.sampled_from(NAMES),
        op=st.sampled_from([op for op in Op if op is not Op.CREATE]),
        subject=st.sampled_from(NAMES),
        role=st.sampled_from(Role),
        is_open=st.booleans(),
    )
    def append(self, actor: str, op: Op, subject: str, role: Role, is_open: bool) -> None:
        """Anybody appends anything well-formed; it is taken where the model says so."""
        detail, given_role = b"", None
        if op in (Op.JOIN, Op.ADD):
            detail, given_role = PEOPLE[subject].person.certificate.packed, Role.MEMBER
        elif op is Op.ROLE:
            given_role = role
        elif op is Op.POLICY:
            detail = Policy(is_open).packed
        last = read_entry(self.roster.packed[-1]).digest
        entry = sign_entry(
            PEOPLE[actor].person.device,
            len(self.roster),
            last,
            op,
            PEOPLE[subject].identity,
            given_role,
            NOW,
            detail,
        )
        allowed = self.allows(actor, op, subject)
        try:
            self.roster.append(entry.packed)
            fault = None
        except RosterError as wrong:
            fault = wrong.fault
        assert (fault is None) is allowed, (actor, op, subject, fault)
        assert fault in {None, Fault.NO_RIGHT, Fault.POINTLESS, Fault.UNSIGNED, Fault.MALFORMED}
        if fault is not None:
            return
        if op in (Op.JOIN, Op.ADD):
            self.roles[subject] = Role.MEMBER
        elif op in (Op.REMOVE, Op.LEAVE):
            del self.roles[subject]
        elif op is Op.ROLE:
            self.roles[subject] = role
        else:
            self.is_open = is_open
        if op not in (Op.ROLE, Op.POLICY):
            self.epochs.append(entry.digest)

    def allows(self, actor: str, op: Op, subject: str) -> bool:
        """The rights, as docs/SC1-notes.md has them."""
        mine, theirs = self.roles.get(actor), self.roles.get(subject)
        if op is Op.JOIN:
            return self.is_open and mine is None and actor == subject
        if mine is None:
            return False
        if op is Op.ADD:
            return theirs is None and (self.is_open or mine is not Role.MEMBER)
        if op is Op.REMOVE:
            ranks = [Role.MEMBER, Role.ADMIN, Role.OWNER]
            return theirs is not None and ranks.index(mine) > ranks.index(theirs)
        if op is Op.LEAVE:
            return actor == subject
        if op is Op.ROLE:
            return mine is Role.OWNER and theirs is not None
        return mine is Role.OWNER and actor == subject

    @invariant()
    def follows(self) -> None:
        """The log is what the model says, and another client that reads it comes to the same."""
        if not hasattr(self, "roster"):
            return
        assert {each.name: each.role for each in self.roster.members.values()} == self.roles
        assert self.roster.policy.is_open == self.is_open
        assert self.roster.epoch == self.epochs[-1]
        again = Roster(self.roster.packed[0])
        again.follow(self.roster.packed)
        assert (again.epoch, again.members) == (self.roster.epoch, self.roster.members)


class RoomMachine(RuleBasedStateMachine):
    """Members come, go, speak and hear through an honest relay that delivers late."""

    @initialize()
    def begin(self) -> None:
        """Alice and Bob are in a closed room."""
        self.scene = Scene("alice", "bob")
        self.inside = {"alice", "bob"}
        self.posted: list[tuple[str, bytes, str, frozenset[str]]] = []
        self.cursors = dict.fromkeys(NAMES, 0)
        self.heard: dict[str, list[str]] = {name: [] for name in NAMES}

    @rule(name=st.sampled_from(NAMES[1:]))
    def enter(self, name: str) -> None:
        """Alice adds somebody, who may have been there before."""
        if name not in self.inside:
            self.scene.enter(name)
            self.inside.add(name)
            self.scene.rooms[name].follow(self.scene.log)

    @rule(name=st.sampled_from(NAMES[1:]), left=st.booleans())
    def go(self, name: str, left: bool) -> None:
        """Somebody leaves or is removed, after hearing what was for them."""
        if name in self.inside:
            self.hear(name)
            roster = self.scene.rooms["alice"].roster
            if left:
                self.scene.publish(roster.leave(self.scene.people[name].person, NOW), without=name)
            else:
                self.scene.remove("alice", name)
            self.inside.remove(name)

    @rule(name=st.sampled_from(NAMES), hours=st.integers(0, 13))
    def say(self, name: str, hours: int) -> None:
        """A member says something."""
        if name in self.inside:
            self.scene.now += hours * HOUR
            text = f"{name} {len(self.posted)}"
            self.posted.append((name, self.scene.say(name, text), text, frozenset(self.inside - {name})))

    @rule(name=st.sampled_from(NAMES))
    def hear(self, name: str) -> None:
        """Somebody is delivered everything since the last time, also what is not for them."""
        if name not in self.scene.rooms:
            return
        run = [
            Arrived(seq, sender, frame)
            for seq, (sender, frame, _, _) in enumerate(self.posted)
            if seq >= self.cursors[name] and sender != name
        ]
        self.cursors[name] = len(self.posted)
        for outcome in finish(self.scene.rooms[name].receive(run, self.scene.now)):
            if isinstance(outcome, Opened):
                assert (outcome.gap, outcome.is_late, outcome.is_forked) == (None, False, False)
                self.heard[name].append(outcome.said.text)

    @rule(name=st.sampled_from(NAMES))
    def restart(self, name: str) -> None:
        """Somebody's client is started again with what it had stored."""
        if name in self.inside:
            sessions = self.scene.rooms[name].packed
            keys = dict(self.scene.rooms[name]._inbox._session_keys)
            self.scene._open(name)
            self.scene.rooms[name].restore(sessions)
            for epoch, key in keys.items():
                self.scene.rooms[name].take_session_key(epoch, key)

    @invariant()
    def nothing_else(self) -> None:
        """Everybody has heard, in order and once, what was said to them, and nothing else."""
        for name, heard in getattr(self, "heard", {}).items():
            meant = [text for _, _, text, to in self.posted[: self.cursors[name]] if name in to]
            assert heard == meant, (name, heard, meant)


class ModelTests(SynchronousTestCase):
    """The machines, run."""

    def test_rosters(self) -> None:
        """A log takes exactly what the rights allow, whoever appends whatever, and reads the same everywhere."""
        some = settings(max_examples=40, stateful_step_count=25, deadline=None)
        run_state_machine_as_test(RosterMachine, settings=some)

    def test_rooms(self) -> None:
        """Everybody hears what was said while they were members, once and in order, and nothing else."""
        some = settings(max_examples=30, stateful_step_count=30, deadline=None)
        run_state_machine_as_test(RoomMachine, settings=some)
