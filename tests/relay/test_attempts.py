"""Logins that fail again and again."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay import attempts
from securechat.relay.attempts import ADDRESS_BURST, ADDRESS_EVERY_S, FREE, LEAST_S, MOST_S, Attempts
from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from tests.relay.harness import Client, Relay, RelayCase
from tests.relay.people import hello, person

HERE = "192.0.2.1"
THERE = "192.0.2.2"


class AttemptsTests(SynchronousTestCase):
    """The counting of them."""

    def setUp(self) -> None:
        """Begin with none."""
        self.clock = Clock()
        self.attempts = Attempts(self.clock)

    def fails(self, name: str, network: str | None, times: int = 1, every_s: float = 0.0) -> None:
        """Logins fail."""
        for _ in range(times):
            self.attempts.failed(name, network)
            self.clock.advance(every_s)

    def test_pair(self) -> None:
        """Five may fail under one name from one address; then each wait is twice as long, to 15 minutes."""
        self.fails("alice", HERE, FREE - 1, 60)
        self.assertFalse(self.attempts.must_wait("alice", HERE))
        waits = []
        for _ in range(10):
            self.fails("alice", HERE)
            began = self.clock.seconds()
            while self.attempts.must_wait("alice", HERE):
                self.clock.advance(1)
            waits.append(self.clock.seconds() - began)
        self.assertEqual([min(MOST_S, LEAST_S * 2**number) for number in range(10)], waits)

    def test_others(self) -> None:
        """Nobody waits for what failed under their name elsewhere, or under another name here."""
        self.fails("alice", HERE, FREE)
        self.assertTrue(self.attempts.must_wait("alice", HERE))
        self.assertFalse(self.attempts.must_wait("alice", THERE))
        self.assertFalse(self.attempts.must_wait("bob", HERE))

    def test_address(self) -> None:
        """Ten may fail from one address, whatever the names; then one every six seconds."""
        for number in range(ADDRESS_BURST - 1):
            self.fails(f"name{number}", HERE)
        self.assertFalse(self.attempts.must_wait("alice", HERE))
        self.fails("one more", HERE)
        self.assertTrue(self.attempts.must_wait("alice", HERE))
        self.assertFalse(self.attempts.must_wait("alice", THERE))
        self.clock.advance(ADDRESS_EVERY_S)
        self.assertFalse(self.attempts.must_wait("alice", HERE))

    def test_good_one(self) -> None:
        """After a login that was good the name begins anew there."""
        self.fails("alice", HERE, FREE - 1, 60)
        self.attempts.held("alice", HERE)
        self.fails("alice", HERE)
        self.assertFalse(self.attempts.must_wait("alice", HERE))

    def test_uncounted(self) -> None:
        """Where addresses do not count nobody waits."""
        self.fails("alice", None, 100)
        self.attempts.held("alice", None)
        self.assertFalse(self.attempts.must_wait("alice", None))

    def test_remembered(self) -> None:
        """So many are remembered, and no more."""
        self.patch(attempts, "REMEMBERED", 10)
        for number in range(30):
            self.fails(f"name{number}", f"192.0.2.{number}")
        self.assertEqual((10, 10), (len(self.attempts._pairs), len(self.attempts._networks)))


class LoginTests(RelayCase):
    """At a relay."""

    def place(self) -> Relay:
        """A relay that takes any number of connections."""
        return self.relay(RelayLimits(per_address=2_000, new_per_address=2_000))

    def tries(self, relay: Relay, host: str, name: str, number: int) -> Code:
        """Somebody with other keys wants to be somebody; what they are told."""
        client = relay.connect(host)
        client.send(hello(person(name, number), client.nonce()))
        code = client.code()
        client.transport.lose()
        return code

    def comes(self, relay: Relay, host: str, name: str) -> Client:
        """The owner of a name logs in."""
        client = relay.connect(host)
        client.login(person(name))
        client.hears()
        return client

    def test_one_name(self) -> None:
        """Of a thousand tries for one name five are looked at, and its owner gets in from anywhere meanwhile."""
        relay = self.place()
        self.comes(relay, THERE, "alice").transport.lose()
        codes = [self.tries(relay, HERE, "alice", number) for number in range(1, 1_001)]
        self.assertEqual([Code.NAME_OWNED] * FREE + [Code.TOO_MANY_LOGINS] * (1_000 - FREE), codes)
        self.assertEqual(1_000 - FREE, relay.factory.logins[Code.TOO_MANY_LOGINS])
        for host in (HERE, THERE):
            self.assertTrue(self.comes(relay, host, "alice").protocol._session.may_post)

    def test_many_names(self) -> None:
        """Of tries for a thousand names ten are looked at, and whoever is known here gets in meanwhile."""
        relay = self.place()
        for number in range(1_000):
            self.comes(relay, f"198.51.{number // 250}.{number % 250}", f"name{number}").transport.lose()
        codes = [self.tries(relay, HERE, f"name{number}", 1) for number in range(1_000)]
        self.assertEqual(
            [Code.NAME_OWNED] * ADDRESS_BURST + [Code.TOO_MANY_LOGINS] * (1_000 - ADDRESS_BURST), codes
        )
        self.assertTrue(self.comes(relay, HERE, "name999").protocol._session.may_post)

    def test_bad_proofs(self) -> None:
        """A login whose proof does not hold counts as well, and so does what is none at all."""
        for name in ("alice", ""):
            relay = self.place()
            for number in range(FREE + 1):
                client = relay.connect(HERE)
                wrong = hello(person("alice"), b"another nonce".ljust(32))
                client.send(wrong if name else type(wrong)(wrong.version, b"nothing", wrong.prekey, wrong.proof))
                expected = Code.BAD_CERTIFICATE if number < FREE else Code.TOO_MANY_LOGINS
                self.assertEqual(expected, client.code())
