"""The relay's numbers: each moves with what it counts, and with nothing that users choose."""

from __future__ import annotations

from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat import __version__
from securechat.crypto.worker import CryptoWorker
from securechat.relay.attempts import FREE
from securechat.relay.bans import Ban, Kind
from securechat.relay.exposition import exposition
from securechat.relay.lateness import EVERY_S, WINDOW_S, Lateness
from securechat.relay.limits import RelayLimits
from securechat.relay.load import LATE_LOOKS
from securechat.relay.measures import Disk, Measures
from securechat.relay.turns import AT_ONCE
from securechat.wire.codes import Code
from securechat.wire.messages import LAST_SEQ, Enter, Hello
from tests.crypto.fakes import Rig
from tests.relay.harness import LaterLog, Relay, RelayCase
from tests.relay.people import NOW_MS, hello, person
from tests.relay.scraping import parsed


class MeasuresTests(RelayCase):
    """A relay in memory, asked for its numbers."""

    def numbers(self, relay: Relay, worker: CryptoWorker | None = None, tls: bool = False) -> dict[str, float]:
        """The numbers as they stand, without the prefix."""
        self.lateness = Lateness(relay.clock)
        sealed = None if worker is None else worker.stats
        measures = Measures(
            relay.factory,
            self.lateness,
            lambda: sealed,
            (lambda: 5.0) if tls else None,
        )
        found = parsed(exposition(measures.families()))
        self.assertTrue(all(each.startswith("securechat_") for each in found))
        return {key.removeprefix("securechat_"): value for key, value in found.items()}

    def test_disk(self) -> None:
        """Commits, what they took, and the sizes of store, log and disk are those that a relay with a store has."""
        relay = self.relay()
        measures = Measures(
            relay.factory, Lateness(relay.clock), lambda: None, None, lambda: Disk(3, 0.25, 0.5, 0.125, 8, 5, 6, 7)
        )
        found = parsed(exposition(measures.families()))
        times = ("commit_seconds_total", "ack_seconds_total", "seal_seconds_total")
        names = ("commits_total", *times, "backlog", "store_bytes", "wal_bytes", "disk_free_bytes")
        self.assertEqual([3, 0.25, 0.5, 0.125, 8, 5, 6, 7], [found[f"securechat_{name}"] for name in names])
        self.assertFalse({f"securechat_{name}" for name in names} & set(self.numbers(relay)))

    def test_gauges(self) -> None:
        """Links, clients and rooms go up and down with what there is."""
        relay = self.relay()
        alice, _ = relay.room("#tea", "alice", "bob")
        relay.connect()
        found = self.numbers(relay)
        self.assertEqual((3, 2, 1), (found["links"], found["clients"], found["rooms"]))
        alice.transport.lose()
        relay.turn()
        found = self.numbers(relay)
        self.assertEqual((2, 1, 1), (found["links"], found["clients"], found["rooms"]))

    def test_waiting_strangers(self) -> None:
        """Whoever waits in line is counted until their turn has come."""
        relay = self.relay(RelayLimits(strangers_per_s=1.0))
        listened_to: list[int] = []
        for number in range(AT_ONCE + 2):
            relay.factory.turns.take(partial(listened_to.append, number))
        for waiting in (2, 1, 0):
            self.assertEqual(waiting, self.numbers(relay)["waiting_strangers"])
            relay.clock.advance(1.0)
        self.assertEqual([AT_ONCE, AT_ONCE + 1], listened_to)

    def test_messages(self) -> None:
        """A message to a room of three is one post and two deliveries."""
        relay = self.relay()
        alice, *_ = relay.room("#tea", "alice", "bob", "carol")
        alice.post("#tea", b"sealed", b"again")
        alice.hears()
        found = self.numbers(relay)
        self.assertEqual((2, 4), (found["posts_total"], found["deliveries_total"]))

    def test_declined(self) -> None:
        """Each post and each request that is declined counts by its code."""
        relay = self.relay()
        (alice,) = relay.room("#tea", "alice")
        self.assertEqual(0, self.numbers(relay)['declined_total{code="stale-epoch"}'])
        alice.post("#tea", b"sealed", b"again", epoch=bytes(32))
        alice.does(Enter("#nowhere", 0, LAST_SEQ))
        found = self.numbers(relay)
        self.assertEqual(2, found['declined_total{code="stale-epoch"}'])
        self.assertEqual(1, found['declined_total{code="no-such-room"}'])

    def test_declined_by_a_broken_log(self) -> None:
        """Posts that the log could not keep count as failed."""
        log = LaterLog()
        relay = self.relay(log=log)
        (alice,) = relay.room("#tea", "alice")

        def fail(*_: object) -> None:
            raise OSError("disk")

        self.patch(log, "append", fail)
        alice.post("#tea", b"sealed", b"again")
        alice.hears()
        self.assertEqual(2, self.numbers(relay)['declined_total{code="failed"}'])

    def test_closed(self) -> None:
        """Connections that ended count by the relay's last word, or as none."""
        relay = self.relay()
        one, other = relay.connect(), relay.connect()
        one.raw(bytes(4))
        one.transport.lose()
        other.transport.lose()
        found = self.numbers(relay)
        self.assertEqual((1, 1), (found['closed_total{code="empty-frame"}'], found['closed_total{code="none"}']))

    def test_refused_connections(self) -> None:
        """Connections over the bound of an address count."""
        relay = self.relay(RelayLimits(per_address=1))
        relay.connect("192.0.2.1")
        self.assertIsNone(relay.try_connect("192.0.2.1"))
        self.assertEqual(1, self.numbers(relay)["refused_connections_total"])

    def test_logins(self) -> None:
        """Logins count by what became of them, each of the results."""
        relay = self.relay(RelayLimits(max_clients=1))
        relay.login("alice")
        for who, nonce, version in [("bob", True, 0), ("carol", False, 0), ("dora", True, 9)]:
            client = relay.connect()
            said = hello(person(who), client.nonce() if nonce else bytes(32))
            client.send(Hello(version or said.version, said.certificate, said.prekey, said.proof))
            client.transport.lose()
        thief = relay.connect()
        thief.login(person("alice", 1))
        thief.transport.lose()
        relay.factory.bans.add(Ban(Kind.KEY, person("erin").identity.public.hex(), NOW_MS))
        banned = relay.connect()
        banned.login(person("erin"))
        banned.transport.lose()
        for _ in range(FREE):
            relay.factory._attempts.failed("fred", "192.0.2.1")
        held = relay.connect("192.0.2.1")
        held.login(person("fred"))
        held.transport.lose()
        waiting = relay.connect()
        relay.clock.advance(RelayLimits().handshake_s)
        load = relay.factory.load
        load.startService()
        relay.clock.pump([1.0] * LATE_LOOKS)
        load.stopService()
        turned_away = relay.connect()
        turned_away.login(person("gwen"))
        turned_away.transport.lose()
        waiting.transport.lose()
        broken = relay.connect()
        broken.raw(bytes(4))
        broken.transport.lose()
        found = self.numbers(relay)
        logins = {key: value for key, value in found.items() if key.startswith("logins_total")}
        results = [
            "ok",
            "version",
            "full",
            "bad-certificate",
            "name-owned",
            "banned",
            "too-many-logins",
            "busy",
            "timed-out",
        ]
        self.assertEqual({f'logins_total{{result="{each}"}}': 1.0 for each in results}, logins)
        self.assertEqual(set(results), set(relay.factory.logins))
        self.assertEqual((1, 1), (found["busy"], found["busy_total"]))

    def test_full_after_login(self) -> None:
        """A client that had logged in is no failed login, whatever ends it."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        alice.protocol.refuse(Code.VERSION)
        alice.transport.lose()
        self.assertEqual(0, self.numbers(relay)['logins_total{result="version"}'])

    def test_outbox(self) -> None:
        """What waits for a client that does not read is summed over all, and forgotten with them."""
        relay = self.relay()
        alice, bob, carol = relay.room("#tea", "alice", "bob", "carol")
        for each in (bob, carol):
            each.stops_reading()
        self.assertEqual(0, self.numbers(relay)["outbox_bytes"])
        alice.post("#tea", bytes(1_000))
        alice.hears()
        waiting = self.numbers(relay)["outbox_bytes"]
        self.assertGreater(waiting, 2_000)
        bob.transport.lose()
        relay.turn()
        self.assertLess(self.numbers(relay)["outbox_bytes"], waiting)

    def test_worker(self) -> None:
        """Batches of the crypto worker and what was in them are told where there is one."""
        relay = self.relay()
        self.assertNotIn("engine_batches_total", self.numbers(relay))
        rig = Rig.new()
        rig.worker.seal_many([(bytes(64), b"", b"text")] * 3)
        rig.all_batches()
        found = self.numbers(relay, rig.worker)
        self.assertEqual((1, 3), (found["engine_batches_total"], found["engine_batch_rows_total"]))

    def test_certificate(self) -> None:
        """The end of the certificate is told where there is one."""
        relay = self.relay()
        self.assertNotIn("tls_not_after_seconds", self.numbers(relay))
        self.assertEqual(5.0, self.numbers(relay, tls=True)["tls_not_after_seconds"])

    def test_version(self) -> None:
        """The version is a label."""
        self.assertEqual(1.0, self.numbers(self.relay())[f'build_info{{version="{__version__}"}}'])

    def test_no_user_in_a_label(self) -> None:
        """Whatever users do, no other samples come: none has a label with a value of theirs."""
        relay = self.relay()
        before = set(self.numbers(relay))
        alice, bob = relay.room("#tea-x7", "alice-x7", "bob-x7")
        alice.post("#tea-x7", b"sealed-x7")
        alice.does(Enter("#elsewhere-x7", 0, LAST_SEQ), Enter("nonsense-x7", 0, LAST_SEQ))
        bob.raw(b"\x00\x00\x00\x09\x91\xa7nothing")
        bob.transport.lose()
        self.assertEqual(before, set(self.numbers(relay)))


class LatenessTests(SynchronousTestCase):
    """How late timers are, on a clock that a test moves."""

    def setUp(self) -> None:
        """Start it."""
        self.clock = Clock()
        self.lateness = Lateness(self.clock)
        self.lateness.startService()

    def pass_in_time(self, seconds: float) -> None:
        """Let time pass, each timer in time."""
        self.clock.pump([EVERY_S] * round(seconds / EVERY_S))

    def test_in_time(self) -> None:
        """Timers in time are not late."""
        self.pass_in_time(3)
        self.assertAlmostEqual(0.0, self.lateness.worst())

    def test_late(self) -> None:
        """A stall is told for a minute, and then no more."""
        self.clock.advance(0.75)
        self.assertAlmostEqual(0.65, self.lateness.worst())
        self.pass_in_time(WINDOW_S - 1)
        self.assertAlmostEqual(0.65, self.lateness.worst())
        self.pass_in_time(2)
        self.assertAlmostEqual(0.0, self.lateness.worst())

    def test_late_now(self) -> None:
        """A stall that whoever asks is the first to see counts."""
        self.clock.rightNow += 2.0
        self.assertAlmostEqual(1.9, self.lateness.worst())

    def test_bounded(self) -> None:
        """It remembers no more than a minute."""
        self.pass_in_time(WINDOW_S * 3)
        self.assertLess(len(self.lateness._seen), WINDOW_S / EVERY_S + 3)

    def test_stopped(self) -> None:
        """Once stopped it leaves no timer behind, and a stall that comes then is none of its."""
        self.lateness.stopService()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.clock.rightNow += 2.0
        self.assertEqual(0.0, self.lateness.worst())
