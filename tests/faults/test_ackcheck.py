"""The checker finds what it is there for."""

from __future__ import annotations

import json
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.ackcheck import Life, Verdict, check, events_of


class CheckTests(SynchronousTestCase):
    """Alice says a to e, and bob says f; carol listens."""

    def setUp(self) -> None:
        """What all of them should have been told."""
        said = {1: "a", 2: "b", 3: "c", 4: "d", 5: "e"}
        self.alice = Life("alice", acked=[(text, text, seq) for seq, text in said.items()], shown=[(6, "f", False)])
        self.bob = Life("bob", acked=[("f", "f", 6)], shown=[(seq, text, False) for seq, text in said.items()])
        self.carol = Life("carol", shown=[*self.bob.shown, (6, "f", False)], since=1)

    def verdict(self) -> Verdict:
        """What the checker says now."""
        return check([self.alice, self.bob, self.carol])

    def test_clean(self) -> None:
        """Where everybody was shown everything nothing is wrong."""
        self.assertEqual(Verdict([], []), self.verdict())

    def test_lost(self) -> None:
        """A message that was acknowledged and not shown to one member is found: in the middle, first and last."""
        for seq in (3, 1, 6):
            with self.subTest(seq=seq):
                self.setUp()
                del self.carol.shown[seq - 1]
                self.assertEqual([f"carol: {seq} is acknowledged and not shown"], self.verdict().wrong)

    def test_lost_everywhere(self) -> None:
        """A message that was acknowledged and shown to nobody is found, the last one too."""
        self.bob.acked.append(("g", "g", 7))
        missing = "7 is acknowledged and not shown"
        self.assertEqual([f"alice: {missing}", f"carol: {missing}"], self.verdict().wrong)

    def test_doubled(self) -> None:
        """A message that is shown twice is found, under its own number and under another one."""
        self.carol.shown.append((6, "f", False))
        wrong = self.verdict().wrong
        self.assertIn("carol: 6 is shown 2 times", wrong)
        self.assertIn("carol: 'f' is shown 2 times", wrong)
        self.setUp()
        for life in (self.alice, self.carol):
            life.shown.append((7, "f", False))
        self.bob.acked.append(("g", "g", 7))
        self.assertIn("number 7 is f and g", self.verdict().wrong)
        self.assertIn("carol: 'f' is shown 2 times", self.verdict().wrong)

    def test_doubled_acknowledgement(self) -> None:
        """A message that was numbered twice is found."""
        self.bob.acked.append(("f", "f", 7))
        self.assertIn("bob: 'f' is acknowledged 2 times", self.verdict().wrong)

    def test_acknowledged_again(self) -> None:
        """Who was killed may be told again that a line was taken, under the same number; nobody else may."""
        killed = replace(self.bob, cut=True)
        self.bob = Life("bob", acked=[("f", "f", 6)], since=6)
        self.assertEqual([], check([self.alice, killed, self.bob, self.carol]).wrong)
        wrong = check([self.alice, replace(killed, cut=False), self.bob, self.carol]).wrong
        self.assertIn("bob: 'f' is acknowledged 2 times", wrong)
        self.bob.acked = [("f", "f", 7)]
        wrong = check([self.alice, killed, self.bob, self.carol]).wrong
        self.assertIn("bob: 'f' is acknowledged 2 times", wrong)

    def test_shown_again(self) -> None:
        """What is marked as shown again counts as known, is no double, and must be the same message."""
        seq, text, _ = self.carol.shown[1]
        self.carol.again.append((seq, text))
        self.assertEqual([], self.verdict().wrong)
        del self.carol.shown[1]
        self.assertEqual([], self.verdict().wrong)
        self.carol.again[0] = (seq, "something else")
        self.assertIn(f"number {seq} is {text} and something else", self.verdict().wrong)

    def test_own_shown(self) -> None:
        """A message that is shown to who said it is found."""
        self.bob.shown.append((6, "f", False))
        self.assertIn("bob: 6 is shown 2 times", self.verdict().wrong)

    def test_swapped(self) -> None:
        """Two messages that changed places are found, whether their numbers went with them or not."""
        self.carol.shown[1:3] = [self.carol.shown[2], self.carol.shown[1]]
        self.assertEqual(["carol: 2 is shown behind 3"], self.verdict().wrong)
        self.carol.shown[1:3] = [(2, "c", False), (3, "b", False)]
        self.assertEqual(["number 2 is b and c", "number 3 is b and c"], self.verdict().wrong)

    def test_late(self) -> None:
        """A message that is told to be late may stand behind others."""
        self.carol.shown[1:3] = [self.carol.shown[2], (2, "b", True)]
        self.assertEqual([], self.verdict().wrong)

    def test_missing(self) -> None:
        """A number that nobody knows anything of is found at everybody."""
        self.bob.acked = [("f", "f", 8)]
        for life in (self.alice, self.carol):
            life.shown[-1] = (8, "f", False)
        self.assertEqual(6, len(self.verdict().wrong))
        self.assertIn("bob: 7 is missing", self.verdict().wrong)

    def test_silence(self) -> None:
        """A member that was shown nothing at all is found."""
        self.carol.shown.clear()
        self.assertEqual(["carol: knows nothing at all"], self.verdict().wrong)

    def test_told(self) -> None:
        """What a client says that it missed, or cannot read, is not wrong, and is listed."""
        del self.carol.shown[1:3]
        self.carol.missed = [(2, 2)]
        self.carol.unreadable = [3]
        self.carol.gaps = [("alice", 1, 1)]
        told = ["carol: missed 2 to 2", "carol: cannot read 3", "carol: gap of alice, 1 to 1"]
        self.assertEqual(Verdict([], told), self.verdict())

    def test_held(self) -> None:
        """What a client says that it holds is told as long as it is not shown, and no longer."""
        self.carol.held = [3]
        self.assertEqual(Verdict([], []), self.verdict())
        del self.carol.shown[2]
        self.assertEqual(Verdict([], ["carol: still waits for the key of 3"]), self.verdict())

    def test_lives(self) -> None:
        """A client that was killed and started again owes what it was there for, and nothing twice."""
        first = Life("carol", cut=True, shown=self.carol.shown[:2], since=1)
        again = Life("carol", shown=self.carol.shown[4:], since=5)
        lives = [self.alice, self.bob, first, again]
        self.assertEqual([], check(lives).wrong)
        again.shown.insert(0, self.carol.shown[1])
        self.assertIn("carol: 2 is shown 2 times", check(lives).wrong)
        again.shown = self.carol.shown[5:]
        self.assertEqual(["carol: 5 is acknowledged and not shown"], check(lives).wrong)
        del first.shown[0]
        self.assertIn("carol: 1 is acknowledged and not shown", check(lives).wrong)

    def test_acknowledged_before_the_end(self) -> None:
        """Who was killed owes nothing behind what it showed last, though an own number is higher; all before it."""
        cut = Life("dave", cut=True, since=2, shown=self.carol.shown[1:3], acked=[("d", "late", 9)])
        told = replace(cut, acked=[("d", "late", 9)], shown=[*cut.shown, self.carol.shown[4]])
        self.assertEqual(
            [], [each for each in check([self.alice, self.bob, self.carol, cut]).wrong if "dave" in each]
        )
        self.assertIn(
            "dave: 4 is acknowledged and not shown", check([self.alice, self.bob, self.carol, told]).wrong
        )

    def test_reads(self) -> None:
        """What clients write with --json is read, of one room, up to where they were cut off."""
        events = [
            {"type": "sent", "room": "#a", "seq": 1, "text": "x", "id": "1"},
            {"type": "message", "room": "#a", "seq": 2, "text": "y", "sender": "bob"},
            {"type": "message", "room": "#a", "seq": 5, "text": "z", "sender": "bob", "late": True},
            {"type": "missed", "room": "#a", "first": 3, "last": 4},
            {"type": "unreadable", "room": "#a", "seq": 6},
            {"type": "held", "room": "#a", "seq": 5},
            {"type": "gap", "room": "#a", "sender": "bob", "first": 0, "last": 1},
            {"type": "message", "room": "#b", "seq": 9, "text": "elsewhere", "sender": "bob"},
        ]
        lines = [*(json.dumps(event).encode() for event in events), b'{"type": "mess']
        life = Life("alice", "#a").read(events_of(lines))
        self.assertEqual([("1", "x", 1)], life.acked)
        self.assertEqual([(2, "y", False), (5, "z", True)], life.shown)
        self.assertEqual(({3, 4, 6}, {1, 2, 3, 4, 5, 6}), (life.told, life.known))
        self.assertEqual([("bob", 0, 1)], life.gaps)
