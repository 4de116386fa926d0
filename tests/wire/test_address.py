"""Addresses of relays: what is read, what is refused, and that what is printed is read back the same."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.address import DEFAULT_PORT, Address, AddressError, fingerprint, parse

FINGERPRINT: Final = "0123456789abcdef" * 4


def hosts() -> SearchStrategy[str]:
    """Names, IPv4 and IPv6 addresses, in lower case as names of hosts do not differ by case."""
    label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
    return st.one_of(
        st.lists(label, min_size=1, max_size=3).map(".".join),
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map(str),
    )


def paths() -> SearchStrategy[str]:
    """Absolute paths in any characters but those that no file name has."""
    name = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
    return st.lists(name, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))


def addresses() -> SearchStrategy[Address]:
    """Any address of a relay."""
    fingerprints = st.one_of(st.just(""), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
    ports = st.integers(1, 65535)
    return st.one_of(
        st.builds(lambda h, p, f: Address(host=h, port=p, fingerprint=f), hosts(), ports, fingerprints),
        st.builds(lambda h, p: Address(host=h, port=p, tls=False), hosts(), ports),
        paths().map(lambda path: Address(path=path, tls=False)),
    )


class ParseTests(SynchronousTestCase):
    """Reading."""

    @given(addresses())
    def test_round_trip(self, address: Address) -> None:
        """What is printed is read back the same."""
        self.assertEqual(address, parse(str(address)))

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text is an address or an AddressError."""
        try:
            address = parse(text)
        except AddressError as wrong:
            self.assertNotIn("\n", str(wrong))
        else:
            self.assertTrue(address.path or (address.host and 0 < address.port < 65536))

    def test_forms(self) -> None:
        """The documented forms mean what the documentation says."""
        for text, address in [
            ("example.org", Address("example.org", DEFAULT_PORT)),
            ("example.org:1", Address("example.org", 1)),
            ("[::1]:1", Address("::1", 1)),
            ("securechat://[2001:db8::1]:7", Address("2001:db8::1", 7)),
            (f"securechat://h:1/#{FINGERPRINT}", Address("h", 1, fingerprint=FINGERPRINT)),
            (f"securechat://h:1#{FINGERPRINT.upper()}", Address("h", 1, fingerprint=FINGERPRINT)),
            ("securechat+tcp://h:1", Address("h", 1, tls=False)),
            ("securechat+unix:///run/chat%20me", Address(path="/run/chat me", tls=False)),
        ]:
            self.assertEqual(address, parse(text))

    def test_place(self) -> None:
        """The place that a fingerprint is remembered for is host and port, or the path."""
        self.assertEqual("[::1]:7", Address("::1", 7).place)
        self.assertEqual("h:7", Address("h", 7).place)
        self.assertEqual("/run/chat", Address(path="/run/chat", tls=False).place)

    def test_refused(self) -> None:
        """Everything else is an AddressError of one line."""
        for text in [
            "",
            "securechat://",
            "securechat://:1",
            "h:0",
            "h:65536",
            "h:-1",
            "h:port",
            "::1",
            "[::1",
            "http://h:1",
            "://h",
            "securechat://user@h:1",
            "securechat://user:secret@h:1",
            "securechat://h:1/?x=1",
            "securechat://h:1/path",
            "securechat://h:1/#abc",
            f"securechat://h:1/#{FINGERPRINT}0",
            f"securechat://h:1/#{FINGERPRINT[:-1]}g",
            f"securechat+tcp://h:1/#{FINGERPRINT}",
            "securechat+unix://host/path",
            "securechat+unix://",
            "securechat+unix:relative",
            f"securechat+unix:///path#{FINGERPRINT}",
            "securechat+unix:///path?x",
            "ho\nst:1",
            "h:1\x1b[31m",
            "two hosts:1",
            " h:1",
        ]:
            with self.assertRaises(AddressError, msg=text) as caught:
                parse(text)
            self.assertNotIn("\n", str(caught.exception))


class FingerprintTests(SynchronousTestCase):
    """The fingerprint of a certificate."""

    def certificate(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        """A certificate for a key."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
        now = datetime(2026, 1, 1, tzinfo=UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, SHA256())

    def test_as_openssl_does(self) -> None:
        """The openssl command line comes to the same fingerprint."""
        certificate = self.certificate(ec.generate_private_key(ec.SECP256R1()))
        path = Path(self.mktemp())
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        out = subprocess.run(
            f"openssl x509 -in {path} -noout -pubkey | openssl pkey -pubin -outform der | sha256sum",
            shell=True,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        self.assertEqual(out.split()[0], fingerprint(certificate))

    def test_belongs_to_the_key(self) -> None:
        """Two certificates of one key have one fingerprint, and another key has another."""
        key = ec.generate_private_key(ec.SECP256R1())
        other = ec.generate_private_key(ec.SECP256R1())
        first, second = self.certificate(key), self.certificate(key)
        self.assertNotEqual(first, second)
        self.assertEqual(fingerprint(first), fingerprint(second))
        self.assertNotEqual(fingerprint(first), fingerprint(self.certificate(other)))
