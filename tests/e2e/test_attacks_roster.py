"""What a relay, a stranger or a member without the right can do to a room's log: nothing."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.outcomes import Awaited, Held
from securechat.e2e.room import SecureRoom
from securechat.signed import roster as roster_module
from securechat.signed.certificates import certify
from securechat.signed.entries import (
    NO_PREVIOUS,
    Founding,
    Op,
    Policy,
    Role,
    read_entry,
    sign_entry,
)
from securechat.signed.errors import NotAuthentic
from securechat.signed.rights import Fault, RosterError
from securechat.signed.roster import Roster, found
from tests.crypto.vectors import flipped
from tests.e2e.scene import NOW, Scene, Someone, someone, texts

ALICE, BOB, CAROL, MALLORY = (someone(name) for name in ("alice", "bob", "carol", "mallory"))


def room(*members: Someone, is_open: bool = False, name: str = "#den") -> Roster:
    """Alice's room with these members besides her."""
    roster = Roster(found(ALICE.person, name, Policy(is_open), NOW))
    for each in members:
        roster.append(roster.add(ALICE.person, each.person.certificate, NOW))
    return roster


def entry(
    roster: Roster,
    actor: Someone,
    op: Op,
    subject: bytes,
    role: Role | None = None,
    detail: bytes = b"",
    number: int | None = None,
    previous: bytes | None = None,
) -> bytes:
    """An entry of anybody's making that would be the next one."""
    at = len(roster) if number is None else number
    last = read_entry(roster.packed[-1]).digest if previous is None else previous
    return sign_entry(actor.person.device, at, last, op, subject, role, NOW, detail).packed


class RosterCase(SynchronousTestCase):
    """A case that lets a log refuse things."""

    def assert_refused(self, fault: Fault, roster: Roster, packed: bytes) -> None:
        """An entry is refused for a reason that a person can read, and changes nothing."""
        before = (len(roster), roster.epoch, dict(roster.members), roster.policy)
        wrong = self.assertRaises(RosterError, roster.append, packed)
        self.assertEqual(wrong.fault, fault)
        self.assertIn(str(fault), str(wrong))
        self.assertEqual((len(roster), roster.epoch, dict(roster.members), roster.policy), before)


class FoundingTests(RosterCase):
    """Entry 0."""

    def founding(self, actor: Someone, **changes: object) -> bytes:
        """An entry 0 that differs from an honest one."""
        founding = Founding(ALICE.person.certificate, "#den", bytes(16), Policy())
        whole = {"detail": founding.packed, "op": Op.CREATE, "number": 0, "previous": NO_PREVIOUS, **changes}
        fields = {"subject": ALICE.identity, "role": Role.OWNER, "time_ms": NOW, **whole}
        return sign_entry(actor.person.device, **fields).packed  # type: ignore[arg-type]

    def test_by_another(self) -> None:
        """A relay cannot found a room in Alice's name, nor anybody else."""
        wrong = self.assertRaises(RosterError, Roster, self.founding(MALLORY))
        self.assertEqual(wrong.fault, Fault.NO_RIGHT)

    def test_unsigned(self) -> None:
        """An entry 0 with any signature but the founder's is refused."""
        forged = replace(read_entry(self.founding(ALICE)), signature=bytes(64))
        wrong = self.assertRaises(RosterError, Roster, forged.packed)
        self.assertEqual(wrong.fault, Fault.UNSIGNED)

    def test_shape(self) -> None:
        """An entry 0 that is no creation, counts from elsewhere, or gives another role is refused."""
        changes: tuple[dict[str, object], ...] = (
            {"op": Op.JOIN},
            {"number": 1},
            {"previous": b"x" * 32},
            {"role": Role.MEMBER},
            {"role": None},
            {"subject": BOB.identity},
        )
        for change in changes:
            wrong = self.assertRaises(RosterError, Roster, self.founding(ALICE, **change))
            self.assertEqual(wrong.fault, Fault.NO_RIGHT)
        for detail in (b"", ALICE.person.certificate.packed):
            wrong = self.assertRaises(RosterError, Roster, self.founding(ALICE, detail=detail))
            self.assertEqual(wrong.fault, Fault.MALFORMED)

    def test_every_bit(self) -> None:
        """An entry 0 with any one bit changed is refused."""
        for broken in flipped(self.founding(ALICE)):
            self.assertRaises(RosterError, Roster, broken)

    def test_shown_as_another_room(self) -> None:
        """A relay cannot show one room under the name of another."""
        wrong = self.assertRaises(RosterError, Roster, self.founding(ALICE), "#team")
        self.assertEqual(wrong.fault, Fault.WRONG_ROOM)
        self.assertEqual(Roster(self.founding(ALICE), "#den").name, "#den")

    def test_names(self) -> None:
        """A room has a name that the relay takes, and a direct room one with its founder in it."""
        for name in ("den", "#", "#Den", "@bob+carol", "@bob+alice", "@alice+alice", "#dén"):
            self.assertRaises(RosterError, Roster, found(ALICE.person, name, Policy(), NOW))
        open_pair = found(ALICE.person, "@alice+bob", Policy(True), NOW)
        self.assertRaises(RosterError, Roster, open_pair)


class StrangerTests(RosterCase):
    """Entries by the relay, or anybody else who is no member."""

    def test_added_by_the_relay(self) -> None:
        """A member whom a stranger adds is refused."""
        roster = room(BOB)
        add = entry(roster, MALLORY, Op.ADD, MALLORY.identity, Role.MEMBER, MALLORY.person.certificate.packed)
        self.assert_refused(Fault.UNSIGNED, roster, add)
        self.assert_refused(Fault.UNSIGNED, roster, entry(roster, MALLORY, Op.REMOVE, BOB.identity))

    def test_in_a_members_name(self) -> None:
        """An entry in Alice's name with another's signature, or none, is refused."""
        roster = room(BOB)
        honest = read_entry(roster.add(ALICE.person, CAROL.person.certificate, NOW))
        mallorys = entry(roster, MALLORY, Op.ADD, CAROL.identity, Role.MEMBER, CAROL.person.certificate.packed)
        for signature in (bytes(64), read_entry(mallorys).signature):
            self.assert_refused(Fault.UNSIGNED, roster, replace(honest, signature=signature).packed)
        roster.append(honest.packed)

    def test_every_bit(self) -> None:
        """An entry with any one bit changed is refused, and the honest one is then taken."""
        roster = room()
        honest = roster.add(ALICE.person, BOB.person.certificate, NOW)
        for broken in flipped(honest):
            self.assertRaises(RosterError, roster.append, broken)
        roster.append(honest)

    def test_own_join_to_a_closed_room(self) -> None:
        """Nobody joins a closed room, and nobody joins in another's name."""
        certificate = MALLORY.person.certificate.packed
        roster = room(BOB)
        join = entry(roster, MALLORY, Op.JOIN, MALLORY.identity, Role.MEMBER, certificate)
        self.assert_refused(Fault.NO_RIGHT, roster, join)
        roster = room(BOB, is_open=True)
        bobs = entry(roster, MALLORY, Op.JOIN, CAROL.identity, Role.MEMBER, CAROL.person.certificate.packed)
        self.assert_refused(Fault.MALFORMED, roster, bobs)
        own = entry(roster, MALLORY, Op.JOIN, CAROL.identity, Role.MEMBER, certificate)
        self.assert_refused(Fault.MALFORMED, roster, own)

    def test_a_former_member(self) -> None:
        """Who has left or was removed can do nothing any more, however the entry is numbered."""
        roster = room(BOB, CAROL)
        roster.append(roster.change_role(ALICE.person, BOB.identity, Role.ADMIN, NOW))
        roster.append(roster.leave(BOB.person, NOW))
        remove = entry(roster, BOB, Op.REMOVE, CAROL.identity)
        self.assert_refused(Fault.UNSIGNED, roster, remove)

    def test_forged_history(self) -> None:
        """A stranger's entry under a number that is taken is no proof of anything."""
        roster = room(BOB, CAROL)
        first = read_entry(roster.packed[0]).digest
        add = entry(roster, MALLORY, Op.REMOVE, BOB.identity, number=1, previous=first)
        self.assert_refused(Fault.UNSIGNED, roster, add)


class ChainTests(RosterCase):
    """The order of entries."""

    def test_withheld(self) -> None:
        """An entry whose predecessor is missing is not taken, and is taken when it has come."""
        ahead = room(BOB)
        behind = Roster(ahead.packed[0])
        ahead.append(ahead.add(ALICE.person, CAROL.person.certificate, NOW))
        ahead.append(ahead.leave(CAROL.person, NOW))
        for packed in ahead.packed[2:]:
            self.assert_refused(Fault.OUT_OF_ORDER, behind, packed)
        self.assertEqual([each.op for each in behind.follow(ahead.packed)], [Op.ADD, Op.ADD, Op.LEAVE])
        self.assertEqual(behind.epoch, ahead.epoch)

    def test_known(self) -> None:
        """Entries that are known are passed over."""
        roster = room(BOB, CAROL)
        self.assertEqual(roster.follow(roster.packed), [])

    def test_forked(self) -> None:
        """Two logs that differ are told apart, whichever half comes first."""
        one = room(BOB)
        other = Roster(one.packed[0])
        other.append(other.add(ALICE.person, CAROL.person.certificate, NOW))
        self.assert_refused(Fault.FORKED, one, other.packed[1])
        other.append(other.add(ALICE.person, MALLORY.person.certificate, NOW))
        self.assert_refused(Fault.FORKED, one, other.packed[2])

    def test_wrong_link(self) -> None:
        """An entry that points to another one than the last is refused, though a member signed it."""
        roster = room(BOB)
        leave = entry(roster, BOB, Op.LEAVE, BOB.identity, previous=bytes(32))
        self.assert_refused(Fault.FORKED, roster, leave)

    def test_another_room(self) -> None:
        """An entry of another room of the same people does not fit."""
        roster, other = room(BOB), room(BOB, name="#other")
        self.assert_refused(Fault.FORKED, roster, other.leave(BOB.person, NOW))

    def test_rolled_back(self) -> None:
        """After a restart a relay cannot show a log that ends before, or goes otherwise than, the one of before."""
        scene = Scene("alice", "bob", "carol")
        scene.remove("alice", "carol")
        packed = scene.rooms["bob"].packed
        bob = scene.people["bob"]
        for log, fault in ((scene.log[:-1], Fault.OUT_OF_ORDER), (scene.log, None), ([], Fault.FORKED)):
            roster = Roster(scene.log[0])
            roster.follow(log)
            while len(roster) < len(scene.log) and not log:
                roster.append(roster.add(scene.people["alice"].person, someone("dave").person.certificate, NOW))
                roster.append(roster.remove(scene.people["alice"].person, someone("dave").identity, NOW))
            fresh = SecureRoom(bob.person, bob.ring, roster, bob.pins)
            if fault is None:
                fresh.restore(packed)
            else:
                self.assertEqual(self.assertRaises(RosterError, fresh.restore, packed).fault, fault)
            self.assertRaises(NotAuthentic, fresh.restore, packed[:-1])

    def test_split_rosters(self) -> None:
        """Members who are shown different logs have different epochs: what the others say is held, never shown."""
        scene = Scene("alice", "bob", "carol")
        alice, bob = scene.rooms["alice"], scene.rooms["bob"]
        alice.follow([alice.roster.remove(scene.people["alice"].person, scene.people["carol"].identity, NOW)])
        ghost = someone("dave")
        bob.follow([bob.roster.add(scene.people["alice"].person, ghost.person.certificate, NOW)])
        scene.give_session_key("alice", alice.roster.epoch)
        (held,) = scene.hear("bob", "alice", scene.say("alice", "without Carol"))
        assert isinstance(held, Held)
        self.assertEqual(held.awaited, Awaited.ROSTER)
        wrong = self.assertRaises(RosterError, bob.follow, alice.roster.packed)
        self.assertEqual(wrong.fault, Fault.FORKED)
        self.assertEqual(texts(scene.retry("bob")), [])


class RightTests(RosterCase):
    """Members without the right."""

    def test_members(self) -> None:
        """A plain member of a closed room adds nobody, removes nobody and changes nothing."""
        roster = room(BOB, CAROL)
        for packed in (
            entry(roster, BOB, Op.ADD, MALLORY.identity, Role.MEMBER, MALLORY.person.certificate.packed),
            entry(roster, BOB, Op.REMOVE, CAROL.identity),
            entry(roster, BOB, Op.REMOVE, ALICE.identity),
            entry(roster, BOB, Op.REMOVE, BOB.identity),
            entry(roster, BOB, Op.LEAVE, CAROL.identity),
            entry(roster, BOB, Op.ROLE, BOB.identity, Role.OWNER),
            entry(roster, BOB, Op.POLICY, BOB.identity, detail=Policy(True).packed),
            entry(roster, BOB, Op.POLICY, ALICE.identity, detail=Policy(True).packed),
            entry(roster, ALICE, Op.POLICY, BOB.identity, detail=Policy(True).packed),
            entry(roster, BOB, Op.REMOVE, MALLORY.identity),
        ):
            self.assert_refused(Fault.NO_RIGHT, roster, packed)

    def test_admins(self) -> None:
        """An admin adds and removes members, and neither removes admins or owners nor makes any."""
        roster = room(BOB, CAROL)
        for each in (BOB, CAROL):
            roster.append(roster.change_role(ALICE.person, each.identity, Role.ADMIN, NOW))
        for packed in (
            entry(roster, BOB, Op.REMOVE, CAROL.identity),
            entry(roster, BOB, Op.REMOVE, ALICE.identity),
            entry(roster, BOB, Op.ROLE, BOB.identity, Role.OWNER),
            entry(roster, BOB, Op.POLICY, BOB.identity, detail=Policy().packed),
        ):
            self.assert_refused(Fault.NO_RIGHT, roster, packed)
        roster.append(roster.add(BOB.person, MALLORY.person.certificate, NOW))
        roster.append(roster.remove(CAROL.person, MALLORY.identity, NOW))

    def test_right_before_the_entry(self) -> None:
        """A right that somebody had once, or will have, does not count."""
        roster = room(BOB, CAROL)
        early = entry(roster, BOB, Op.REMOVE, CAROL.identity)
        self.assert_refused(Fault.NO_RIGHT, roster, early)
        roster.append(roster.change_role(ALICE.person, BOB.identity, Role.ADMIN, NOW))
        roster.append(roster.change_role(ALICE.person, BOB.identity, Role.MEMBER, NOW))
        self.assert_refused(Fault.NO_RIGHT, roster, entry(roster, BOB, Op.REMOVE, CAROL.identity))

    def test_open_rooms(self) -> None:
        """Anybody joins an open room, every member adds, and nobody joins after it was closed."""
        roster = room(is_open=True)
        roster.append(roster.join(BOB.person, NOW))
        roster.append(roster.add(BOB.person, CAROL.person.certificate, NOW))
        roster.append(roster.change_policy(ALICE.person, Policy(False, 30), NOW))
        self.assertEqual(roster.policy, Policy(False, 30))
        wrong = self.assertRaises(RosterError, roster.join, MALLORY.person, NOW)
        self.assertEqual(wrong.fault, Fault.NO_RIGHT)

    def test_direct_rooms(self) -> None:
        """A direct room takes the two whose names it has, and nothing changes in it but their coming and going."""
        roster = room(BOB, name="@alice+bob")
        for packed in (
            entry(roster, ALICE, Op.REMOVE, BOB.identity),
            entry(roster, ALICE, Op.POLICY, ALICE.identity, detail=Policy(True).packed),
            entry(roster, ALICE, Op.ROLE, BOB.identity, Role.OWNER),
            entry(roster, MALLORY, Op.JOIN, MALLORY.identity, Role.MEMBER, MALLORY.person.certificate.packed),
        ):
            self.assert_refused(Fault.NO_RIGHT, roster, packed)
        add = entry(roster, ALICE, Op.ADD, CAROL.identity, Role.MEMBER, CAROL.person.certificate.packed)
        self.assert_refused(Fault.TAKEN, roster, add)
        roster.append(roster.leave(ALICE.person, NOW))
        roster.append(roster.add(BOB.person, ALICE.person.certificate, NOW))
        self.assertEqual({each.name for each in roster.members.values()}, {"alice", "bob"})

    def test_pointless(self) -> None:
        """Nobody is added who is in the room, and nothing is done to who is not."""
        roster = room(BOB, is_open=True)
        add = entry(roster, ALICE, Op.ADD, BOB.identity, Role.MEMBER, BOB.person.certificate.packed)
        self.assert_refused(Fault.POINTLESS, roster, add)
        self.assert_refused(Fault.POINTLESS, roster, entry(roster, ALICE, Op.ROLE, CAROL.identity, Role.ADMIN))

    def test_taken_names_and_devices(self) -> None:
        """Nobody comes in under a member's name, or with a device that was another's here."""
        roster = room(BOB, is_open=True)
        other_bob = someone("bob", "another Bob")
        join = entry(
            roster, other_bob, Op.JOIN, other_bob.identity, Role.MEMBER, other_bob.person.certificate.packed
        )
        self.assert_refused(Fault.TAKEN, roster, join)
        stolen = certify(MALLORY.person.identity, "mallory", BOB.device, NOW).packed
        add = entry(roster, ALICE, Op.ADD, MALLORY.identity, Role.MEMBER, stolen)
        self.assert_refused(Fault.TAKEN, roster, add)
        roster.append(roster.leave(BOB.person, NOW))
        add = entry(roster, ALICE, Op.ADD, MALLORY.identity, Role.MEMBER, stolen)
        self.assert_refused(Fault.TAKEN, roster, add)
        roster.append(roster.join(other_bob.person, NOW))

    def test_shapes(self) -> None:
        """An entry has the role and the detail of its kind, and a creation comes once."""
        roster = room(BOB)
        certificate = CAROL.person.certificate.packed
        for packed in (
            entry(roster, ALICE, Op.ADD, CAROL.identity, Role.OWNER, certificate),
            entry(roster, ALICE, Op.ADD, CAROL.identity, None, certificate),
            entry(roster, ALICE, Op.ADD, MALLORY.identity, Role.MEMBER, certificate),
            entry(roster, ALICE, Op.ADD, CAROL.identity, Role.MEMBER, certificate[:-1]),
            entry(roster, ALICE, Op.ADD, CAROL.identity, Role.MEMBER),
            entry(roster, ALICE, Op.REMOVE, BOB.identity, Role.MEMBER),
            entry(roster, ALICE, Op.REMOVE, BOB.identity, None, b"why"),
            entry(roster, ALICE, Op.ROLE, BOB.identity),
            entry(roster, ALICE, Op.POLICY, ALICE.identity, None, b"open"),
            entry(roster, ALICE, Op.POLICY, ALICE.identity, Role.OWNER, Policy().packed),
            entry(roster, ALICE, Op.POLICY, ALICE.identity, None, Policy(False, 3_651).packed),
            entry(roster, ALICE, Op.CREATE, ALICE.identity, Role.OWNER),
        ):
            self.assert_refused(Fault.MALFORMED, roster, packed)

    def test_full(self) -> None:
        """A room with as many members as it takes, and a log as long as it gets, take no more."""
        self.patch(roster_module, "ROOM_MEMBERS", 2)
        roster = room(BOB)
        add = entry(roster, ALICE, Op.ADD, CAROL.identity, Role.MEMBER, CAROL.person.certificate.packed)
        self.assert_refused(Fault.FULL, roster, add)
        self.patch(roster_module, "MAX_ENTRIES", 2)
        self.assert_refused(Fault.FULL, roster, entry(roster, BOB, Op.LEAVE, BOB.identity))


class EpochTests(RosterCase):
    """Which epoch it is, and who was there."""

    def test_epochs(self) -> None:
        """The epoch is the hash of the last entry that changed who is a member, and of no other."""
        roster = room(BOB)
        first, second = (read_entry(packed).digest for packed in roster.packed)
        self.assertEqual((roster.room_id, roster.epoch), (first, second))
        roster.append(roster.change_role(ALICE.person, BOB.identity, Role.ADMIN, NOW))
        roster.append(roster.change_policy(ALICE.person, Policy(True), NOW))
        self.assertEqual((roster.epoch, roster.place(second)), (second, 1))
        self.assertIsNone(roster.place(read_entry(roster.packed[-1]).digest))
        roster.append(roster.remove(ALICE.person, BOB.identity, NOW))
        self.assertEqual(roster.epoch, read_entry(roster.packed[-1]).digest)

    def test_who_was_there(self) -> None:
        """A device and a name are a member's from the epoch that brings them in to the one that ends it."""
        roster = room()
        epochs = [roster.epoch]
        for packed in (
            lambda: roster.add(ALICE.person, BOB.person.certificate, NOW),
            lambda: roster.leave(BOB.person, NOW),
            lambda: roster.add(ALICE.person, BOB.person.certificate, NOW),
            lambda: roster.add(ALICE.person, CAROL.person.certificate, NOW),
        ):
            roster.append(packed())
            epochs.append(roster.epoch)
        self.assertEqual(
            [roster.member_at(BOB.device, each) is not None for each in epochs], [False, True, False, True, True]
        )
        self.assertEqual(
            [roster.named_at("bob", each) is not None for each in epochs], [False, True, False, True, True]
        )
        self.assertIsNone(roster.member_at(BOB.device, bytes(32)))
        self.assertIsNone(roster.named_at("mallory", roster.epoch))

    def test_only_grew(self) -> None:
        """Whether somebody is gone between two epochs, which must be known and in order."""
        roster = room(BOB)
        with_bob = roster.epoch
        roster.append(roster.add(ALICE.person, CAROL.person.certificate, NOW))
        with_carol = roster.epoch
        roster.append(roster.leave(BOB.person, NOW))
        self.assertTrue(roster.only_grew(with_bob, with_bob))
        self.assertTrue(roster.only_grew(with_bob, with_carol))
        self.assertTrue(roster.only_grew(roster.epoch, roster.epoch))
        for since, until in ((with_carol, roster.epoch), (with_carol, with_bob), (bytes(32), with_bob)):
            self.assertFalse(roster.only_grew(since, until))
