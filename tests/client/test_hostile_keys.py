"""The relay hands out wrong prekeys, and plays with logins and versions, with real clients and the real relay.

Nothing is sealed to what does not hold, nobody is taken for another, and the next honest message arrives.
"""

from __future__ import annotations

from collections.abc import Callable

from securechat.client.events import Held, Message, NotEntered
from securechat.client.login import Login
from securechat.e2e.hpke import best_suite, public_of
from securechat.e2e.prekeys import PrekeyRing
from securechat.relay.binding import Binding
from securechat.relay.protocol import RelayProtocol
from securechat.signed.prekeys import KEEP_MS, SKEW_MS, offer
from securechat.signed.signing import SigningKey
from securechat.signed.suites import Suite
from securechat.wire import messages as wire
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from tests.client.test_hostile import HostileCase, Twist
from tests.client.town import LOBBY, Person
from tests.relay.people import NOW_MS, hello, person, prekey
from tests.wire.harness import MemoryTransport, bodies, from_relay


class PrekeyTests(HostileCase):
    """Prekeys that the relay hands to alice for bob, while carol's are as they should be."""

    def setUp(self) -> None:
        """Carol is there as well."""
        super().setUp()
        (self.carol,) = self.town_.enter("carol")

    def use_the_newest(self) -> None:
        """Alice has sealed to the prekey that bob offers now."""
        self.says(self.alice, "to both")
        self.alice.forget()

    def bobs(self, now_ms: int, suite: Suite) -> bytes:
        """A prekey that bob's device offered at some time."""
        record = PrekeyRing(self.bob.keys.device).rotate(now_ms, suite)
        assert record is not None
        return record.packed

    def instead(self, record: bytes) -> Twist:
        """Another record wherever bob's is handed out."""

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if not isinstance(message, wire.Prekeys):
                return [message]
            bob = self.bob.keys.device.public
            return [wire.Prekeys([(each, record if each == bob else own) for each, own in message.items])]

        return twist

    def assert_not_used(self, record: bytes) -> None:
        """A record is not sealed to: bob is told that he waits for a key, carol hears, and then bob does again."""
        self.bob.forget()
        self.carol.forget()
        self.deceive(self.alice, self.instead(record))
        self.alice.conversation.rekey(LOBBY)
        self.says(self.alice, "secret")
        handed = {device for hand in self.alice.said(wire.Hand) for device, _ in hand.items}
        self.assertEqual(handed, {self.carol.keys.device.public})
        self.assertEqual((self.carol.heard(), self.bob.heard()), ([("alice", "secret")], []))
        (held,) = self.bob.told(Held)
        self.assertEqual(held.sender, "alice")
        # The relay is honest again. What bob asked for was in vain; with what comes a minute later he asks anew.
        self.deceive(self.alice, lambda message: [message])
        self.town_.skipped_ms += 60_000
        self.says(self.alice, "and more")
        self.assertEqual(len(self.bob.said(wire.Ask)), 2)
        self.honest()

    def test_foreign(self) -> None:
        """Somebody else's prekey, however good it is for them, is not sealed to."""
        self.assert_not_used(prekey(person("mallory")))

    def test_self_made(self) -> None:
        """A prekey that the relay made itself, and of which it has the private half, is not sealed to."""
        suite = best_suite()
        record = offer(SigningKey(b"m" * 32), b"relays..", suite, public_of(suite, b"s" * 32), NOW_MS)
        self.assert_not_used(record.packed)

    def test_over(self) -> None:
        """A prekey of bob's that is over is not sealed to: its private half may have leaked since."""
        self.assert_not_used(self.bobs(NOW_MS - KEEP_MS, best_suite()))

    def test_older(self) -> None:
        """Nor is one that is still good and older than the one that was used before."""
        self.use_the_newest()
        self.assert_not_used(self.bobs(NOW_MS - SKEW_MS - 1, best_suite()))

    def test_weaker(self) -> None:
        """Nor is one of a weaker suite than before, though bob has signed it and it is of today."""
        self.use_the_newest()
        self.assertGreater(best_suite().rank, Suite.X25519.rank)
        self.assert_not_used(self.bobs(NOW_MS, Suite.X25519))


class LoginTests(HostileCase):
    """Logins that are passed on, answered for somebody else, or greeted by another version."""

    def second_link(self, binding: Binding) -> tuple[RelayProtocol, MemoryTransport]:
        """Another link to the real relay, on which it is bound to a TLS session of its own."""
        protocol = RelayProtocol(self.town_.factory, None)
        self.patch(protocol, "binding", lambda: binding)
        transport = MemoryTransport(self.town_.clock, protocol)
        self.addCleanup(transport.lose)
        protocol.makeConnection(transport)
        self.town_.clock.advance(0)
        return protocol, transport

    def answer(self, transport: MemoryTransport) -> wire.FromRelay:
        """What the relay has said last."""
        self.town_.clock.advance(0)
        return from_relay.decode(bodies(transport.value())[-1])

    def proven(self, who: Person, fingerprint: bytes, exporter: bytes) -> Callable[[bytes], wire.Hello]:
        """How somebody's client answers a greeting on the link on which it is."""
        login = Login(who.secrets, self.town_.now_ms, lambda: None)
        return lambda nonce: login.hello(fingerprint, nonce, exporter)

    def test_passed_on(self) -> None:
        """A login that a relay in the middle gets for the real one's nonce logs it in nowhere as alice."""
        real, own = bytes(32), b"m" * 32
        # It has another key; or the same key, stolen, and so two TLS sessions with two exporters.
        for fingerprint, exporter in ((own, own), (real, own), (own, real), (b"", b"")):
            protocol, transport = self.second_link(Binding(real, real))
            answer = self.proven(self.alice, fingerprint, exporter)(protocol._greeting.nonce)
            protocol.dataReceived(frame(answer))
            refused = self.answer(transport)
            assert isinstance(refused, wire.Refused), refused
            self.assertEqual(refused.code, Code.BAD_CERTIFICATE)
        self.assertTrue(self.alice.linked)
        self.honest()

    def test_an_answer_of_before(self) -> None:
        """Nor does an answer that alice gave to another greeting log anybody in."""
        before, _ = self.second_link(Binding())
        answer = self.proven(self.alice, b"", b"")(before._greeting.nonce)
        protocol, transport = self.second_link(Binding())
        protocol.dataReceived(frame(answer))
        refused = self.answer(transport)
        assert isinstance(refused, wire.Refused), refused
        self.assertEqual(refused.code, Code.BAD_CERTIFICATE)
        self.honest()

    def test_somebody_elses_certificate(self) -> None:
        """Who answers with alice's certificate and their own proof, or the other way round, is nobody."""
        mallory = person("mallory")
        for certificate, prover in ((self.alice.keys, mallory), (mallory, self.alice.keys)):
            protocol, transport = self.second_link(Binding())
            proof = hello(prover, protocol._greeting.nonce).proof
            packed = certificate.certificate.packed
            protocol.dataReceived(frame(wire.Hello(wire.VERSION, packed, prekey(certificate), proof)))
            refused = self.answer(transport)
            assert isinstance(refused, wire.Refused), refused
            self.assertEqual(refused.code, Code.BAD_CERTIFICATE)
        self.honest()

    def test_welcomed_as_somebody_else(self) -> None:
        """A relay that welcomes us with another's name and rooms makes us nobody else, and lets us in nowhere."""
        (carol,) = self.town_.come("carol")
        carol.conversation.found_closed("#den")
        self.town_.settle()
        welcome = wire.Welcome("carol", [LOBBY, "#den"], wire.Limits(256, 200, 15))
        self.alice.lose()
        self.alice.connect()
        self.alice.conversation.link_up(welcome, "relay", "")
        self.town_.settle()
        self.assertEqual([event.room for event in self.alice.told(NotEntered)], ["#den"])
        self.assertEqual(self.alice.conversation.name, "alice")
        self.says(carol, "secret", room="#den")
        self.assertEqual([event for event in self.alice.told(Message) if event.room == "#den"], [])
        self.honest()
