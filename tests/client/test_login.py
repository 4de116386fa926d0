"""What a client says of itself: for one relay, nonce and link only, with a prekey that was stored before."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.errors import ClientError
from securechat.client.login import Login
from securechat.e2e.identity import new_person
from securechat.e2e.keystore import Secrets
from securechat.e2e.prekeys import ROTATE_MS, PrekeyRing
from securechat.signed.certificates import login_is_proven, read_certificate
from securechat.signed.prekeys import read_prekey
from securechat.wire.messages import VERSION

NOW_MS = 1_800_000_000_000
FINGERPRINT, NONCE, EXPORTER = b"f" * 32, b"n" * 32, b"e" * 32


class LoginTests(SynchronousTestCase):
    """The login of one key store."""

    def setUp(self) -> None:
        """Make keys, and remember what was stored."""
        self.now_ms = NOW_MS
        person = new_person("alice", NOW_MS)
        self.secrets = Secrets(person, PrekeyRing(person.device))
        self.stored: list[bytes] = []
        self.login = Login(self.secrets, lambda: self.now_ms, self.store)

    def store(self) -> None:
        """Store the prekeys as they are."""
        self.stored.append(self.secrets.ring.packed)

    def test_bound(self) -> None:
        """The proof holds for this relay, nonce and TLS session, and for no other one of them."""
        hello = self.login.hello(FINGERPRINT, NONCE, EXPORTER)
        certificate = read_certificate(hello.certificate)
        self.assertEqual((hello.version, certificate), (VERSION, self.secrets.person.certificate))
        self.assertTrue(login_is_proven(certificate, FINGERPRINT, NONCE, EXPORTER, hello.proof))
        other = b"o" * 32
        for bound in ((other, NONCE, EXPORTER), (FINGERPRINT, other, EXPORTER), (FINGERPRINT, NONCE, other)):
            self.assertFalse(login_is_proven(certificate, *bound, hello.proof))

    def test_without_tls(self) -> None:
        """On a link without TLS fingerprint and exporter are empty, and half of a binding is none."""
        hello = self.login.hello(b"", NONCE, b"")
        self.assertTrue(login_is_proven(self.secrets.person.certificate, b"", NONCE, b"", hello.proof))
        self.assertRaises(ValueError, self.login.hello, FINGERPRINT, NONCE, b"")
        self.assertRaises(ValueError, self.login.hello, b"", NONCE, EXPORTER)

    def test_stored_before_it_is_offered(self) -> None:
        """The prekey that is offered was stored with its private half, once."""
        hello = self.login.hello(FINGERPRINT, NONCE, EXPORTER)
        record = read_prekey(hello.prekey, self.secrets.person.device.public, NOW_MS)
        private = self.secrets.ring.private(record.prekey_id)
        assert private is not None
        (stored,) = self.stored
        self.assertIn(private[1], stored)
        again = self.login.hello(FINGERPRINT, NONCE, EXPORTER)
        self.assertEqual((again.prekey, len(self.stored)), (hello.prekey, 1))

    def test_renewed_daily(self) -> None:
        """A new prekey is offered a day later, stored before, and not a moment earlier."""
        first = self.login.hello(FINGERPRINT, NONCE, EXPORTER)
        self.now_ms += ROTATE_MS - 1
        self.assertIsNone(self.login.renewal())
        self.now_ms += 1
        renewal = self.login.renewal()
        assert renewal is not None
        self.assertNotEqual(renewal.prekey, first.prekey)
        self.assertEqual(len(self.stored), 2)
        self.assertEqual(self.login.hello(FINGERPRINT, NONCE, EXPORTER).prekey, renewal.prekey)

    def test_not_stored(self) -> None:
        """Where it cannot be stored nothing is offered."""

        def full() -> None:
            raise ClientError("no space left")

        login = Login(self.secrets, lambda: self.now_ms, full)
        self.assertRaises(ClientError, login.hello, FINGERPRINT, NONCE, EXPORTER)
        self.now_ms += ROTATE_MS
        self.assertRaises(ClientError, login.renewal)
