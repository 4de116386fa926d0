"""The commands as people and scripts run them: real programs, real pipes, a real relay."""

import subprocess
import sys
import time
from contextlib import closing
from io import StringIO
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM, Signals
from sqlite3 import connect

from twisted.trial.unittest import SynchronousTestCase

from securechat import __main__, __version__
from securechat.__main__ import main
from securechat.client.cli import CLOSE_S
from securechat.client.errors import EXIT_HELP, Exit
from securechat.e2e.body import TEXT_BYTES
from tests.client.programs import LONG_S, ProgramCase, environment


class TalkingTests(ProgramCase):
    """Programs that talk to each other."""

    relay_options = ("--post-rate", "0", "--byte-rate", "0")

    def test_json_both_ways(self) -> None:
        """Two chats in pipes with --json hear each other, ids come back, and both end well with their input."""
        bob = self.client("chat", "bob", "--json")
        bob.event("entered", room="#lobby")
        alice = self.client("chat", "alice", "--json")
        alice.event("entered", room="#lobby")
        bob.event("joined", name="alice")
        alice.writes({"text": "hello\n\x1b[31mbob", "id": "a-1"})
        self.assertEqual(alice.event("sent")["id"], "a-1")
        heard = bob.event("message", sender="alice", room="#lobby")
        self.assertEqual(heard["text"], "hello\n\x1b[31mbob")
        bob.writes({"text": "psst", "room": "@alice", "id": "b-1"})
        self.assertEqual(alice.event("message", sender="bob")["room"], "@alice+bob")
        self.assertEqual(bob.event("sent")["id"], "b-1")
        for program in (alice, bob):
            program.ends_input()
            self.assertEqual((program.ends(), program.stderr), (0, ""))

    def test_plain_lines(self) -> None:
        """Lines come out as lines, also the last one without its end, and `listen --count` ends by itself."""
        listener = self.client("listen", "bob", "#room", "--count", "3", "-v")
        listener.says("you are in #room")
        status, lines, stderr = self.runs(
            "chat", "alice", "--room", "#room", input="one\r\n\n  two  \nthr\x1bée".encode()
        )
        self.assertEqual((status, lines, stderr), (0, [], ""))
        self.assertEqual(listener.rest(), ["alice: one", "alice:   two  ", "alice: thr\N{REPLACEMENT CHARACTER}ée"])
        self.assertEqual(listener.ends(), 0)

    def test_send(self) -> None:
        """`send` takes its text as argument or from its input, to a room or to one person."""
        listener = self.client("listen", "bob", "#room", "--json")
        listener.event("entered")
        self.assertEqual(self.runs("send", "alice", "#room", "from the argument"), (0, [], ""))
        self.assertEqual(listener.event("message")["text"], "from the argument")
        self.assertEqual(self.runs("send", "alice", "#room", "-", input=b"from\nthe input\n")[0], 0)
        self.assertEqual(listener.event("message")["text"], "from\nthe input")
        self.assertEqual(self.runs("send", "alice", "@bob", "alone")[0], 0)
        self.assertEqual(listener.event("message")["room"], "@alice+bob")
        status, lines, _ = self.runs("send", "alice", "#room", "x", "--json")
        self.assertEqual(status, 0)
        self.assertIn('"type":"sent"', lines[-1])
        listener.signals(SIGTERM)

    def test_input_from_a_file(self) -> None:
        """A regular file is an input like a pipe, to its last byte."""
        path = Path(self.mktemp())
        path.write_text("".join(f"line {n}\n" for n in range(100)) + "the end")
        listener = self.client("listen", "bob", "#room", "--json")
        listener.event("entered")
        with path.open("rb") as file:
            alice = self.client("chat", "alice", "--room", "#room", stdin=file.fileno())
        self.assertEqual((alice.ends(), alice.stderr), (0, ""))
        texts = [listener.event("message")["text"] for _ in range(101)]
        self.assertEqual(texts, [*(f"line {n}" for n in range(100)), "the end"])
        listener.signals(SIGTERM)

    def test_history_after_a_kill(self) -> None:
        """Programs that are killed find again what was said, once each, where the room has a history."""
        alice = self.client("chat", "alice", "--json", "--history", "7")
        self.assertEqual(alice.event("entered")["history_days"], 7)
        bob = self.client("chat", "bob", "--json")
        bob.event("entered", history_days=7)
        bare = self.client("chat", "bare", "--json", "--no-archive")
        bare.event("entered", history_days=7)
        for number in range(20):
            alice.writes({"text": f"line {number}"})
        for program in (bob, bare):
            program.event("message", text="line 19")
        alice.event("sent", text="line 19")
        for program in (alice, bob, bare):
            program.signals(SIGKILL)
            program.ends()
        kept = [("alice", f"line {number}") for number in range(20)]
        for name, expected in (("bob", kept), ("alice", kept), ("bare", [])):
            options = ("--no-archive",) if name == "bare" else ()
            again = self.client("chat", name, "--json", *options)
            again.writes({"text": "back"})
            # What was not acknowledged for sure is said again before it, and acknowledged.
            again.event("sent", text="back")
            again.writes({"history": "#lobby", "last": 100})
            told = again.event("history", room="#lobby")["messages"]
            texts = [(each["sender"], each["text"]) for each in told if each["text"] != "back"]
            self.assertEqual(texts, expected)
            again.ends_input()
            self.assertEqual((again.ends(), again.stderr), (0, ""))

    def test_damaged_history(self) -> None:
        """A damaged archive ends a client in one line, and what was said and never sent stays in it."""
        alice = self.client("chat", "alice", "--json", "--history", "7")
        alice.writes({"text": "sent"})
        alice.event("sent")
        self.relay.signals(SIGSTOP)
        self.addCleanup(self.relay.signals, SIGCONT)
        alice.writes({"text": "not sent"})
        (path,) = self.home.glob("keys/*.ledger")

        def rows(table: str, then: str = "") -> int:
            with closing(connect(path)) as connection:
                connection.executescript(then)
                (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(count)

        end = time.monotonic() + LONG_S
        while not (rows("said") and rows("messages")) and time.monotonic() < end:
            time.sleep(0.02)
        alice.signals(SIGKILL)
        alice.ends()
        before = rows("said", "UPDATE messages SET row = zeroblob(100)")
        self.assertLess(0, before)
        status, lines, stderr = self.runs("chat", "alice", "--json", input=b'{"history": "#lobby"}\n')
        self.assertEqual((status, len(stderr.splitlines()), rows("said")), (1, 1, before), (lines, stderr))
        self.assertIn("is damaged, or of other keys; remove it to begin a new one", stderr)

    def test_no_input(self) -> None:
        """/dev/null is an input of nothing: the client logs in, enters, and ends well."""
        self.assertEqual(self.runs("chat", "alice"), (0, [], ""))

    def test_many_lines(self) -> None:
        """Many more lines than the window and the waiting room hold are all acknowledged, in order."""
        listener = self.client("listen", "bob", "#room", "--json")
        listener.event("entered")
        alice = self.client("chat", "alice", "--room", "#room")
        alice.writes(*(str(n) for n in range(5_000)))
        alice.ends_input()
        self.assertEqual(alice.ends(), 0)
        self.assertEqual([listener.event("message")["text"] for _ in range(5_000)], [str(n) for n in range(5_000)])
        listener.signals(SIGTERM)


class UsageTests(SynchronousTestCase):
    """Command lines that make no sense, in this process: they end before there is a reactor."""

    def assert_usage(self, says: str, *arguments: str, status: int = 2) -> None:
        """A command line ends with a status and one line that says this."""
        stderr = StringIO()
        self.patch(sys, "stderr", stderr)
        self.assertEqual(main(arguments), status)
        self.assertIn(says, stderr.getvalue())
        self.assertEqual(stderr.getvalue().count("\n"), 1)
        self.assertTrue(stderr.getvalue()[:-1].isprintable())

    def test_history(self) -> None:
        """For how long a room keeps what is said is a number of days, up to ten years."""
        for days in ("-1", "3651", "week"):
            stderr = StringIO()
            self.patch(sys, "stderr", stderr)
            ended = self.assertRaises(SystemExit, main, ["chat", "alice", "--history", days])
            self.assertEqual(ended.code, 2)
            self.assertIn("--history", stderr.getvalue())

    def test_names(self) -> None:
        """A name is refused here as the relay would refuse it."""
        self.assert_usage("a name is", "chat", "Alice")
        self.assert_usage("at most 32", "chat", "x" * 33)
        self.assert_usage("a name is", "listen", "\udcff", "#a")

    def test_rooms(self) -> None:
        """A room is written with its sign."""
        for room in ("lobby", "#", "@", "@Bob", "#a b", "@bob+alice", "", "#\udcff"):
            self.assert_usage("a room is written", "send", "alice", room, "hi")

    def test_addresses(self) -> None:
        """An address that is none is told with what one looks like, and nothing of it reaches the terminal."""
        for address in ("http://here", "a\x1b[31mb", "securechat://h:99999", "securechat://h/#12", "", "\udcff"):
            self.assert_usage("--relay: ", "chat", "alice", "--relay", address)

    def test_without_tls(self) -> None:
        """Without TLS only this machine is talked to, unless one insists."""
        for host in ("192.0.2.1", "relay.example", "[2001:db8::1]", "localhost.example"):
            self.assert_usage("--insecure-plaintext", "chat", "alice", "--relay", f"securechat+tcp://{host}:1")

    def test_texts(self) -> None:
        """A text that cannot be sent is refused before anything is connected to."""
        self.assert_usage("at most", "send", "alice", "#a", "x" * (TEXT_BYTES + 1), status=65)
        self.assert_usage("nothing to send", "send", "alice", "#a", "", status=65)
        self.assert_usage("not valid Unicode", "send", "alice", "#a", "\udcff", status=65)

    def test_arguments(self) -> None:
        """What argparse refuses has status 2 as well."""
        self.patch(sys, "stderr", StringIO())
        for arguments in ([], ["chat"], ["shout", "alice"], ["chat", "alice", "--engine", "abacus"]):
            self.assertEqual(self.assertRaises(SystemExit, main, arguments).code, 2)
        for count in ("0", "-1", "x"):
            wrong = self.assertRaises(SystemExit, main, ["listen", "alice", "#a", "--count", count])
            self.assertEqual(wrong.code, 2)

    def test_version(self) -> None:
        """`--version` tells the package's version."""
        stdout = StringIO()
        self.patch(sys, "stdout", stdout)
        self.assertEqual(self.assertRaises(SystemExit, main, ["--version"]).code, 0)
        self.assertEqual(stdout.getvalue(), f"securechat {__version__}\n")


class StatusTests(ProgramCase):
    """Each exit status that the help documents, with one line that says what to do."""

    relay_options = ("--post-rate", "0", "--byte-rate", "0")

    def test_documented(self) -> None:
        """The help lists all statuses."""
        command = [sys.executable, "-m", "securechat", "chat", "--help"]
        found = subprocess.run(command, capture_output=True, check=True, text=True)
        self.assertIn(EXIT_HELP, found.stdout)
        for status in Exit:
            self.assertRegex(EXIT_HELP, rf"(?m)^  {int(status)} ")

    def test_failed(self) -> None:
        """1: what was said could not be sent."""
        self.assert_fails(1, "send", "alice", "@nobody", "hi", says="nobody is called nobody here")
        self.assert_fails(1, "send", "alice", "@alice", "hi", says="your own name")

    def test_usage(self) -> None:
        """2: a name that is none; so it ends before anything is connected to."""
        self.assert_fails(2, "chat", "Alice", says="a name is")

    def test_bad_data(self) -> None:
        """65: lines that could not be sent; the others were."""
        long = b"x" * (TEXT_BYTES + 1)
        status, _, stderr = self.runs("chat", "alice", input=b"fine\n\xff\n" + long + b"\n")
        self.assertEqual((status, len(stderr.splitlines())), (65, 2))
        status, lines, _ = self.runs("chat", "alice", "--json", input=b'{"text": "fine"}\nnot json\n')
        self.assertEqual(status, 65)
        self.assertEqual(len([line for line in lines if '"sent"' in line]), 1)
        self.assertEqual(len([line for line in lines if '"error"' in line]), 1)
        self.assert_fails(65, "send", "alice", "#a", "-", says="not UTF-8", input=b"\xff")

    def test_unreachable(self) -> None:
        """69: nothing listens there, or there is no such host or socket."""
        relay = self.start_relay()
        address = relay.address
        relay.clean_up()
        self.assert_fails(69, "chat", "alice", "--relay", address, says="nothing listens")
        self.assert_fails(
            69, "listen", "a", "#a", "--relay", "securechat+unix:///no/such", says="there is no socket"
        )
        self.assert_fails(69, "chat", "alice", "--relay", "no-such-host.invalid", says="no host called")
        plain = f"securechat+tcp://127.0.0.1:{self.plain_server()}"
        self.assert_fails(69, "chat", "alice", "--relay", plain, says="is no securechat relay")

    def plain_server(self) -> int:
        """A server of something else; its port."""
        code = (
            "import socket\n"
            "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
            "c = s.accept()[0]; c.sendall(b'220 mail.example ESMTP\\r\\n'); c.recv(1000)"
        )
        server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert server.stdout is not None
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return int(server.stdout.readline())

    def test_protocol(self) -> None:
        """76: another key than before, or than the address says; and a memory of keys that is damaged."""
        address, _, _ = self.relay.address.partition("/#")
        self.assert_fails(76, "chat", "alice", "--relay", f"{address}/#{'0' * 64}", says="than the address says")
        self.home.mkdir(exist_ok=True)
        known = self.home / "known_relays"
        known.write_text(f"127.0.0.1:{self.relay.port} {'0' * 64}\n")
        self.assert_fails(76, "chat", "alice", "--relay", address, says="than when you first met it")
        self.assertEqual(self.runs("chat", "alice")[0], 0)
        self.assertEqual(self.runs("chat", "alice", "--relay", address)[0], 0)
        known.write_text("damaged\n")
        self.assert_fails(76, "chat", "alice", "--relay", address, says="line 1")

    def test_not_permitted(self) -> None:
        """77: the name belongs to other keys, or these keys are in use."""
        first = self.client("listen", "alice", "#a", "--json")
        first.event("entered")
        self.assert_fails(77, "listen", "alice", "#a", says="another securechat is running as alice")
        stranger = str(self.home.with_name("stranger"))
        self.assert_fails(77, "listen", "alice", "#a", "--home", stranger, says="belongs to somebody else")
        first.signals(SIGTERM)

    def test_interrupted_while_loading(self) -> None:
        """Ctrl-C before there is a reactor to take it ends with status 130 and no traceback."""

        def interrupted(_: object) -> int:
            raise KeyboardInterrupt

        self.patch(__main__, "_run", interrupted)
        self.assertEqual(main([]), Exit.INTERRUPTED)

    def test_signals(self) -> None:
        """130: Ctrl-C; SIGTERM and the end of a session too. Nothing is said."""
        for number in (SIGINT, SIGTERM, SIGHUP):
            self.assertEqual(self.stopped_by(number), (130, ""))

    def stopped_by(self, number: Signals) -> tuple[int, str]:
        """Start a client and stop it by a signal: status and stderr."""
        program = self.client("listen", "alice", "#a", "--json")
        program.event("entered")
        program.signals(number)
        return program.ends(), program.stderr

    def test_broken_pipe(self) -> None:
        """141: nobody reads the output any more, though stderr goes there too."""
        for stderr in (subprocess.PIPE, subprocess.STDOUT):
            command = [sys.executable, "-m", "securechat", "listen", "alice", "#a", "--json"]
            env = environment(self.home, SECURECHAT_RELAY=self.relay.address)
            process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=stderr)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.wait(LONG_S), 141)
            if process.stderr is not None:
                self.assertEqual(process.stderr.read(), b"")
                process.stderr.close()

    def test_closed_streams(self) -> None:
        """Standard streams that are closed are as good as /dev/null."""
        for closed, arguments, status in (
            ("<&- >&-", "chat alice", 0),
            ("<&-", "send alice '#a' -", 65),
            ("<&- >&- 2>&-", "listen Alice '#a'", 2),
        ):
            command = ["sh", "-c", f"exec {sys.executable} -m securechat {arguments} {closed}"]
            env = environment(self.home, SECURECHAT_RELAY=self.relay.address)
            found = subprocess.run(command, capture_output=True, env=env, timeout=LONG_S)
            self.assertEqual(found.returncode, status, found.stderr)
            self.assertNotIn(b"Traceback", found.stderr)

    def test_output_that_is_not_read(self) -> None:
        """A client whose output nobody takes still ends when it is told to."""
        command = [sys.executable, "-m", "securechat", "listen", "alice", "#a", "--json"]
        env = environment(self.home, SECURECHAT_RELAY=self.relay.address)
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        while b"entered" not in process.stdout.readline():
            pass
        bob = self.client("chat", "bob", "--room", "#a")
        bob.writes(*["x" * 16_000] * 40)
        bob.ends_input()
        self.assertEqual(bob.ends(), 0)
        process.send_signal(SIGINT)
        self.assertEqual(process.wait(LONG_S + CLOSE_S), 130)
