"""The CPU engine keeps the contract, also behind the packing that later engines use, and in its own way."""

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import cpu
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.engine import Engine, Flags
from securechat.crypto.packing import PackedLists
from tests.crypto import contract, vectors
from tests.crypto.contract import rows


class PackedOnly(PackedLists):
    """An engine of packed batches only, whose lists are PackedLists's."""

    name = "packed"

    def __init__(self) -> None:
        """Stand on the CPU engine."""
        self._cpu = CpuEngine()

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        return self._cpu.seal(keys, ivs, associated, plaintext)

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        return self._cpu.open(keys, associated, sealed)

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""
        return self._cpu.encrypt(keys, ivs, plaintext)

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        return self._cpu.decrypt(keys, ivs, ciphertext)

    def close(self) -> None:
        """See Engine."""


class CpuContract(contract.EngineContract):
    """The CPU engine."""

    def make_engine(self) -> Engine:
        """Give a CPU engine."""
        return CpuEngine()


class PackedContract(contract.EngineContract):
    """The CPU engine through PackedLists."""

    def make_engine(self) -> Engine:
        """Give one that packs its lists."""
        return PackedOnly()


class DecryptorTests(SynchronousTestCase):
    """What the decryptor gets to see."""

    def setUp(self) -> None:
        """Put a cipher in place whose decryptors write down what they are fed."""
        self.fed = b""
        test = self

        class Watched:
            def __init__(self, context: Any) -> None:
                self._context = context

            def update(self, data: bytes) -> bytes:
                test.fed += data
                plaintext: bytes = self._context.update(data)
                return plaintext

        class WatchedCipher(Cipher[Any]):
            def decryptor(self) -> Any:
                return Watched(super().decryptor())

        self.patch(cpu, "Cipher", WatchedCipher)

    def assert_only_good_is_fed(self, keys: bytes | Sequence[bytes]) -> None:
        """Open good and forged messages, and look for their blocks in what was fed."""
        engine, texts = CpuEngine(), [bytes([i]) * 40 for i in range(30)]
        sealed = engine.seal_list(keys, [b""] * 30, texts)
        for i in range(0, 30, 2):
            sealed[i] = sealed[i][:-32] + vectors.flipped(sealed[i][-32:])[i]
        opened = engine.open_list(keys, [b""] * 30, sealed)
        self.assertEqual([text is None for text in opened], [i % 2 == 0 for i in range(30)])
        for i, message in enumerate(sealed):
            for at in range(16, len(message) - 32, 16):
                self.assertEqual(message[at : at + 16] in self.fed, i % 2 == 1)

    def test_own_keys(self) -> None:
        """No block of a message with a wrong tag reaches a decryptor, under own keys."""
        self.assert_only_good_is_fed([bytes([i]) * 64 for i in range(30)])

    def test_one_key(self) -> None:
        """Nor under one key for all."""
        self.assert_only_good_is_fed(bytes(64))

    def test_one_forged_message(self) -> None:
        """Nor alone, by any way in."""
        engine, key = CpuEngine(), bytes(64)
        sealed = engine.seal_list(key, [b""], [b"text"])
        forged = vectors.flipped(sealed[0])
        for message in forged:
            engine.open_list(key, [b""], [message])
        engine.open(rows([key], 64), Batch.join([b""] * len(forged)), Batch.join(forged))
        self.assertEqual(self.fed, b"")


class RunTests(SynchronousTestCase):
    """Decrypting under one key, which takes many items at once."""

    def test_runs_end_anywhere(self) -> None:
        """However items fall into runs, good and bad, each opens in its place."""
        engine, key = CpuEngine(), bytes(range(64))
        texts = [bytes([i]) * (i * 7) for i in range(40)]
        sealed = engine.seal_list(key, [b""] * 40, texts)
        sealed[11] = sealed[39] = b""
        expected = [None if i in (11, 39) else text for i, text in enumerate(texts)]
        for run_bytes in (1, 64, 100, 1000, 1 << 18):
            self.patch(cpu, "RUN_BYTES", run_bytes)
            self.assertEqual(engine.open_list(key, [b""] * 40, sealed), expected)
