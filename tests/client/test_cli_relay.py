"""Clients whose relay goes away and comes back."""

from signal import SIGKILL, SIGTERM

from tests.client.programs import Program, ProgramCase, Relay


class LostRelayTests(ProgramCase):
    """The relay is killed or stopped in the middle, and started again on the same port."""

    def again(self) -> None:
        """Start the relay again where it was."""
        self.relay.clean_up()
        self.relay = Relay(self.relay.data, port=self.relay.port)
        self.addCleanup(self.relay.clean_up)

    def test_killed_and_restarted(self) -> None:
        """What is typed before, during and after the outage is acknowledged in order; loss and return are told."""
        bob = self.client("listen", "bob", "#room", "--json")
        bob.event("entered")
        alice = self.client("chat", "alice", "--room", "#room", "--json")
        alice.event("entered")
        alice.writes(*({"text": f"before {n}", "id": f"b{n}"} for n in range(20)))
        alice.event("sent", id="b19")
        alice.writes(*({"text": f"torn {n}", "id": f"t{n}"} for n in range(20)))
        self.relay.signals(SIGKILL)
        self.relay.ends()
        down = alice.event("link", up=False)
        self.assertTrue(down["reason"])
        self.assertGreaterEqual(down["retry_s"], 0.25)
        alice.writes(*({"text": f"during {n}", "id": f"d{n}"} for n in range(20)))
        self.again()
        alice.event("link", up=True)
        alice.event("sent", id="d19")
        bob.event("link", up=True)
        bob.event("entered")
        alice.writes({"text": "after", "id": "a"})
        alice.event("sent", id="a")
        bob.event("message", text="after")
        alice.ends_input()
        self.assertEqual(alice.ends(), 0)
        ids = [line.split('"id":"')[1].split('"')[0] for line in sent_lines(alice)]
        self.assertEqual(ids, [*(f"{part}{n}" for part in "btd" for n in range(20)), "a"])

    def test_nothing_is_forgotten(self) -> None:
        """Over crashes of the relay a room goes on: its numbers, its members, and whose the names are."""
        bob = self.client("listen", "bob", "#room", "--json")
        bob.event("entered")
        alice = self.client("chat", "alice", "--room", "#room", "--json")
        alice.event("entered")
        bob.event("joined", name="alice")
        seqs = []
        for crash in range(3):
            for number in range(3):
                alice.writes({"text": f"{crash} {number}", "id": f"{crash}{number}"})
                seqs.append(alice.event("sent", id=f"{crash}{number}")["seq"])
                self.assertEqual(bob.event("message", text=f"{crash} {number}")["seq"], seqs[-1])
            self.relay.signals(SIGKILL)
            self.relay.ends()
            self.again()
            for client in (alice, bob):
                client.event("link", up=True)
                client.event("entered")
        self.assertEqual(seqs, list(range(1, 10)))
        # Each has had one session key since both are members, however often the relay told it.
        for client in (alice, bob):
            keys = [line for line in client.seen if b'"type":"key"' in line]
            self.assertEqual(len(set(keys[-3:])), 1, keys)
            self.assertNotIn("Traceback", client.stderr)
        self.home = self.home.with_name("elsewhere")
        self.assert_fails(77, "chat", "alice", says="belongs to")

    def test_plain(self) -> None:
        """Without --json the loss and the return are a line each on stderr, and no line of the input is lost."""
        alice = self.client("chat", "alice", "--room", "#room", "-v")
        alice.says("you are in #room")
        alice.writes("one")
        bob = self.client("listen", "bob", "#room", "--json")
        bob.event("entered")
        self.relay.signals(SIGTERM)
        self.relay.ends()
        bob.event("link", up=False, reason="the relay says: the relay is stopping")
        alice.writes("two")
        alice.ends_input()
        self.again()
        self.assertEqual(alice.ends(), 0)
        self.assertIn("the relay is stopping; trying again in", alice.stderr)
        self.assertIn("connected again", alice.stderr)
        self.assertNotIn("not sent", alice.stderr)

    def test_other_relay_in_its_place(self) -> None:
        """A relay with another key that comes back in its place is refused with status 76."""
        alice = self.client("listen", "alice", "#room", "--json")
        alice.event("entered")
        self.relay.clean_up()
        for each in self.relay.data.iterdir():
            each.unlink()
        self.again()
        self.assertEqual(alice.ends(), 76)
        self.assertIn("another key", alice.stderr)


class FullRelayTests(ProgramCase):
    """A relay for two."""

    relay_options = ("--max-clients", "2", "--motd", "for two\x1b[31m")

    def test_third(self) -> None:
        """The third client is refused with the reason and status 77; the two notice nothing."""
        two = [self.client("listen", name, "#room", "--json") for name in ("alice", "bob")]
        for program in two:
            self.assertEqual(program.event("motd")["text"], "for two\x1b[31m")
            program.event("entered")
        self.assert_fails(77, "chat", "carol", says="as it takes; try again later")
        for program in two:
            program.signals(SIGTERM)
            self.assertEqual((program.ends(), program.stderr), (130, ""))


def sent_lines(program: Program) -> list[str]:
    """The `sent` events that were read so far."""
    return [line.decode() for line in program.seen if b'"type":"sent"' in line]
