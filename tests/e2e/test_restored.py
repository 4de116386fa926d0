"""A room's log that was followed before: it comes back as it was, and no signature is looked at again."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import securechat
from securechat.signed.entries import NO_PREVIOUS, Founding, Op, Policy, Role, sign_entry
from securechat.signed.rights import Fault, RosterError
from securechat.signed.roster import Roster
from tests.relay.people import NOW_MS, Chain, person

ALICE, BOB, CAROL, MALLORY = (person(name) for name in ("alice", "bob", "carol", "mallory"))
STORE = "relay/kept.py"
"""The only module that may say that a log was checked before: the relay's own store is sealed."""


def flipped(signed: bytes) -> bytes:
    """The same with another signature, in whose bytes it ends."""
    return signed[:-1] + bytes([signed[-1] ^ 1])


def long_log() -> list[bytes]:
    """The entries of a log in which everything has happened that can."""
    chain = Chain("#den")
    return [
        each.entry
        for each in (
            chain.found(ALICE, Policy()),
            chain.add(ALICE, BOB),
            chain.take(chain.signed(ALICE, Op.ROLE, BOB, Role.ADMIN)),
            chain.policy(ALICE, Policy(True, 7)),
            chain.join(CAROL),
            chain.remove(BOB, CAROL),
            chain.join(CAROL),
            chain.leave(BOB),
        )
    ]


class RestoredTests(SynchronousTestCase):
    """`Roster.restored`."""

    def assert_refused(self, fault: Fault, entries: list[bytes], room: str = "#den") -> None:
        """These are no log."""
        self.assertIs(fault, self.assertRaises(RosterError, Roster.restored, entries, room).fault)

    def test_as_it_was(self) -> None:
        """What was followed entry by entry and what is restored at once are the same in everything."""
        entries = long_log()
        followed = Roster(entries[0], "#den")
        followed.follow(entries[1:])
        self.assertEqual(vars(followed), vars(Roster.restored(entries, "#den")))

    def test_signatures(self) -> None:
        """A signature that does not hold is refused when it comes, and is not looked at when it comes back."""
        entries = long_log()
        entries[-1] = flipped(entries[-1])
        log = Roster(entries[0])
        self.assertIs(Fault.UNSIGNED, self.assertRaises(RosterError, log.follow, entries[1:]).fault)
        self.assertEqual(len(entries), len(Roster.restored(entries, "#den")))

    def test_certificates(self) -> None:
        """So it is with the certificates in it, the founder's as well."""
        certificate = flipped(ALICE.certificate.packed)
        detail = Founding(ALICE.certificate, "#den", bytes(16), Policy()).packed
        spoiled = detail.replace(ALICE.certificate.packed, certificate)
        own = ALICE.identity.public
        first = sign_entry(ALICE.device, 0, NO_PREVIOUS, Op.CREATE, own, Role.OWNER, NOW_MS, spoiled).packed
        self.assertIs(Fault.MALFORMED, self.assertRaises(RosterError, Roster, first).fault)
        self.assertEqual([own], list(Roster.restored([first], "#den").members))

    def test_what_comes_then(self) -> None:
        """What comes after that is checked as ever."""
        log = Roster.restored(long_log(), "#den")
        entry = log.add(ALICE, MALLORY.certificate, NOW_MS)
        self.assertIs(Fault.UNSIGNED, self.assertRaises(RosterError, log.append, flipped(entry)).fault)
        self.assertIsNotNone(log.append(entry))

    def test_no_log(self) -> None:
        """What is none, or another room's, or out of order, or without a right to it, is refused."""
        entries = long_log()
        self.assert_refused(Fault.MALFORMED, [])
        self.assert_refused(Fault.MALFORMED, [entries[0], b"nonsense"])
        self.assert_refused(Fault.WRONG_ROOM, entries, "#other")
        self.assert_refused(Fault.OUT_OF_ORDER, [entries[0], *entries[2:]])
        chain = Chain("#den")
        founding = chain.found(ALICE, Policy()).entry
        self.assert_refused(
            Fault.NO_RIGHT, [founding, chain.signed(BOB, Op.JOIN, BOB, Role.MEMBER, BOB.certificate.packed)]
        )

    def test_nobody_else(self) -> None:
        """Nothing but the relay's store says so: what comes over a link was checked by nobody."""
        root = Path(securechat.__file__).parent
        users = {
            str(path.relative_to(root))
            for path in root.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if (isinstance(node, ast.Attribute) and ast.unparse(node) in ("Log.restored", "Roster.restored"))
            or (isinstance(node, ast.keyword) and node.arg == "was_checked")
            or (isinstance(node, ast.ImportFrom) and "parse_certificate" in {each.name for each in node.names})
        }
        self.assertEqual({STORE, "signed/roster.py"}, users)
