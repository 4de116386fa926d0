"""A name of 4 KiB, wherever the relay or a member can put one: nobody has it, and the next message is heard."""

from __future__ import annotations

from securechat.client.events import Error, Fault
from securechat.relay.protocol import RelayProtocol
from securechat.signed.certificates import certify, prove_login
from securechat.signed.entries import Op, Role
from securechat.wire import messages as wire
from securechat.wire.codes import Code
from securechat.wire.framing import farewell, frame
from tests.client.link_harness import GREETING, LinkCase
from tests.client.test_hostile_rooms import DEN, ClosedCase
from tests.relay.people import NOW_MS, person, prekey
from tests.wire.harness import MemoryTransport, bodies, from_relay

LONG = "n" * 4_096
HONEST = wire.Delivery("#room", 1, [("bob", 0, b"sealed")])


class WireTests(LinkCase):
    """Names on the wire, each in its own field."""

    def assert_refused(self, message: wire.FromRelay) -> None:
        """The link ends with our goodbye, nothing of it is told, and on the next link an honest message is."""
        before = len(self.listener.received_messages)
        self.hears(message)
        self.assertEqual(self.said(), [farewell(Code.FAILED)])
        self.assertEqual(len(self.listener.received_messages), before, type(message))
        self.lose(60)
        self.log_in()
        self.hears(HONEST)
        self.assertEqual(self.listener.received_messages[before:], [HONEST])
        self.assertEqual(self.errors, [])

    def test_in_any_message(self) -> None:
        """A message that names somebody so, as sender, member or whoever was found, ends the link and no more."""
        self.log_in()
        for message in (
            wire.Found(LONG, b"", False),
            wire.Present("#room", ["alice", LONG]),
            wire.Presence("#room", LONG, True),
            wire.SealedKey("#room", 0, [(LONG, b"blob")]),
            wire.Delivery("#room", 1, [("bob", 0, b"sealed"), (LONG, 0, b"sealed")]),
            wire.Roster(f"#{LONG}", 0, [], 0, 0),
            wire.SessionKey(f"#{LONG}", bytes(32), bytes(32)),
        ):
            self.assert_refused(message)

    def test_in_a_certificate(self) -> None:
        """Nor can a certificate hold it: that would be longer than any."""
        self.log_in()
        named = certify(person("mallory").identity, LONG, person("mallory").device.public, NOW_MS)
        self.assert_refused(wire.Found("mallory", named.packed, True))

    def test_in_the_welcome(self) -> None:
        """A relay that welcomes us so, or into a room of that name, is none that we log in to."""
        limits = wire.Limits(256, 200, 15)
        self.log_in()
        for welcome in (wire.Welcome(LONG, [], limits), wire.Welcome("alice", [f"#{LONG}"], limits)):
            ups = len(self.listener.ups)
            self.lose(60)
            self.open()
            self.hears(GREETING, welcome)
            self.assertEqual(len(self.listener.ups), ups)
            self.lose(60)
            self.log_in()
            self.hears(HONEST)
            self.assertEqual((len(self.listener.ups), self.listener.received_messages[-1]), (ups + 1, HONEST))


class RoomTests(ClosedCase):
    """Names that fit the wire, as entries may be long and certificates have some room."""

    def test_in_an_entry(self) -> None:
        """Somebody of a name of almost 4 KiB is brought in by nobody, not even by who may."""
        mallory = person("mallory")
        for length in (33, 60, 3_600):
            named = certify(mallory.identity, LONG[:length], mallory.device.public, NOW_MS)
            entry = self.chain().signed(self.alice.keys, Op.ADD, mallory, Role.MEMBER, named.packed)
            self.assertLessEqual(len(entry), 4_096)
            self.assert_refused(entry)
            self.assertEqual(self.bob.told(Fault), [])

    def test_found(self) -> None:
        """A certificate for a name that is too long is not authentic, whoever signed it, and nobody is added."""
        mallory = person("mallory")
        named = certify(mallory.identity, LONG[:60], mallory.device.public, NOW_MS)
        self.deceive(
            self.alice,
            lambda message: (
                [wire.Found(message.name, named.packed, True)] if isinstance(message, wire.Found) else [message]
            ),
        )
        self.alice.conversation.invite(DEN, "mallory")
        self.alice.conversation.invite(DEN, LONG)
        self.town_.settle()
        errors = [event.text for event in self.alice.told(Error)]
        self.assertEqual(len(errors), 3)
        self.assertEqual(len([text for text in errors if "not authentic" in text]), 1)
        self.assertEqual(self.alice.said(wire.Append), [])
        self.honest()

    def test_logging_in(self) -> None:
        """Nobody logs in under it: the relay ends that link, and the others hear each other as before."""
        mallory = person("mallory")
        lengths = (4_096, Code.OVERSIZED_FRAME), (1_024, Code.BAD_FIELD), (60, Code.BAD_CERTIFICATE)
        for length, code in lengths:
            protocol = RelayProtocol(self.town_.factory, None)
            transport = MemoryTransport(self.town_.clock, protocol)
            self.addCleanup(transport.lose)
            protocol.makeConnection(transport)
            named = certify(mallory.identity, LONG[:length], mallory.device.public, NOW_MS)
            proof = prove_login(mallory.device, named, b"", protocol._greeting.nonce, b"")
            protocol.dataReceived(frame(wire.Hello(wire.VERSION, named.packed, prekey(mallory), proof)))
            self.town_.clock.advance(0)
            refused = from_relay.decode(bodies(transport.value())[-1])
            assert isinstance(refused, wire.Refused)
            self.assertEqual(refused.code, code)
        self.honest()
