"""What was said, to be read again: as long as the room lets it, once, and by nobody without the keys."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from stat import S_IMODE

from twisted.trial.unittest import SynchronousTestCase

from securechat.client import events
from securechat.client.archive import DAY_MS, MOST, DiskArchive
from securechat.client.errors import ClientError
from securechat.client.events import History, Message, time_of
from securechat.client.ledger import DiskLedger
from securechat.client.sealed_file import SealedFile
from securechat.signed.entries import Policy
from securechat.signed.roster import Roster, found
from tests.client.test_coming_back import BackCase
from tests.client.town import LOBBY, Person
from tests.relay.people import NOW_MS, person

SEED = b"s" * 32
ALICE = person("alice")


def log(days: int, room: str = LOBBY) -> Roster:
    """The log of a room with a history of so many days."""
    return Roster(found(ALICE, room, Policy(True, days), NOW_MS), room)


def message(number: int, text: str = "unmistakable", room: str = LOBBY) -> Message:
    """Something that bob said."""
    return Message(room, "bob", f"{text} {number}", time_of(NOW_MS), number, "first", late=True)


class ArchiveTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        """Have a place for it, and two rooms."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "alice.ledger"
        self.log = log(7)
        self.file, self.archive = self.open()

    def open(self, seed: bytes = SEED) -> tuple[SealedFile, DiskArchive]:
        """Open it, as the next run of the program."""
        file = SealedFile(self.path, seed)
        self.addCleanup(file.close)
        return file, DiskArchive(file)

    def kept(self, count: int = MOST, room: str = LOBBY) -> list[str]:
        """The texts that the next run can read again."""
        return [each.text for each in self.open()[1].last(room, count)]

    def keep(self, *numbers: int, of: Roster | None = None, now_ms: int = NOW_MS) -> None:
        """Keep some messages."""
        self.archive.keep(of or self.log, [message(number) for number in numbers], now_ms)
        self.file.flush()

    def test_last(self) -> None:
        """The next run has the last messages of a room as they were told, with all their marks, and of no other."""
        self.keep(1, 2, 3)
        self.keep(9, of=log(7, "#dev"))
        self.assertEqual([message(2), message(3)], self.open()[1].last(LOBBY, 2))
        self.assertEqual(["unmistakable 9"], self.kept(room="#dev"))
        self.assertEqual([], self.kept(room="#none"))

    def test_once(self) -> None:
        """What comes a second time under its number is kept once; in another room of the name it is another one."""
        self.keep(1, 2)
        self.keep(1, 3)
        self.keep(3, of=log(7))
        self.assertEqual([f"unmistakable {number}" for number in (1, 2, 3, 3)], self.kept())

    def test_no_history(self) -> None:
        """Of a room without a history nothing is kept."""
        self.keep(1, of=log(0))
        self.assertEqual([], self.kept())

    def test_expires(self) -> None:
        """A message goes when its days are over, counted from when it came, and not a day before."""
        self.keep(1)
        self.keep(2, now_ms=NOW_MS + DAY_MS)
        for days, expected in ((7, [1, 2]), (8, [2]), (9, [])):
            self.archive.expire(NOW_MS + days * DAY_MS)
            self.file.flush()
            self.assertEqual([f"unmistakable {number}" for number in expected], self.kept(), days)

    def test_lowered(self) -> None:
        """Where a policy is lowered, what it lets nobody keep any more goes; of another log it says nothing."""
        self.keep(1)
        self.archive.limit(log(0), NOW_MS)
        self.file.flush()
        self.assertEqual(["unmistakable 1"], self.kept())
        for days, left in ((9, 1), (2, 1), (1, 0)):
            policy = Policy(True, days)
            self.log.append(self.log.change_policy(ALICE, policy, NOW_MS))
            self.archive.limit(self.log, NOW_MS + 2 * DAY_MS)
            self.file.flush()
            self.assertEqual(left, len(self.kept()), days)

    def test_secrecy(self) -> None:
        """Its files are for their owner alone, and say neither what was said, nor by whom, nor in which room."""
        self.keep(1, 2)
        files = list(self.path.parent.iterdir())
        self.assertLess(1, len(files))
        for path in files:
            self.assertEqual(0o600, S_IMODE(path.stat().st_mode))
            for secret in (b"unmistakable", LOBBY.encode(), b"bob", self.log.room_id):
                self.assertNotIn(secret, path.read_bytes())

    def test_nothing_is_left(self) -> None:
        """Of messages that went no row is left, neither in the file nor in SQLite's log beside it."""

        def left() -> int:
            data = [path.read_bytes() for path in self.path.parent.iterdir()]
            return sum(any(row[64:128] in each for each in data) for row in rows)

        self.keep(*range(1, 200))
        self.file.read("PRAGMA wal_checkpoint(TRUNCATE)")
        rows = [row for (row,) in self.file.read("SELECT row FROM messages")]
        self.assertEqual(len(rows), left())
        self.archive.expire(NOW_MS + 8 * DAY_MS)
        self.file.flush()
        self.assertEqual(0, left())

    def test_moved_row(self) -> None:
        """A row that was put in another's place, or is none, is refused in one line that says what to do."""
        self.keep(1, 2)
        self.file.read("UPDATE messages SET row = (SELECT row FROM messages WHERE id = 1) WHERE id = 2")
        wrong = self.assertRaises(ClientError, self.archive.last, LOBBY, 5)
        self.assertIn("is damaged, or of other keys; remove it", str(wrong))
        self.assertNotIn("\n", str(wrong))
        self.file.put("DROP TABLE messages")
        self.assertIn("cannot be used", str(self.assertRaises(ClientError, self.archive.last, LOBBY, 5)))

    def test_other_keys(self) -> None:
        """With other keys there is nothing to be read."""
        self.keep(1)
        self.assertEqual([], self.open(b"t" * 32)[1].last(LOBBY, 5))

    def test_migration(self) -> None:
        """A file of the first version becomes what a new one is, and loses nothing."""
        first = self.path.with_name("first.ledger")
        with sqlite3.connect(first) as connection:
            for statement in (
                "CREATE TABLE said (id INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
                "CREATE TABLE told (room BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (room, seq)) STRICT",
                "INSERT INTO told VALUES (x'00', 5)",
                f"PRAGMA application_id={0x53434C31}",
                "PRAGMA user_version=1",
            ):
                connection.execute(statement)
        connection.close()
        file = SealedFile(first, SEED)
        self.addCleanup(file.close)
        schema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
        self.assertEqual(self.file.read(schema), file.read(schema))
        self.assertEqual([(b"\0", 5)], file.read("SELECT room, seq FROM told"))
        self.assertEqual([(2,)], file.read("PRAGMA user_version"))


class RoomTests(BackCase):
    """Alice and Bob, with such files, in rooms of theirs."""

    def setUp(self) -> None:
        """Begin with a room that has a history of a week."""
        super().setUp()
        self.paths = {who.name: Path(self.mktemp()) for who in (self.alice, self.bob)}
        for who in (self.alice, self.bob):
            self.stores(who)
            self.kill(who)
        self.alice.conversation.keep_history(LOBBY, 7)
        self.town_.settle()

    def kill(self, who: Person) -> None:
        """Kill somebody's program, and start it with what is on its disk."""
        file = SealedFile(self.paths[who.name], who.keys.identity.seed)
        self.addCleanup(file.close)
        who.ledger, who.archive = DiskLedger(file), DiskArchive(file)
        who.forget()
        self.restart(who)

    def past(self, who: Person, room: str = LOBBY) -> list[tuple[str, str]]:
        """Who said what, as far as somebody can read it again."""
        return [(each.sender, each.text) for each in who.conversation.past(room, MOST)]

    def test_everybody(self) -> None:
        """All members keep what is said in its order, their own with its acknowledgement."""
        self.says(self.alice, "1")
        self.says(self.bob, "2")
        self.says(self.alice, "3")
        said = [("alice", "1"), ("bob", "2"), ("alice", "3")]
        self.assertEqual([said, said], [self.past(self.alice), self.past(self.bob)])
        told = self.bob.told(Message)
        self.assertEqual([told[0], told[1]], [self.bob.conversation.past(LOBBY, 9)[at] for at in (0, 2)])

    def test_on_the_disk_before_it_is_told(self) -> None:
        """When a message is told, it is in the file for whoever opens it then."""
        found: list[list[str]] = []
        file = SealedFile(self.paths["bob"], self.bob.keys.identity.seed)
        self.addCleanup(file.close)

        class Events(list[events.Event]):
            def append(self, event: events.Event) -> None:
                if isinstance(event, Message):
                    found.append([each.text for each in DiskArchive(file).last(LOBBY, MOST)])

        self.patch(self.bob.conversation._hearing._events, "_pass_on", Events().append)
        self.says(self.alice, "hello")
        self.assertEqual([["hello"]], found)

    def test_killed(self) -> None:
        """After a kill what comes again is in the archive once, and so is what was said and posted again."""
        self.says(self.alice, "1", "2")
        self.kill(self.bob)
        self.alice.conversation.say(LOBBY, "3")
        self.kill(self.alice)
        said = [("alice", each) for each in "123"]
        self.assertEqual([said, said], [self.past(self.alice), self.past(self.bob)])
        self.assertEqual([True, True, False], [each.again for each in self.bob.told(Message)])
        self.nothing_odd(self.bob)

    def test_on_return(self) -> None:
        """What was said while somebody was away stands behind what they had read."""
        self.says(self.alice, "1")
        self.stores(self.bob)
        self.bob.lose()
        self.says(self.alice, "2", "3")
        self.kill(self.bob)
        self.assertEqual([("alice", each) for each in "123"], self.past(self.bob))

    def test_told_of_the_policy(self) -> None:
        """A change is told to all, with who made it; later it is told to who enters."""
        for who in (self.alice, self.bob):
            self.assertEqual([events.Policy(LOBBY, "alice", True, 7)], who.told(events.Policy))
        self.stores(self.bob)
        self.kill(self.bob)
        self.assertEqual([7], [each.history_days for each in self.bob.told(events.Entered)])

    def test_not_by_a_member(self) -> None:
        """Who is neither owner nor admin cannot change it, and is told."""
        self.bob.conversation.keep_history(LOBBY, 0)
        self.town_.settle()
        self.assertEqual(1, len(self.bob.told(events.Error)))
        self.bob.conversation.keep_history("#none", 0)
        self.assertEqual(2, len(self.bob.told(events.Error)))
        self.alice.conversation.history(LOBBY)
        self.assertEqual(7, self.alice.told(History)[0].days)

    def test_not_on_the_way_out(self) -> None:
        """Who is leaving a room, or has no link, decides nothing there any more, and is told."""
        self.bob.lose()
        self.bob.conversation.keep_history(LOBBY, 1)
        self.alice.conversation.leave(LOBBY)
        self.alice.conversation.keep_history(LOBBY, 1)
        for who in (self.alice, self.bob):
            self.assertEqual(1, len(who.told(events.Error)))
        self.town_.settle()
        self.back(self.bob)
        self.assertEqual(7, self.bob.told(events.Entered)[-1].history_days)

    def test_no_history_any_more(self) -> None:
        """Where there shall be no history any more, everybody's archive loses what it has."""
        self.says(self.alice, "1")
        self.alice.conversation.keep_history(LOBBY, 0)
        self.town_.settle()
        self.says(self.alice, "2")
        self.assertEqual([[], []], [self.past(self.alice), self.past(self.bob)])

    def test_lowered_while_away(self) -> None:
        """Who was away when it was lowered loses it on return."""
        self.says(self.alice, "1")
        self.stores(self.bob)
        self.bob.lose()
        self.alice.conversation.keep_history(LOBBY, 0)
        self.town_.settle()
        self.assertEqual([("alice", "1")], self.past(self.bob))
        self.kill(self.bob)
        self.assertEqual([], self.past(self.bob))

    def test_founded_with_one(self) -> None:
        """Rooms of who wants a history have one from the start, also one of two; nobody else's has."""
        self.bob.conversation.found_closed("#bare")
        self.alice.history_days = 3
        self.kill(self.alice)
        self.alice.conversation.found_closed("#closed")
        self.alice.conversation.direct("bob", "hello")
        self.town_.settle()
        days = {each.room: each.history_days for who in (self.bob, self.alice) for each in who.told(events.Entered)}
        self.assertEqual({LOBBY: 7, "#bare": 0, "#closed": 3, "@alice+bob": 3}, days)
        self.assertEqual([("alice", "hello")], self.past(self.bob, "@alice+bob"))

    def test_history(self) -> None:
        """What is asked for is told: so many of the last, a room of two by the name of the other one."""
        self.says(self.alice, "1", "2", "3")
        self.bob.conversation.history(LOBBY, 2)
        self.bob.conversation.history("@alice")
        self.bob.conversation.history("#none")
        first, *others = self.bob.told(History)
        self.assertEqual((LOBBY, ["2", "3"], 7), (first.room, [each.text for each in first.messages], first.days))
        self.assertEqual([History("@alice+bob", []), History("#none", [])], others)

    def test_bound(self) -> None:
        """At most 1,000 messages are told again, however many are asked for."""
        secure = self.alice.conversation._rooms.by_name[LOBBY].secure
        assert secure is not None
        self.alice.archive.keep(secure.roster, [message(number) for number in range(1, MOST + 100)], NOW_MS)
        self.alice.conversation.history(LOBBY, 10_000)
        (told,) = self.alice.told(History)
        self.assertEqual((MOST, MOST + 99), (len(told.messages), told.messages[-1].seq))

    def test_expire(self) -> None:
        """What was kept for long enough goes from the disk when it is looked for."""
        self.says(self.alice, "1")
        self.town_.skipped_ms = 8 * DAY_MS
        self.alice.conversation.expire()
        self.assertEqual([], self.past(self.alice))

    def test_damaged(self) -> None:
        """A damaged file ends the client in one line, and no traceback."""
        failed: list[ClientError] = []
        self.patch(self.bob.conversation, "_failed", failed.append)
        self.says(self.alice, "1")
        self.bob.archive._file.read("UPDATE messages SET row = zeroblob(100)")  # type: ignore[attr-defined]
        self.assertEqual([], self.bob.conversation.past(LOBBY, 5))
        self.assertIn("is damaged", str(failed[0]))
