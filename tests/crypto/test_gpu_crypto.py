"""GPUCrypto: the class of the original, authenticated."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from securechat.crypto.aead import OpenError
from securechat.crypto.engines import EngineUnavailable
from securechat.crypto.gpu_crypto import LABEL, GPUCrypto
from tests.crypto import vectors
from tests.crypto.fakes import WatchedEngine

KEY = bytes(range(32))


class GPUCryptoTests(SynchronousTestCase):
    """What it gives and takes."""

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=100), max_size=5))
    def test_round_trip(self, pieces: list[bytes]) -> None:
        """Whatever is encrypted decrypts to itself, one piece or many at a time, in any combination."""
        box = GPUCrypto(KEY, "cpu")
        self.assertEqual(box.decrypt_many(box.encrypt_many(pieces)), pieces)
        self.assertEqual([box.decrypt(sealed) for sealed in box.encrypt_many(pieces)], pieces)
        self.assertEqual(box.decrypt_many([box.encrypt(piece) for piece in pieces]), pieces)

    def test_format(self) -> None:
        """It is A256CBC-HS512 without associated data, under the key derived for "securechat/1 GPUCrypto"."""
        self.assertEqual(LABEL, b"securechat/1 GPUCrypto")
        key = aead.message_key(KEY, b"securechat/1 GPUCrypto")
        self.assertEqual(aead.open(key, b"", GPUCrypto(KEY, "cpu").encrypt(b"hello")), b"hello")
        self.assertEqual(GPUCrypto(KEY, "cpu").decrypt(aead.seal(key, b"", b"hello")), b"hello")

    def test_every_piece_has_its_own_iv(self) -> None:
        """The same piece twice gives two ivs and two ciphertexts."""
        sealed = GPUCrypto(KEY, "cpu").encrypt_many([b"same"] * 20)
        self.assertEqual(len({piece[:16] for piece in sealed}), 20)
        self.assertEqual(len({piece[16:32] for piece in sealed}), 20)

    def test_changed_piece_is_refused(self) -> None:
        """Any bit changed, or another key, is an OpenError without a message."""
        box = GPUCrypto(KEY, "cpu")
        sealed = box.encrypt(b"hello")
        for other in [*vectors.flipped(sealed), b"", sealed[:-1], sealed + b"x"]:
            with self.assertRaises(OpenError) as caught:
                box.decrypt(other)
            self.assertEqual(str(caught.exception), "")
        with self.assertRaises(OpenError):
            GPUCrypto(bytes(32), "cpu").decrypt(sealed)

    def test_one_changed_piece_among_many(self) -> None:
        """Among many pieces a changed one is None, and the others open."""
        box = GPUCrypto(KEY, "cpu")
        sealed = box.encrypt_many([b"a", b"b", b"c"])
        self.assertEqual(box.decrypt_many([sealed[0], sealed[1][::-1], sealed[2]]), [b"a", None, b"c"])

    def test_engines(self) -> None:
        """An engine comes by name or as such; what cannot be used is an error at once."""
        self.assertEqual(GPUCrypto(KEY, "cpu").engine, "cpu")
        self.assertIn(GPUCrypto(KEY).engine, ("cpu", "native"))
        engine = WatchedEngine()
        GPUCrypto(KEY, engine).encrypt_many([b"a", b"b"])
        self.assertEqual(engine.asked, [("seal", 2)])
        self.assertIsInstance(engine.keys[0], bytes)
        with self.assertRaises(EngineUnavailable):
            GPUCrypto(KEY, "cuda")
        with self.assertRaisesRegex(ValueError, "^name: "):
            GPUCrypto(KEY, "abacus")

    def test_closes_its_engine(self) -> None:
        """Leaving its context closes the engine."""
        engine = WatchedEngine()
        with GPUCrypto(KEY, engine) as box:
            self.assertEqual(box.decrypt(box.encrypt(b"hello")), b"hello")
            self.assertEqual(engine.closed, 0)
        self.assertEqual(engine.closed, 1)

    def test_wrong_arguments(self) -> None:
        """Wrong keys and pieces are refused by name."""
        for length in (0, 16, 31, 33, 64):
            with self.assertRaisesRegex(ValueError, "^key: "):
                GPUCrypto(bytes(length), "cpu")
        wrong: Any = "text"
        with self.assertRaisesRegex(TypeError, "^key: "):
            GPUCrypto(wrong, "cpu")
        box = GPUCrypto(KEY, "cpu")
        with self.assertRaisesRegex(TypeError, "^data: "):
            box.encrypt(wrong)
        with self.assertRaisesRegex(TypeError, "^sealed: "):
            box.decrypt(wrong)
        with self.assertRaisesRegex(TypeError, "^plaintexts: "):
            box.encrypt_many(wrong)
