"""A relay that has more to do than it can, and a crowd that it has to remember."""

from __future__ import annotations

import os
import time
from signal import SIGCONT, SIGSTOP
from threading import Event, Thread

from securechat.wire.messages import Ack, Delivery, Post, Refused, SessionKey, Welcome
from tests.faults.crowds import CrowdCase
from tests.faults.programs import MIB, Relay
from tests.relay.harness import post_id
from tests.relay.people import Chain, person
from tests.relay.process import Talker


class LoadTests(CrowdCase):
    """A machine that is too busy for its relay."""

    def slow_down(self, relay: Relay, until: Event) -> None:
        """Let the relay run for a tenth of a second now and then, as a machine does that has other things to do."""
        while not until.is_set():
            os.kill(relay.pid, SIGSTOP)
            time.sleep(0.5)
            os.kill(relay.pid, SIGCONT)
            time.sleep(0.1)

    def answer(self, relay: Relay, name: str) -> Welcome | Refused:
        """What somebody is told who logs in."""
        talker = Talker(self, relay.address)
        talker.send(talker.hello(person(name)))
        answer = next(each for each in talker.messages() if isinstance(each, Welcome | Refused))
        talker.socket.close()
        return answer

    def test_busy(self) -> None:
        """While the machine is too busy nobody is let in, and told so; who is there talks on; then all may come."""
        relay = self.relay("--plaintext", "--status", "tcp:0:interface=127.0.0.1")
        alice, bob = Talker(self, relay.address), Talker(self, relay.address)
        people = [talker.login(name) for talker, name in ((alice, "alice"), (bob, "bob"))]
        chain = Chain("#tea")
        alice.send(chain.found(people[0]), chain.add(*people))
        keys = [talker.until(SessionKey) for talker in (alice, bob)]
        enough = Event()
        slowing = Thread(target=self.slow_down, args=(relay, enough), daemon=True)
        slowing.start()
        self.addCleanup(slowing.join)
        self.addCleanup(enough.set)
        self.until(lambda: isinstance(self.answer(relay, "carol"), Refused), 20)
        refused = self.answer(relay, "carol")
        assert isinstance(refused, Refused)
        self.assertEqual("busy", refused.code)
        self.assertEqual((503, b"busy\n"), self.page(relay, "/ready"))
        alice.send(Post("#tea", keys[-1].epoch, [(post_id(1), b"we talk on")]))
        self.assertTrue(alice.until(Ack).items)
        self.assertEqual(b"we talk on", bob.until(Delivery).items[0][2])
        enough.set()
        slowing.join()
        self.until(lambda: isinstance(self.answer(relay, "carol"), Welcome), 10)
        found = self.numbers(relay)
        self.assertGreaterEqual(found["securechat_busy_total"], 1)
        self.assertEqual(0, found["securechat_busy"])
        self.assertGreater(found["securechat_ack_seconds_total"], found["securechat_seal_seconds_total"])
        self.assertGreater(found["securechat_seal_seconds_total"], 0)
        self.assertIn("too much to do (timers are late)", relay.ends())


class CrowdTests(CrowdCase):
    """Many at once."""

    def test_idle(self) -> None:
        """Two hundred who are logged in and say nothing cost a bounded lot of memory."""
        self.assertLess(self.idle(200), 40 * 1024)

    def test_stopped(self) -> None:
        """For forty who have stopped no more waits than what may for all; those for whom most does are gone."""
        grown, waiting = self.stopped(40, "--outboxes-bytes", str(MIB), gone=20)
        self.assertLessEqual(waiting, MIB)
        self.assertLess(grown, 8 * MIB)
