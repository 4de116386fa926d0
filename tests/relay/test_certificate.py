"""The relay's key and certificate: made once, kept private, and used for TLS 1.3 alone."""

from __future__ import annotations

import contextlib
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.certificate import CERTIFICATE_FILE, KEY_FILE, load_or_make, prepare_directory, tls_options
from securechat.relay.errors import RelayError
from securechat.wire.address import fingerprint

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class FilesTests(SynchronousTestCase):
    """The two files."""

    def setUp(self) -> None:
        """A directory that is not there yet."""
        self.directory = Path(self.mktemp()) / "relay"
        self.key = self.directory / KEY_FILE
        self.certificate = self.directory / CERTIFICATE_FILE

    def fails(self, *words: str) -> None:
        """Loading fails with one line that holds the words."""
        with self.assertRaises(RelayError) as caught:
            load_or_make(self.directory, NOW)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def write_key(self, key: Any, encryption: KeySerializationEncryption | None = None) -> None:
        """Put another key in the place of the relay's."""
        encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
        self.key.write_bytes(encoded)
        self.key.chmod(0o600)

    def test_made_once(self) -> None:
        """The first start makes a P-256 key and its certificate, later ones use them."""
        key, certificate = load_or_make(self.directory, NOW)
        self.assertEqual("secp256r1", key.curve.name)
        self.assertEqual(key.public_key(), certificate.public_key())
        again, same = load_or_make(self.directory, datetime(2030, 1, 1, tzinfo=UTC))
        self.assertEqual((key.public_key(), certificate), (again.public_key(), same))

    def test_private(self) -> None:
        """The key is readable by its owner alone, and so is the directory, whatever the umask."""
        for mask in (0, 0o077):
            old = os.umask(mask)
            self.addCleanup(os.umask, old)
            directory = self.directory / str(mask)
            load_or_make(directory, NOW)
            os.umask(old)
            self.assertEqual(0o600, S_IMODE((directory / KEY_FILE).stat().st_mode))
            self.assertEqual(0o700, S_IMODE(directory.stat().st_mode))
            self.assertEqual({KEY_FILE, CERTIFICATE_FILE}, {path.name for path in directory.iterdir()})

    def test_valid_now(self) -> None:
        """The certificate is valid from before the start, for clocks that differ, and for years."""
        _, certificate = load_or_make(self.directory, NOW)
        self.assertLess(certificate.not_valid_before_utc, NOW)
        self.assertGreater(certificate.not_valid_after_utc, NOW.replace(year=2036))

    def test_remade_certificate(self) -> None:
        """A certificate made anew for the same key keeps the fingerprint."""
        _, first = load_or_make(self.directory, NOW)
        self.certificate.unlink()
        _, second = load_or_make(self.directory, NOW)
        self.assertNotEqual(first, second)
        self.assertEqual(fingerprint(first), fingerprint(second))

    def test_readable_by_others(self) -> None:
        """A key that others could read is refused, with what to do about it."""
        load_or_make(self.directory, NOW)
        for mode in (0o640, 0o604, 0o660, 0o601):
            self.key.chmod(mode)
            self.fails("others can read", "chmod 600")
        self.key.chmod(0o400)
        load_or_make(self.directory, NOW)

    def test_damaged(self) -> None:
        """A damaged file is named and left as it is."""
        load_or_make(self.directory, NOW)
        for path in (self.key, self.certificate):
            good = path.read_bytes()
            for bad in (b"", b"no PEM", good[: len(good) // 2], good.replace(b"M", b"N")):
                path.write_bytes(bad)
                self.fails("damaged")
                self.assertEqual(bad, path.read_bytes())
            path.write_bytes(good)
        load_or_make(self.directory, NOW)

    def test_encrypted_key(self) -> None:
        """A key under a password is an error of one line; there is nobody to ask."""
        load_or_make(self.directory, NOW)
        self.write_key(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"secret"))
        self.fails("damaged")

    def test_other_key(self) -> None:
        """A certificate of another key is refused."""
        load_or_make(self.directory, NOW)
        self.write_key(ec.generate_private_key(ec.SECP256R1()))
        self.fails("does not belong")

    def test_other_kind_of_key(self) -> None:
        """A key that is on no elliptic curve is refused."""
        load_or_make(self.directory, NOW)
        self.write_key(rsa.generate_private_key(65537, 2048))
        self.fails("elliptic")

    def test_lost_key(self) -> None:
        """Where only the certificate is left the relay does not go on with a new key in silence."""
        load_or_make(self.directory, NOW)
        self.key.unlink()
        self.fails("does not belong")

    def test_left_over_part(self) -> None:
        """What a crash left of a file being written is in nobody's way."""
        self.directory.mkdir(parents=True)
        (self.directory / f"{KEY_FILE}.part").write_bytes(b"half")
        load_or_make(self.directory, NOW)
        self.assertFalse((self.directory / f"{KEY_FILE}.part").exists())

    def test_disk_full(self) -> None:
        """A full disk is an error of one line that says where, and a start with room makes what is missing."""

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        patch = self.patch(os, "fsync", full)
        self.fails(f"cannot use {self.directory}: No space left on device")
        patch.restore()
        load_or_make(self.directory, NOW)

    def test_no_directory(self) -> None:
        """A data directory that cannot be is an error of one line."""
        file = Path(self.mktemp())
        file.write_bytes(b"")
        for path in (file, file / "below"):
            with self.assertRaises(RelayError) as caught:
                prepare_directory(path)
            self.assertNotIn("\n", str(caught.exception))


class TLSTests(SynchronousTestCase):
    """Handshakes in memory, with Python's ssl on the other side."""

    def handshake(self, client: ssl.SSLContext) -> str | None:
        """The version agreed on; raises what the client raises."""
        key, certificate = load_or_make(Path(self.mktemp()), NOW)
        server = SSL.Connection(tls_options(key, certificate).getContext(), None)
        server.set_accept_state()
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = client.wrap_bio(incoming, outgoing)
        for _ in range(10):
            try:
                peer.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                return peer.version()
            server.bio_write(outgoing.read())
            with contextlib.suppress(SSL.Error):
                server.do_handshake()
            try:
                incoming.write(server.bio_read(1 << 16))
            except SSL.WantReadError:
                continue
        return None

    def test_tls_1_3(self) -> None:
        """A client of today gets TLS 1.3."""
        self.assertEqual("TLSv1.3", self.handshake(ssl.create_default_context()))

    def test_tls_1_2(self) -> None:
        """A client that knows no more than TLS 1.2 is refused."""
        context = ssl.create_default_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises(ssl.SSLError):
            self.handshake(context)
