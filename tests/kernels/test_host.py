"""The kernels, run on the host with real barriers, keep the engines' contract and their own documentation."""

from itertools import pairwise
from random import Random

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.crypto import aead
from securechat.crypto.batch import Batch
from securechat.crypto.engine import Engine
from tests.crypto import vectors
from tests.crypto.contract import EngineContract
from tests.kernels.builds import built, disagreements, rows
from tests.kernels.host import NO_COMPILER, DivergedError, HostKernelEngine, Mutation, have_compiler


class HostContractTests(EngineContract):
    """The contract of the engines, with the published vectors, on an engine made of the kernels."""

    def make_engine(self) -> Engine:
        """Give an engine on the unchanged kernels."""
        if not have_compiler():
            raise SkipTest(NO_COMPILER)
        return HostKernelEngine(built())


# Trial would run the contract itself, which has no engine.
del EngineContract


class HostTestCase(SynchronousTestCase):
    """A case that needs a compiler."""

    if not have_compiler():
        skip = NO_COMPILER


class ShapeTests(HostTestCase):
    """The shape of a launch and the size of a batch change nothing in the results."""

    def test_batches_around_a_warp(self) -> None:
        """Ragged batches of 0 to 100 messages with associated data of 0 to 300 bytes are as the reference's."""
        engine = HostKernelEngine(built())
        for count in (0, 1, 2, 31, 32, 33, 100):
            self.assertEqual(disagreements(engine, count, 4_000), [], count)

    def test_any_grid_and_block(self) -> None:
        """So they are with one block or many, small or as large as the kernels allow, with idle threads or none."""
        for grid, block in ((1, 32), (1, 64), (7, 32), (2, 512)):
            engine = HostKernelEngine(built(), grid, block)
            self.assertEqual(disagreements(engine, 100, 500), [], (grid, block))

    def test_every_meeting_of_pieces(self) -> None:
        """Associated data of every length over three blocks of the hash is authenticated as the reference does."""
        random = Random(3)
        associated = [random.randbytes(n) for n in range(385)]
        keys = [random.randbytes(64) for _ in associated]
        texts = [random.randbytes(n % 83) for n in range(385)]
        engine = HostKernelEngine(built())
        sealed = engine.seal_list(keys, associated, texts)
        self.assertTrue(engine.open_list(keys, associated, sealed) == texts)
        self.assertTrue(list(map(aead.open, keys, associated, sealed)) == texts)


class FailureTests(HostTestCase):
    """What does not verify leaves no trace."""

    def setUp(self) -> None:
        """Seal nine messages and spoil every other one's tag."""
        random = Random(9)
        self.engine = HostKernelEngine(built())
        self.texts = vectors.ragged(random, 9, 300)
        self.keys = [random.randbytes(64) for _ in self.texts]
        sealed = [aead.seal(key, b"", text) for key, text in zip(self.keys, self.texts, strict=True)]
        for i in range(0, 9, 2):
            sealed[i] = sealed[i][:-32] + bytes([sealed[i][-32] ^ 0x80]) + sealed[i][-31:]
        self.sealed = Batch.join(sealed)
        self.associated = Batch.join([b""] * 9)

    def test_wrong_tags_give_zeros(self) -> None:
        """A message with a wrong tag has flag 0 and decrypts to zeros, in its own blocks and no others."""
        keys = rows(self.keys, 64)
        ok = self.engine.verify(keys, self.associated, self.sealed)
        self.assertEqual(ok.tolist(), [0, 1] * 4 + [0])
        blocks = (self.sealed.lengths - 48) // 16
        padded, block_at = self.engine.decrypt_blocks(keys, 16, 8, ok[:0], self.sealed, 16, blocks, ok)
        found = [padded[16 * a : 16 * b].tobytes() for a, b in pairwise(block_at.tolist())]
        expected = [aead.pad(text) for text in self.texts]
        expected[::2] = [bytes(len(text)) for text in expected[::2]]
        self.assertEqual(found, expected)

    def test_wrong_padding_is_wiped(self) -> None:
        """A message with a true tag over wrong padding loses its flag, its length and its text; others do not."""
        key, body = self.keys[0], bytes(16)
        body += Cipher(AES(key[32:]), CBC(body)).encryptor().update(b"secret of the first block" + b"\x08" * 7)
        bad = body + aead.tag(key, b"", body)
        good = aead.seal(key, b"", b"good")
        batch, keys = Batch.join([good, bad, good]), rows([key], 64)
        ok = self.engine.verify(keys, self.associated[:3], batch)
        self.assertEqual(ok.tolist(), [1, 1, 1])
        padded, block_at = self.engine.decrypt_blocks(keys, 0, 8, ok[:0], batch, 16, np.array([1, 2, 1]), ok)
        self.assertIn(b"secret", padded.tobytes())
        lengths = self.engine.check_padding(padded, block_at, ok)
        self.assertEqual((ok.tolist(), lengths.tolist()), ([1, 0, 1], [4, 0, 4]))
        self.assertEqual(padded.tobytes(), aead.pad(b"good") + bytes(32) + aead.pad(b"good"))

    def test_every_padding(self) -> None:
        """Of all last blocks that end in one to sixteen equal bytes, exactly the true paddings are accepted."""
        count_of = [(byte, run) for byte in range(19) for run in range(1, 17)]
        last = [b"\xee" * (16 - run) + bytes([byte]) * run for byte, run in count_of]
        ok = np.ones(len(last), np.uint8)
        padded = np.frombuffer(bytearray(b"".join(last)), np.uint8)
        lengths = self.engine.check_padding(padded, np.arange(len(last) + 1, dtype=np.uint32), ok)
        expected = [aead.unpad(block) for block in last]
        self.assertEqual(ok.tolist(), [int(text is not None) for text in expected])
        self.assertEqual(lengths.tolist(), [len(text or b"") for text in expected])


class BarrierTests(HostTestCase):
    """The fibers give barriers their meaning."""

    def test_return_before_a_barrier(self) -> None:
        """Threads that wait for one that has ended are an error, where a device would hang."""
        barrier = "    __syncthreads();"
        leaving = Mutation("cbc_encrypt.cu", barrier, "    if (threadIdx.x == 31) return;\n" + barrier)
        with self.assertRaises(DivergedError):
            disagreements(HostKernelEngine(built(leaving)), 1, 10)
