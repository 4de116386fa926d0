"""The client's directory: the keys of known relays, kept for their owner alone, whole, and never guessed at."""

import os
import subprocess
import sys
from pathlib import Path
from stat import S_IMODE

from platformdirs import user_data_path
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.errors import ClientError, Exit
from securechat.client.home import PINS_FILE, Pins, home_directory

PLACE, KEY, OTHER_KEY = "relay.example:12345", "a" * 64, "0123456789abcdef" * 4


class DirectoryTests(SynchronousTestCase):
    """Where the files are."""

    def test_option_before_environment(self) -> None:
        """`--home` counts most, then `SECURECHAT_HOME`, then the system's place for a user's data."""
        environ = {"SECURECHAT_HOME": "/from/environment"}
        self.assertEqual(home_directory("/from/option", environ), Path("/from/option"))
        self.assertEqual(home_directory(None, environ), Path("/from/environment"))
        self.assertEqual(home_directory(None, {}), user_data_path("securechat"))
        self.assertEqual(home_directory(None, {"SECURECHAT_HOME": ""}), user_data_path("securechat"))

    def test_tilde(self) -> None:
        """A leading `~` is the user's home."""
        self.assertEqual(home_directory("~/chat", {}), Path.home() / "chat")


class PinsTests(SynchronousTestCase):
    """The file of known relays."""

    def setUp(self) -> None:
        """Take a directory that does not exist yet."""
        self.home = Path(self.mktemp()) / "deeper" / "home"
        self.pins = Pins(self.home)

    def mode(self, path: Path) -> int:
        """Who may do what with a file."""
        return S_IMODE(path.stat().st_mode)

    def written(self, text: str | bytes) -> None:
        """Put a file there by hand."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.pins.path.write_bytes(text.encode() if isinstance(text, str) else text)

    def test_nothing_known(self) -> None:
        """Without a file no relay is known, and looking makes none."""
        self.assertIsNone(self.pins.find(PLACE))
        self.assertFalse(self.home.exists())

    def test_remembered(self) -> None:
        """A key is known from then on, in another process too, and others stay."""
        self.pins.remember("[::1]:1", OTHER_KEY)
        self.pins.remember(PLACE, KEY)
        self.assertEqual(Pins(self.home).find(PLACE), KEY)
        self.assertEqual(Pins(self.home).find("[::1]:1"), OTHER_KEY)
        self.assertEqual(self.pins.path.read_text(), f"[::1]:1 {OTHER_KEY}\n{PLACE} {KEY}\n")

    def test_replaced(self) -> None:
        """A new key for a place takes the old one's line."""
        self.pins.remember(PLACE, KEY)
        self.pins.remember(PLACE, OTHER_KEY)
        self.assertEqual(self.pins.path.read_text(), f"{PLACE} {OTHER_KEY}\n")

    def test_for_the_owner_alone(self) -> None:
        """The directory is made with mode 0700 and the file with 0600, whatever the mask is."""
        for mask in (0o000, 0o022):
            before = os.umask(mask)
            try:
                self.pins.remember(PLACE, KEY if mask else OTHER_KEY)
            finally:
                os.umask(before)
            self.assertEqual(self.mode(self.home), 0o700)
            self.assertEqual(self.mode(self.pins.path), 0o600)

    def test_stays_private(self) -> None:
        """A file that others could read is replaced by one that they cannot."""
        self.written(f"{PLACE} {KEY}\n")
        self.pins.path.chmod(0o644)
        self.pins.remember("other:1", KEY)
        self.assertEqual(self.mode(self.pins.path), 0o600)

    def test_nothing_is_left_beside_it(self) -> None:
        """After writing there is the one file and no other."""
        self.pins.remember(PLACE, KEY)
        self.assertEqual([each.name for each in self.home.iterdir()], [PINS_FILE])

    def test_whole_or_not_at_all(self) -> None:
        """Where the new file cannot be written to its end, the old one is as it was."""
        self.pins.remember(PLACE, KEY)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        wrong = self.assertRaises(ClientError, self.pins.remember, "other:1", KEY)
        self.assertIn("No space left", str(wrong))
        self.assertEqual(self.pins.path.read_text(), f"{PLACE} {KEY}\n")

    def test_known_already(self) -> None:
        """A key that is known already writes nothing, so a home that cannot be written is fine."""
        self.pins.remember(PLACE, KEY)
        before = self.pins.path.stat().st_mtime_ns, self.pins.path.stat().st_ino
        self.pins.remember(PLACE, KEY)
        self.assertEqual((self.pins.path.stat().st_mtime_ns, self.pins.path.stat().st_ino), before)

    def test_by_hand(self) -> None:
        """Comments, empty lines, spaces at the ends and the last line without its end are fine."""
        self.written(f"# mine\n\n  {PLACE} {KEY}  \r\n\nother:1 {OTHER_KEY}")
        self.assertEqual((self.pins.find(PLACE), self.pins.find("other:1")), (KEY, OTHER_KEY))

    def test_damaged_line(self) -> None:
        """A line that is none of these is refused with its number, for whatever relay, and is not written over."""
        for bad in (
            f"{PLACE} {KEY[:-1]}",
            f"{PLACE} {KEY}0",
            f"{PLACE} {KEY.upper()}",
            f"{PLACE}{KEY}",
            f"{PLACE}  {KEY}",
            PLACE,
            "\x00" * 80,
        ):
            self.written(f"other:1 {OTHER_KEY}\n{bad}\n")
            for call in (lambda: self.pins.find("other:1"), lambda: self.pins.remember("third:1", KEY)):
                wrong = self.assertRaises(ClientError, call)
                self.assertIn("line 2", str(wrong))
                self.assertIn(str(self.pins.path), str(wrong))
                self.assertEqual(wrong.status, Exit.PROTOCOL)
            self.assertIn(bad, self.pins.path.read_text())

    def test_not_text(self) -> None:
        """A file that is no UTF-8 cannot be read, and says so instead of trusting anybody."""
        self.written(b"\xff\xfe\n")
        self.assertIn("cannot read", str(self.assertRaises(ClientError, self.pins.find, PLACE)))

    def test_not_a_file(self) -> None:
        """A directory in the file's place cannot be read either."""
        self.pins.path.mkdir(parents=True)
        self.assertIn("cannot read", str(self.assertRaises(ClientError, self.pins.find, PLACE)))

    def test_no_place_for_a_directory(self) -> None:
        """A home that cannot be made is one line that names it."""
        self.home.parent.parent.mkdir(parents=True, exist_ok=True)
        self.home.parent.write_text("a file")
        wrong = self.assertRaises(ClientError, self.pins.remember, PLACE, KEY)
        self.assertIn(str(self.home), str(wrong))
        self.assertEqual(wrong.status, Exit.FAILED)

    def test_many_clients_at_once(self) -> None:
        """Clients that meet relays at the same moment lose none of each other's lines."""
        code = (
            "import sys; from pathlib import Path; from securechat.client.home import Pins\n"
            "sys.stdin.read(1)\n"
            "for n in range(20): Pins(Path(sys.argv[1])).remember(f'{sys.argv[2]}:{n}', 'a' * 64)"
        )
        programs = [
            subprocess.Popen([sys.executable, "-c", code, str(self.home), f"host{n}"], stdin=subprocess.PIPE)
            for n in range(3)
        ]
        for program in programs:
            assert program.stdin is not None
            program.stdin.close()
        self.assertEqual([program.wait(30) for program in programs], [0, 0, 0])
        known = self.pins.path.read_text().split()[::2]
        self.assertEqual(sorted(known), sorted(f"host{n}:{m}" for n in range(3) for m in range(20)))
