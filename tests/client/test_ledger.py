"""What a client that is killed has written down: what was said and not acknowledged, and what was told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.answers import POST_LEAST_S, POST_MOST_S
from securechat.client.conversation import LINE_MS
from securechat.client.errors import ClientError
from securechat.client.events import Error, Message, NotSent, Sent
from securechat.client.ledger import DiskLedger, Line
from securechat.client.sealed_file import SealedFile
from securechat.wire import messages as wire
from tests.client.test_coming_back import BackCase
from tests.client.town import LOBBY, Person
from tests.relay.people import NOW_MS

SEED = b"s" * 32


def line(number: int, room: str = LOBBY) -> Line:
    """Something that was said."""
    return Line(b"%016d" % number, room, f"unmistakable {number}", None if number % 2 else f"label{number}", NOW_MS)


class LedgerTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        """Have a place for it."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "alice.ledger"

    def open(self, seed: bytes = SEED) -> DiskLedger:
        """Open it, as the next run of the program."""
        ledger = DiskLedger(SealedFile(self.path, seed))
        self.addCleanup(ledger._file._connection.close)
        return ledger

    def filled(self) -> DiskLedger:
        """One with three lines."""
        ledger = self.open()
        for number in (1, 2, 3):
            ledger.say(line(number))
        ledger.flush()
        return ledger

    def assert_refused(self, words: str, seed: bytes = SEED) -> None:
        """It is not opened, and one line says why and what to do."""
        wrong = self.assertRaises(ClientError, self.open, seed)
        self.assertIn(words, str(wrong))
        self.assertIn(str(self.path), str(wrong))
        self.assertNotIn("\n", str(wrong))

    def test_lines(self) -> None:
        """What was said is there for the next run, in its order, but for what was acknowledged."""
        ledger = self.filled()
        self.assertEqual([line(1), line(2), line(3)], self.open().unsent())
        self.assertEqual({line(number).post_id for number in (1, 2, 3)}, set(ledger.lines))
        ledger.forget([line(2).post_id])
        self.assertEqual({line(number).post_id for number in (1, 3)}, set(ledger.lines))
        ledger.flush()
        again = self.open()
        self.assertEqual([line(1), line(3)], again.unsent())
        again.say(line(4))
        again.flush()
        self.assertEqual([line(1), line(3), line(4)], self.open().unsent())

    def test_not_flushed(self) -> None:
        """What was not flushed is not there."""
        self.filled().say(line(4))
        self.assertEqual(3, len(self.open().unsent()))

    def test_told(self) -> None:
        """What was told is known to the next run, room by room, until the key store has it."""
        ledger = self.open()
        ledger.tell(b"r" * 32, [4, 5, 7])
        ledger.flush()
        again = self.open()
        self.assertEqual([4, 5, 7], [seq for seq in range(9) if again.was_told(b"r" * 32, seq)])
        self.assertFalse(again.was_told(b"q" * 32, 4))
        again.stored(b"r" * 32, 5)
        again.stored(b"q" * 32, 9)
        again.flush()
        last = self.open()
        for each in (again, last):
            self.assertEqual([7], [seq for seq in range(9) if each.was_told(b"r" * 32, seq)])

    def test_end_of_a_run(self) -> None:
        """At the end of a run nothing is left that was said: its user knows that it was not sent."""
        self.filled().close()
        self.assertEqual([], self.open().unsent())

    def test_secrecy(self) -> None:
        """Its files are for their owner alone, and say neither what was said, nor where, nor under which id."""
        ledger = self.filled()
        ledger.tell(b"room" * 8, [4])
        ledger.flush()
        files = list(self.path.parent.iterdir())
        self.assertLess(1, len(files))
        for path in files:
            self.assertEqual(0o600, S_IMODE(path.stat().st_mode))
            for secret in (b"unmistakable", LOBBY.encode(), line(1).post_id, b"label2", b"room" * 8):
                self.assertNotIn(secret, path.read_bytes())

    def test_other_keys(self) -> None:
        """One of other keys is refused."""
        self.filled().flush()
        self.assert_refused("is damaged, or of other keys", b"t" * 32)

    def test_damaged(self) -> None:
        """A row that was changed, and a file that is none, are refused."""
        ledger = self.filled()
        ledger._file._connection.execute("UPDATE said SET row = zeroblob(100) WHERE id = 2")
        self.assert_refused("is damaged, or of other keys")
        ledger._file._connection.close()
        self.path.with_name("alice.ledger-wal").unlink(missing_ok=True)
        self.path.write_bytes(b"nothing of the kind" * 100)
        self.assert_refused("cannot be used (SQLITE_NOTADB)")

    def test_not_ours(self) -> None:
        """A database of something else, and one of a newer version, are refused and stay as they are."""
        self.filled()
        for pragma, words in (
            ("user_version=3", "was made by a newer version"),
            ("application_id=7", "is something"),
        ):
            with sqlite3.connect(self.path) as connection:
                connection.execute(f"PRAGMA {pragma}")
            connection.close()
            self.assert_refused(words)

    def test_cannot_be_written(self) -> None:
        """What cannot be written is a failure in one line, which says nothing of what was said."""
        ledger = self.filled()
        ledger._file._connection.execute("DROP TABLE said")
        ledger.say(line(4))
        wrong = self.assertRaises(ClientError, ledger.flush)
        self.assertIn("cannot be written (SQLITE_ERROR)", str(wrong))
        self.assertNotIn("unmistakable", str(wrong))


class KilledTests(BackCase):
    """Programs with such a file that are killed."""

    def setUp(self) -> None:
        """Alice and Bob have one each."""
        super().setUp()
        self.paths = {who.name: Path(self.mktemp()) for who in (self.alice, self.bob)}
        for who in (self.alice, self.bob):
            self.stores(who)
            self.kill(who)

    def kill(self, who: Person) -> None:
        """Kill somebody's program, and start it with what is on its disk."""
        who.ledger = DiskLedger(SealedFile(self.paths[who.name], who.keys.identity.seed))
        self.addCleanup(who.ledger._file._connection.close)
        who.forget()
        self.restart(who)

    def posts(self) -> None:
        """Let Alice come as far as her post, and hear no acknowledgement."""
        while not self.alice.said(wire.Post):
            self.town_.turn()
            self.alice.move_up()
            self.alice.worker.work()
            self.alice.move_down()
        self.alice.move_up()

    def test_told_once(self) -> None:
        """What was told and not stored comes again, and is marked; what comes then is not."""
        self.says(self.alice, "1", "2")
        self.assertEqual(2, len(self.bob.heard()))
        self.kill(self.bob)
        self.says(self.alice, "3")
        told = [(event.text, event.again) for event in self.bob.told(Message)]
        self.assertEqual([("1", True), ("2", True), ("3", False)], told)
        self.stores(self.bob)
        self.kill(self.bob)
        self.assertEqual([], self.bob.heard())
        self.nothing_odd(self.bob)

    def test_said_and_never_posted(self) -> None:
        """A line that was typed without a link is said by the next run, once."""
        self.alice.lose()
        self.alice.conversation.say(LOBBY, "typed", "label")
        self.kill(self.alice)
        self.town_.settle()
        self.assertEqual([("alice", "typed")], self.bob.heard())
        self.kill(self.alice)
        self.assertEqual([("alice", "typed")], self.bob.heard())

    def test_taken_and_not_acknowledged(self) -> None:
        """A line that the relay had taken is acknowledged to the next run, and nobody hears it twice."""
        self.alice.conversation.say(LOBBY, "taken", "label")
        self.posts()
        self.town_.settle(self.alice)
        self.assertEqual([("alice", "taken")], self.bob.heard())
        self.kill(self.alice)
        self.says(self.alice, "next")
        self.assertEqual([("alice", "taken"), ("alice", "next")], self.bob.heard())
        self.nothing_odd(self.bob)

    def test_acknowledged_again(self) -> None:
        """The next run tells of a line of the last one by its label that it was sent."""
        self.alice.lose()
        self.alice.conversation.say(LOBBY, "typed", "label")
        who = self.alice
        who.ledger = DiskLedger(SealedFile(self.paths[who.name], who.keys.identity.seed))
        self.addCleanup(who.ledger._file._connection.close)
        self.restart(who)
        self.assertEqual([("typed", "label")], [(sent.text, sent.id) for sent in who.told(Sent)])

    def waits(self) -> list[tuple[float, Callable[[], None]]]:
        """From now on what Alice does in a while is collected here."""
        calls: list[tuple[float, Callable[[], None]]] = []
        self.patch(self.alice.conversation._rooms._answers, "_later", lambda *call: calls.append(call))
        return calls

    def test_no_room(self) -> None:
        """What a relay has no room for waits, is told once, and is sent in its order when there is room again."""
        calls = self.waits()
        self.town_.is_full = True
        self.says(self.alice, "1", "2")
        for _ in range(6):
            self.alice.sent.clear()
            calls[-1][1]()
            self.town_.settle()
            self.assertEqual(1, len(self.alice.said(wire.Post)))
        self.assertEqual([POST_LEAST_S, 10, 20, 40, *[POST_MOST_S] * 3], [seconds for seconds, _ in calls])
        (told,) = self.alice.told(Error)
        self.assertIn("#lobby: the relay has no room to keep more; what you say waits", told.text)
        self.town_.is_full = False
        self.says(self.alice, "3")
        self.assertEqual(([], 3), (self.bob.heard(), self.alice.conversation.unacknowledged))
        calls[-1][1]()
        self.town_.settle()
        self.assertEqual([("alice", each) for each in "123"], self.bob.heard())
        self.assertEqual(["1", "2", "3"], self.alice.acknowledged())
        self.nothing_odd(self.bob)

    def test_no_room_once_more(self) -> None:
        """After something was taken the next want of room is told again, and waits for the shortest time."""
        calls = self.waits()
        for number in range(2):
            self.town_.is_full = True
            self.says(self.alice, "text")
            self.town_.is_full = False
            calls[number][1]()
            self.town_.settle()
        self.assertEqual([POST_LEAST_S] * 2, [seconds for seconds, _ in calls])
        self.assertEqual((2, 2), (len(self.alice.told(Error)), len(self.bob.heard())))

    def test_no_room_and_no_link(self) -> None:
        """What waits when the link is lost is sent on the next one."""
        calls = self.waits()
        self.town_.is_full = True
        self.says(self.alice, "text")
        self.alice.lose()
        calls[0][1]()
        self.town_.is_full = False
        self.back(self.alice)
        self.assertEqual([("alice", "text")], self.bob.heard())

    def test_no_room_and_killed(self) -> None:
        """What a relay had no room for is sent by the next run."""
        self.waits()
        self.town_.is_full = True
        self.says(self.alice, "text")
        self.town_.is_full = False
        self.kill(self.alice)
        self.assertEqual([("alice", "text")], self.bob.heard())

    def test_too_old(self) -> None:
        """A line of more than 14 days ago is given back."""
        self.alice.lose()
        self.alice.conversation.say(LOBBY, "old", "label")
        self.town_.skipped_ms = LINE_MS + 1
        ledger = self.alice.ledger = DiskLedger(SealedFile(self.paths["alice"], self.alice.keys.identity.seed))
        self.addCleanup(ledger._file._connection.close)
        self.alice.begin()
        self.assertEqual([("old", "label")], [(each.text, each.id) for each in self.alice.told(NotSent)])
        self.assertEqual(0, self.alice.conversation.unacknowledged)

    def test_on_the_disk_before_it_is_posted(self) -> None:
        """When a line is posted it is on the disk."""
        self.patch(self.alice.conversation, "_later", lambda *_: None)
        self.alice.conversation.say(LOBBY, "hello")
        self.posts()
        ledger = DiskLedger(SealedFile(self.paths["alice"], self.alice.keys.identity.seed))
        self.addCleanup(ledger._file._connection.close)
        self.assertEqual(["hello"], [each.text for each in ledger.unsent()])
