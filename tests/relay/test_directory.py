"""Asking the relay who somebody is, and for the prekeys of their devices."""

from __future__ import annotations

from securechat.relay.limits import RelayLimits
from securechat.signed.prekeys import KEEP_MS
from securechat.wire.codes import Code
from securechat.wire.messages import BUNDLE_ITEMS, FRAME_BYTES, Found, Lookup, Prekeys, Renew, Want
from tests.relay.harness import RelayCase, of, only
from tests.relay.people import NOW_MS, person, prekey
from tests.wire.harness import bodies


class LookupTests(RelayCase):
    """`Lookup` and `Found`."""

    def test_here_and_away(self) -> None:
        """A name's owner is found with the certificate, and whether they are logged in."""
        alice, bob = self.relay().login("alice", "bob")
        certificate = bob.me.certificate.packed
        self.assertEqual([Found("bob", certificate, True)], alice.does(Lookup("bob")))
        bob.transport.lose()
        self.assertEqual([Found("bob", certificate, False)], alice.does(Lookup("bob")))

    def test_nobody(self) -> None:
        """A name that nobody has, or can have, is found to be nobody's."""
        (alice,) = self.relay().login("alice")
        for name in ("nobody", "Nobody", "#"):
            self.assertEqual([Found(name, b"", False)], alice.does(Lookup(name)))


class PrekeyTests(RelayCase):
    """`Want`, `Prekeys` and `Renew`."""

    def test_in_order(self) -> None:
        """The prekeys come in the order of the devices, twice where asked twice, empty for an unknown device."""
        alice, bob = self.relay().login("alice", "bob")
        own, other = alice.me.device.public, bob.me.device.public
        self.assertEqual(
            [
                Prekeys(
                    [(other, prekey(bob.me)), (bytes(32), b""), (own, prekey(alice.me)), (other, prekey(bob.me))]
                )
            ],
            alice.does(Want([other, bytes(32), own, other])),
        )

    def test_of_somebody_away(self) -> None:
        """The prekey of somebody who is away is offered as long as it lasts."""
        relay = self.relay()
        alice, bob = relay.login("alice", "bob")
        device = bob.me.device.public
        bob.transport.lose()
        # Hours go by at once: no ping is missed while nobody looks.
        relay.skip(KEEP_MS - 1)
        self.assertEqual([(device, prekey(bob.me))], only(Prekeys, alice.does(Want([device]))).items)
        relay.skip(1)
        self.assertEqual([(device, b"")], only(Prekeys, alice.does(Want([device]))).items)

    def test_renewed(self) -> None:
        """A new prekey is offered from when it comes, and the relay says nothing to that."""
        alice, bob = self.relay().login("alice", "bob")
        newer = prekey(bob.me, NOW_MS + 1)
        self.assertEqual([], bob.does(Renew(newer)))
        device = bob.me.device.public
        self.assertEqual([(device, newer)], only(Prekeys, alice.does(Want([device]))).items)

    def test_renewed_wrongly(self) -> None:
        """A new prekey that is malformed, another's, or over ends the link, and the last good one is offered on."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        for wrong in (b"x", prekey(alice.me), prekey(person("bob"), NOW_MS - KEEP_MS)):
            (bob,) = relay.login("bob")
            bob.send(Renew(wrong))
            self.assertEqual(Code.BAD_CERTIFICATE, bob.code())
            device = bob.me.device.public
            self.assertEqual([(device, prekey(bob.me))], only(Prekeys, alice.does(Want([device]))).items)

    def test_many_in_several_frames(self) -> None:
        """As many devices as one may ask for come in frames that fit, however long their prekeys, and in order."""
        relay = self.relay(RelayLimits(outbox_bytes=1_000))
        (alice,) = relay.login("alice")
        directory = relay.factory.directory
        self.patch(directory, "prekey", lambda device, now_ms: device + bytes(2_016))
        devices = [bytes([number]) * 32 for number in range(BUNDLE_ITEMS)]
        heard = of(Prekeys, alice.does(Want(devices)))
        self.assertEqual(devices, [device for each in heard for device, _ in each.items])
        self.assertLessEqual(max(map(len, bodies(alice.transport.value()))), FRAME_BYTES)

    def test_asked_for_more_than_is_read(self) -> None:
        """Who asks for a thousand prekeys at once gets them as they read, and is not dropped as slow."""
        relay = self.relay(RelayLimits(outbox_bytes=100_000))
        (alice,) = relay.login("alice")
        alice.stops_reading()
        for _ in range(16):
            alice.send(Want([alice.me.device.public] * BUNDLE_ITEMS))
        self.assertEqual([], alice.hears())
        alice.reads_again()
        self.assertEqual(16 * BUNDLE_ITEMS, sum(len(each.items) for each in of(Prekeys, alice.hears())))
        self.assertFalse(alice.protocol.closing)
