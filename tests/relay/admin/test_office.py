"""What the operator can ask of a running relay, asked of one in memory with a real store."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from securechat.relay import bans, sqlite_store
from securechat.relay.admin import office as office_module
from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.messages import (
    Answer,
    Backup,
    Ban,
    Banned,
    Bans,
    Done,
    Progress,
    RemoveName,
    Request,
    Room,
    Rooms,
    Unban,
    User,
    Users,
)
from securechat.relay.admin.office import SOME, Office
from securechat.relay.space import RESERVE_BYTES
from securechat.relay.store import Store
from securechat.relay.writer import EndedError, Writer
from securechat.wire.messages import Goodbye
from tests.relay.harness import of
from tests.relay.keeping import KeptCase, open_store, store_path
from tests.relay.people import person


class Asker:
    """Who asks, and what they were told."""

    def __init__(self) -> None:
        self.is_gone = False
        self.told: list[Answer] = []
        self.turns = 0
        self._gone: list[Callable[[], None]] = []

    def tell(self, answer: Answer) -> None:
        """Keep it."""
        self.told.append(answer)

    def ready(self) -> Deferred[None]:
        """At once."""
        self.turns += 1
        return succeed(None)

    def when_gone(self, call: Callable[[], None]) -> None:
        """Remember, or make it now."""
        if self.is_gone:
            call()
        else:
            self._gone.append(call)

    def leave(self) -> None:
        """Be gone."""
        self.is_gone = True
        for call in self._gone:
            call()


class AtOnce:
    """What the office needs of a writer, without a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.copying: Deferred[None] | None = None
        self.held = False

    def use(self, work: Callable[[Store], Any]) -> Deferred[Any]:
        """Do it now."""
        return succeed(work(self._store))

    def copy(self, path: Path, told: Callable[[int, int], None], is_wanted: Callable[[], bool]) -> Deferred[None]:
        """Copy it now, or later."""
        if self.held:
            self.copying = Deferred()
            return self.copying
        self._store.copy(path, told)
        return succeed(None)


class OfficeTests(KeptCase):
    """An office."""

    def setUp(self) -> None:
        """Make it: alice and bob drink tea."""
        self.path = store_path(self)
        self.store = open_store(self.path)
        self.addCleanup(self.store.close)
        self.here = self.kept_relay(self.store)
        self.writer = AtOnce(self.store)
        self.office = Office(self.here.factory, cast(Writer, self.writer), self.path, self.here.now_ms)
        self.alice, self.bob = self.here.room("#tea", "alice", "bob")

    def ask(self, request: Request) -> tuple[list[Answer], str]:
        """Ask, and have what changes kept; what was told, and the last sentence."""
        asker = Asker()
        done = self.office.carry_out(request, asker)
        for _ in range(3):
            self.here.turn()
        result = self.successResultOf(done)
        return asker.told, result.text

    def refused(self, request: Request) -> Exit:
        """Ask for what cannot be done; the status."""
        asker = Asker()
        failure: Failure = self.failureResultOf(self.office.carry_out(request, asker), AdminError)
        asker.leave()
        assert isinstance(failure.value, AdminError)
        return failure.value.status

    def key(self, name: str) -> str:
        """Somebody's identity key."""
        return person(name).identity.public.hex()

    def test_users(self) -> None:
        """Each name is told with its keys, whether it is here, the day of its newest prekey, and its rooms."""
        self.bob.transport.lose()
        self.here.turn()
        told, _ = self.ask(Users())
        self.assertEqual(
            [
                User(
                    name,
                    self.key(name),
                    person(name).device.public.hex(),
                    here=name == "alice",
                    seen="2023-11-14",
                    rooms=["#tea"],
                    banned=False,
                )
                for name in ("alice", "bob")
            ],
            told,
        )

    def test_rooms(self) -> None:
        """Each room is told with its members, its numbers and what it takes."""
        self.alice.post("#tea", b"one", b"two")
        self.alice.hears()
        self.here.room("#cake", "carol")
        ((tea, cake), _) = self.ask(Rooms())
        assert isinstance(tea, Room)
        self.assertEqual(
            ("#tea", ["alice", "bob"], 2, 2, 2, 2),
            (tea.name, tea.members, tea.here, tea.entries, tea.last_seq, tea.messages),
        )
        self.assertGreater(tea.bytes, 200)
        self.assertEqual(Room("#cake", ["carol"], 1, 1, 0, 0, 0), cake)

    def test_long_lists(self) -> None:
        """A long list is told some at a time, each time when it is read."""
        self.here.login(*(f"n{number}" for number in range(SOME)))
        asker = Asker()
        self.successResultOf(self.office.carry_out(Users(), asker))
        self.assertEqual((SOME + 2, 2), (len(asker.told), asker.turns))

    def test_ban(self) -> None:
        """The owner of a name is banned by their key and cut off; the name stays theirs."""
        _, text = self.ask(Ban("bob"))
        self.assertEqual(f"banned the key {self.key('bob')} of bob; 1 link ended", text)
        self.assertEqual(["banned"], [each.code for each in of(Goodbye, self.bob.hears())])
        self.assertEqual([Banned("key", self.key("bob"), "bob", "2023-11-14")], self.ask(Bans())[0])
        self.assertEqual([False, True], [user.banned for user in self.ask(Users())[0] if isinstance(user, User)])
        thief = self.here.connect()
        thief.login(person("bob", 1))
        self.assertEqual("name-owned", thief.code())

    def test_ban_by_key(self) -> None:
        """A key is banned whether or not it was ever here, and its name is remembered where it has one."""
        self.ask(Ban(self.key("bob").upper()))
        self.ask(Ban(self.key("carol")))
        self.assertEqual(
            [("bob", self.key("bob")), ("", self.key("carol"))],
            [(ban.name, ban.value) for ban in self.ask(Bans())[0] if isinstance(ban, Banned)],
        )

    def test_ban_network(self) -> None:
        """A network is banned, and links from it end."""
        self.here.connect("192.0.2.7")
        _, text = self.ask(Ban("192.0.2.0/24"))
        self.assertEqual("banned 192.0.2.0/24; 1 link ended", text)
        self.assertIsNone(self.here.try_connect("192.0.2.8"))

    def test_ban_twice(self) -> None:
        """What is banned already stays as it was."""
        self.ask(Ban("bob"))
        _, text = self.ask(Ban(self.key("bob")))
        self.assertIn("is banned already", text)
        self.assertEqual(1, len(self.here.factory.bans))

    def test_unban(self) -> None:
        """A ban is lifted by name, by key and by network."""
        for what in ("bob", self.key("bob"), "192.0.2.0/24", "192.0.2.77/24"):
            self.ask(Ban("bob"))
            self.ask(Ban("192.0.2.0/24"))
            self.ask(Unban(what))
            self.assertEqual(1, len(self.here.factory.bans), what)

    def test_unban_what_is_not_banned(self) -> None:
        """Names, keys and networks that are not banned, or that there are not, are told apart from success."""
        for what in ("bob", "nobody", "", "#tea", self.key("bob"), "192.0.2.0/24", "x" * 64, "ab " * 21 + "a"):
            self.assertEqual(Exit.NO_SUCH, self.refused(Unban(what)), what)

    def test_unban_name_of_several(self) -> None:
        """Where several banned keys have had a name, the name alone does not say which is meant."""
        self.ask(RemoveName("bob"))
        self.here.login_as(person("bob", 1))
        self.ask(RemoveName("bob"))
        self.assertEqual(Exit.NO_SUCH, self.refused(Unban("bob")))
        self.ask(Unban(self.key("bob")))
        self.ask(Unban("bob"))
        self.assertEqual(0, len(self.here.factory.bans))

    def test_what_cannot_be_banned(self) -> None:
        """Everybody, and names that nobody has, cannot be banned."""
        self.assertEqual(Exit.USAGE, self.refused(Ban("0.0.0.0/0")))
        for what in ("nobody", "", "No Name", "\x1b[2J"):
            self.assertEqual(Exit.NO_SUCH, self.refused(Ban(what)), what)

    def test_too_many_bans(self) -> None:
        """There is a bound to bans; those that are there can be lifted all the same."""
        self.patch(office_module, "BANS", 2)
        self.ask(Ban("192.0.2.1"))
        self.ask(Ban("192.0.2.2"))
        self.assertEqual(Exit.NO_SPACE, self.refused(Ban("192.0.2.3")))
        self.assertEqual(Exit.NO_SPACE, self.refused(RemoveName("bob")))
        self.assertEqual(["alice", "bob"], sorted(owner.name for owner in self.here.factory.owners))
        self.ask(Unban("192.0.2.1"))
        self.ask(Ban("192.0.2.3"))
        self.assertGreaterEqual(bans.BANS, 1_000)

    def test_remove_name(self) -> None:
        """A name is free, its key banned and cut off, and it may be somebody else's at once."""
        _, text = self.ask(RemoveName("bob"))
        self.assertEqual(f"bob is free; the key {self.key('bob')}, whose it was, is banned", text)
        self.assertEqual(["banned"], [each.code for each in of(Goodbye, self.bob.hears())])
        self.here.login_as(person("bob", 1))
        again = self.here.connect()
        again.login(person("bob"))
        self.assertEqual("banned", again.code())

    def test_remove_name_that_nobody_has(self) -> None:
        """There is nothing to be freed."""
        self.assertEqual(Exit.NO_SUCH, self.refused(RemoveName("nobody")))

    def test_answered_when_kept(self) -> None:
        """A change is answered once it is on the disk, and waits for what is being kept before."""
        self.here.disk.held = True
        done = self.office.carry_out(Ban("192.0.2.1"), Asker())
        self.here.turn()
        self.assertNoResult(done)
        second = self.office.carry_out(Ban("192.0.2.2"), Asker())
        self.assertEqual(1, len(self.here.factory.bans))
        self.here.disk.held = False
        self.here.disk.keep()
        for _ in range(3):
            self.here.turn()
        self.successResultOf(done)
        self.successResultOf(second)
        self.assertEqual(2, len(self.store.load().bans))

    def copies(self) -> list[str]:
        """What copies there are."""
        return [path.name for path in self.path.parent.iterdir() if path.name.startswith("backup-")]

    def test_backup(self) -> None:
        """A copy is made, for its owner alone, progress is told, and it is gone when whoever asked is."""
        asker = Asker()
        done: Done = self.successResultOf(self.office.carry_out(Backup(), asker))
        self.assertEqual([done.file], self.copies())
        self.assertEqual(0o600, self.path.with_name(done.file).stat().st_mode & 0o777)
        self.assertIsInstance(asker.told[-1], Progress)
        asker.leave()
        self.assertEqual([], self.copies())

    def test_one_backup(self) -> None:
        """A second backup waits for the operator to ask again; one that nobody waits for leaves nothing."""
        self.writer.held = True
        asker = Asker()
        first = self.office.carry_out(Backup(), asker)
        self.assertEqual(Exit.RUNNING, self.refused(Backup()))
        asker.leave()
        assert self.writer.copying is not None
        self.writer.copying.errback(EndedError())
        self.failureResultOf(first, EndedError)
        self.assertEqual([], self.copies())
        self.writer.held = False
        second = Asker()
        self.successResultOf(self.office.carry_out(Backup(), second))
        self.assertEqual(Exit.RUNNING, self.refused(Backup()))
        self.assertEqual(1, len(self.copies()))
        second.leave()
        self.successResultOf(self.office.carry_out(Backup(), Asker()))

    def test_no_room_for_a_backup(self) -> None:
        """A copy that would take the reserve of the disk is not begun."""
        self.patch(office_module, "free_bytes", lambda directory: RESERVE_BYTES)
        self.assertEqual(Exit.NO_SPACE, self.refused(Backup()))
        self.assertEqual([], self.copies())

    def test_disk_fails(self) -> None:
        """What the disk says against a copy is told."""

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(tempfile, "mkstemp", refuse)
        self.assertEqual(Exit.NOT_PERMITTED, self.refused(Backup()))
        self.patch(tempfile, "mkstemp", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        self.assertEqual(Exit.NO_SPACE, self.refused(Backup()))

    def test_store_cannot_be_copied(self) -> None:
        """What the store says against a copy has the status and the words of what its database says."""
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorname = "SQLITE_FULL"

        def refuse(*_: object) -> None:
            raise full

        self.patch(sqlite_store, "copy_store", refuse)
        asker = Asker()
        failure: Failure = self.failureResultOf(self.office.carry_out(Backup(), asker), AdminError)
        assert isinstance(failure.value, AdminError)
        self.assertEqual((Exit.NO_SPACE, "database or disk is full"), (failure.value.status, str(failure.value)))
        asker.leave()

    def test_left_copies(self) -> None:
        """Copies that a relay has left which was killed are deleted."""
        self.path.with_name("backup-x.part").touch()
        self.path.with_name("backup-x.part-journal").touch()
        self.path.with_name("backup-of-mine").touch()
        self.office.drop_copies()
        self.assertEqual(["backup-of-mine"], self.copies())
