"""The contract that every engine keeps, as a test case to inherit from: give `make_engine`.

Agreement is with aead, the implementation for one message, which has published vectors of its own.
"""

import subprocess
from collections.abc import Callable
from hashlib import sha512
from pathlib import Path
from random import Random
from shutil import which
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.engine import MAX_ITEM_BYTES, MAX_TOTAL_BYTES, Engine
from tests.crypto import vectors

LONGEST = 64 * 1024


def rows(items: list[bytes], width: int) -> Bytes:
    """Give byte strings of one length as the rows of an array that can be written to."""
    return np.frombuffer(bytearray(b"".join(items)), np.uint8).reshape(-1, width)


class EngineContract(SynchronousTestCase):
    """All that an engine promises."""

    def make_engine(self) -> Engine:
        """Give a new engine."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make the engine, and random material that is the same in every run."""
        self.engine = self.make_engine()
        self.addCleanup(self.engine.close)
        self.random = Random(7518)

    def several(self, count: int, width: int) -> list[bytes]:
        """Give `count` random byte strings of one length."""
        return [self.random.randbytes(width) for _ in range(count)]

    def assert_agrees(self, count: int, longest: int) -> None:
        """Seal and open a ragged batch, both ways in, own keys and one key; compare with the reference."""
        texts = vectors.ragged(self.random, count, longest)
        associated = vectors.ragged(self.random, count, 300)
        ivs = self.several(count, 16)
        own = self.several(count, 64)
        one = self.random.randbytes(64)
        packed_ivs, packed_associated = rows(ivs, 16), Batch.join(associated)
        for keys in (own, [one] * count):
            expected = list(map(aead.seal, keys, associated, texts, ivs))
            shapes = [rows(keys, 64)]
            if keys is not own:
                shapes += [rows([one], 64), np.frombuffer(one, np.uint8)]
            for packed_keys in shapes:
                sealed = self.engine.seal(packed_keys, packed_ivs, packed_associated, Batch.join(texts))
                self.assertTrue(sealed.split() == expected)
                opened, ok = self.engine.open(packed_keys, packed_associated, sealed)
                self.assertEqual(ok.dtype, np.bool_)
                self.assertEqual(ok.tolist(), [True] * count)
                self.assertTrue(opened.split() == texts)
            key_list = keys if keys is own else one
            self.assertTrue(self.engine.seal_list(key_list, associated, texts, ivs) == expected)
            self.assertTrue(self.engine.open_list(key_list, associated, expected) == texts)

    def test_small_batches_agree(self) -> None:
        """Ragged batches of none, one, two and around a warp's 32 items give the reference's bytes."""
        for count in (0, 1, 2, 31, 32, 33):
            self.assert_agrees(count, LONGEST)

    def test_large_batch_agrees(self) -> None:
        """So does one of more than a thousand items."""
        self.assert_agrees(1_031, 4_096)

    def test_ten_thousand_agree(self) -> None:
        """So do ten thousand short ones."""
        self.assert_agrees(10_000, 64)

    def test_every_length_agrees(self) -> None:
        """So do texts of every length over several blocks of cipher and hash."""
        texts = [bytes(range(n)) for n in range(200)]
        keys, ivs = self.several(200, 64), self.several(200, 16)
        associated = [bytes(199 - n) for n in range(200)]
        sealed = self.engine.seal_list(keys, associated, texts, ivs)
        self.assertTrue(sealed == list(map(aead.seal, keys, associated, texts, ivs)))

    def test_long_item_among_short_ones(self) -> None:
        """An item of a megabyte among short ones seals and opens like the others."""
        texts = [b"short", self.random.randbytes(1 << 20), b"", b"short again"]
        for keys in (self.several(1, 64)[0], self.several(4, 64)):
            sealed = self.engine.seal_list(keys, [b""] * 4, texts)
            self.assertTrue(self.engine.open_list(keys, [b""] * 4, sealed) == texts)

    def test_rfc7518_b3(self) -> None:
        """The vector of RFC 7518, B.3 seals and opens as published."""
        key, associated = vectors.RFC7518_B3_KEY, [vectors.RFC7518_B3_ASSOCIATED] * 3
        texts, sealed = [vectors.RFC7518_B3_PLAINTEXT] * 3, [vectors.RFC7518_B3_SEALED] * 3
        for keys in (key, [key] * 3):
            self.assertEqual(self.engine.seal_list(keys, associated, texts, [vectors.RFC7518_B3_IV] * 3), sealed)
            self.assertEqual(self.engine.open_list(keys, associated, sealed), texts)

    def test_tags_are_rfc4231(self) -> None:
        """Tags are made by the very HMAC-SHA-512 that gives the vectors of RFC 4231, over what RFC 7518 says.

        Those vectors can't go through an engine themselves: what it authenticates ends in a length.
        """
        cases = vectors.rfc4231()
        self.assertEqual(len(cases), 6)
        for case in cases:
            self.assertEqual(hmac_sha512(case.key, case.message), case.tag)
        short = [case for case in cases if len(case.key) <= 32]
        keys = [case.key.ljust(32, b"\x00") + self.random.randbytes(32) for case in short]
        associated = [self.random.randbytes(40 * i) for i in range(len(keys))]
        sealed = self.engine.seal_list(keys, associated, [case.message for case in short])
        for case, extra, item in zip(short, associated, sealed, strict=True):
            bits = (8 * len(extra)).to_bytes(8, "big")
            self.assertEqual(hmac_sha512(case.key, extra + item[:-32] + bits)[:32], item[-32:])

    def test_fresh_ivs(self) -> None:
        """Where no ivs are given, no two items of a batch or of two batches share one."""
        key, texts = self.random.randbytes(64), [b"same"] * 40
        sealed = [item for _ in range(2) for item in self.engine.seal_list(key, [b""] * 40, texts)]
        self.assertEqual(len({item[:16] for item in sealed}), 80)

    def test_cavp(self) -> None:
        """NIST's CAVP vectors for AES-256-CBC encrypt and decrypt, under own keys in one batch."""
        for name in vectors.CAVP_FILES:
            cases = vectors.cavp(name)
            self.assertGreater(len(cases), 9)
            keys, ivs = rows([case.key for case in cases], 32), rows([case.iv for case in cases], 16)
            encrypted = self.engine.encrypt(keys, ivs, Batch.join(case.plaintext for case in cases))
            for case, ciphertext in zip(cases, encrypted, strict=True):
                self.assertEqual(len(ciphertext), len(case.ciphertext) + 16)
                self.assertEqual(ciphertext[:-16], case.ciphertext)
            padded = [case.ciphertext + last_block(case) for case in cases]
            decrypted, ok = self.engine.decrypt(keys, ivs, Batch.join(padded))
            self.assertTrue(ok.all())
            self.assertEqual(decrypted.split(), [case.plaintext for case in cases])

    def test_raw_round_trip(self) -> None:
        """Raw encryption of a ragged batch agrees with `cryptography`, and decrypts; one key or own keys."""
        texts = vectors.ragged(self.random, 65, 2_000)
        ivs = self.several(65, 16)
        one = self.random.randbytes(32)
        for keys, shape in (
            (own := self.several(65, 32), rows(own, 32)),
            ([one] * 65, rows([one], 32)),
            ([one] * 65, np.frombuffer(one, np.uint8)),
        ):
            encrypted = self.engine.encrypt(shape, rows(ivs, 16), Batch.join(texts))
            expected = [
                Cipher(AES(key), CBC(iv)).encryptor().update(aead.pad(text))
                for key, iv, text in zip(keys, ivs, texts, strict=True)
            ]
            self.assertTrue(encrypted.split() == expected)
            decrypted, ok = self.engine.decrypt(shape, rows(ivs, 16), encrypted)
            self.assertTrue(ok.all())
            self.assertTrue(decrypted.split() == texts)

    def test_raw_refusals(self) -> None:
        """Raw ciphertexts of a wrong length or with malformed padding come back empty, False; no others."""
        key, iv = self.random.randbytes(32), self.random.randbytes(16)
        cipher = Cipher(AES(key), CBC(iv))
        blocks = [b"\x01" * 16, b"a" * 15 + b"\x00", b"a" * 15 + b"\x11", b"a" * 14 + b"\x03\x02", b"\x10" * 16]
        items = [cipher.encryptor().update(block) for block in blocks]
        items += [b"", items[0][:15], items[0] + b"x"]
        for keys in (rows([key], 32), rows([key] * len(items), 32)):
            texts, ok = self.engine.decrypt(keys, rows([iv] * len(items), 16), Batch.join(items))
            self.assertEqual(ok.tolist(), [True, False, False, False, True, False, False, False])
            self.assertEqual(texts.split(), [b"\x01" * 15, *[b""] * 7])

    def test_openssl_decrypts_ours(self) -> None:
        """What `encrypt` gives, `openssl enc -d` decrypts."""
        key, iv, text = self.random.randbytes(32), self.random.randbytes(16), b"over to openssl"
        encrypted = self.engine.encrypt(rows([key], 32), rows([iv], 16), Batch.join([text]))
        self.assertEqual(self.openssl("-d", key, iv, encrypted[0]), text)

    def test_openssl_encrypts_for_us(self) -> None:
        """What `openssl enc` gives, `decrypt` decrypts."""
        key, iv, text = self.random.randbytes(32), self.random.randbytes(16), b"back from openssl"
        items = Batch.join([self.openssl("-e", key, iv, text)])
        decrypted, ok = self.engine.decrypt(rows([key], 32), rows([iv], 16), items)
        self.assertEqual((decrypted.split(), ok.tolist()), ([text], [True]))

    def openssl(self, way: str, key: bytes, iv: bytes, data: bytes) -> bytes:
        """Run `openssl enc -aes-256-cbc`. It must be there: a check that is skipped checks nothing."""
        program = which("openssl")
        if program is None:
            self.fail("the openssl program is needed for this test, and is not on the PATH")
        command = [program, "enc", "-aes-256-cbc", way, "-K", key.hex(), "-iv", iv.hex()]
        return subprocess.run(command, input=data, capture_output=True, check=True, timeout=30).stdout

    def assert_none_opens(self, keys: list[bytes], associated: list[bytes], sealed: list[bytes]) -> None:
        """Expect all refused, every way in, and a good item in their midst opened all the same."""
        at = len(sealed) // 2
        key = keys[at]
        good = aead.seal(key, b"good", b"good text")
        keys = [*keys[:at], key, *keys[at:]]
        associated = [*associated[:at], b"good", *associated[at:]]
        sealed = [*sealed[:at], good, *sealed[at:]]
        expected = [None] * len(sealed)
        ways: list[tuple[bytes | list[bytes], Bytes]] = [(keys, rows(keys, 64))]
        if len(set(keys)) == 1:
            ways.append((key, rows([key], 64)))
        for key_list, packed_keys in ways:
            found = self.engine.open_list(key_list, associated, sealed)
            self.assertEqual(found.pop(at), b"good text")
            self.assertEqual(found, expected[:-1])
            texts, ok = self.engine.open(packed_keys, Batch.join(associated), Batch.join(sealed))
            self.assertEqual(np.flatnonzero(ok).tolist(), [at])
            self.assertEqual(texts.total_bytes, len(b"good text"))
            self.assertEqual(texts[at], b"good text")

    def test_every_bit(self) -> None:
        """A small message with any bit of iv, ciphertext or tag changed is refused."""
        for text in (b"", b"meet at noon", bytes(16), b"a little more than two blocks long"):
            key = self.random.randbytes(64)
            changed = vectors.flipped(aead.seal(key, b"to bob", text))
            self.assert_none_opens([key] * len(changed), [b"to bob"] * len(changed), changed)

    def test_every_bit_of_associated_data(self) -> None:
        """So it is with any bit of its associated data changed, and with none or more of it."""
        key = self.random.randbytes(64)
        sealed = aead.seal(key, b"to bob", b"meet at noon")
        changed = [*vectors.flipped(b"to bob"), b"", b"to bo", b"to bob\x00", b"o bob"]
        self.assert_none_opens([key] * len(changed), changed, [sealed] * len(changed))

    def test_every_bit_of_the_mac_key(self) -> None:
        """So it is under a key with any bit of its MAC half changed."""
        key = self.random.randbytes(64)
        sealed = aead.seal(key, b"", b"meet at noon")
        changed = [mac_key + key[32:] for mac_key in vectors.flipped(key[:32])]
        self.assert_none_opens(changed, [b""] * len(changed), [sealed] * len(changed))

    def test_every_truncation(self) -> None:
        """So it is cut anywhere, at either end, or grown by up to a block."""
        key = self.random.randbytes(64)
        sealed = aead.seal(key, b"", b"three blocks of text, padding included")
        changed = [sealed[:n] for n in range(len(sealed))] + [sealed[n:] for n in range(1, len(sealed))]
        changed += [sealed + bytes(n) for n in range(1, 17)] + [bytes(n) + sealed for n in range(1, 17)]
        self.assert_none_opens([key] * len(changed), [b""] * len(changed), changed)

    def test_neighbours_keys_tags_and_ivs(self) -> None:
        """So it is with another item's key, associated data, iv, ciphertext or tag."""
        keys, associated = self.several(2, 64), [b"first", b"second"]
        one, two = map(aead.seal, keys, associated, [b"to the first", b"to the other"])
        swapped = [two[:16] + one[16:], one[:16] + two[16:-32] + one[-32:], one[:-32] + two[-32:], two]
        self.assert_none_opens([keys[0]] * 4, [associated[0]] * 4, swapped)
        self.assert_none_opens([keys[1]], [associated[0]], [one])
        self.assert_none_opens([keys[0]], [associated[1]], [one])

    def test_true_tag_on_bad_padding(self) -> None:
        """A message with a true tag over malformed padding is refused like any other."""
        key = self.random.randbytes(64)
        sealed = []
        for last in (bytes(16), b"\x11" * 16, b"a" * 14 + b"\x03\x02"):
            body = bytes(16) + Cipher(AES(key[32:]), CBC(bytes(16))).encryptor().update(last)
            sealed.append(body + aead.tag(key, b"", body))
        self.assert_none_opens([key] * 3, [b""] * 3, sealed)

    def test_good_among_bad(self) -> None:
        """In a batch where every third message was changed, exactly the others open, in their places."""
        texts = vectors.ragged(self.random, 100, 700)
        for keys in (self.random.randbytes(64), self.several(100, 64)):
            sealed = self.engine.seal_list(keys, [b""] * 100, texts)
            for i in range(0, 100, 3):
                sealed[i] = sealed[i][:-1] + bytes([sealed[i][-1] ^ 1])
            expected = [None if i % 3 == 0 else text for i, text in enumerate(texts)]
            self.assertEqual(self.engine.open_list(keys, [b""] * 100, sealed), expected)

    def test_inputs_may_overlap(self) -> None:
        """One array may serve as several arguments, and none is written to."""
        table = rows(self.several(8, 96), 96)
        text = Batch(table.reshape(-1), np.arange(0, 8 * 96 + 1, 96))
        before = table.tobytes()
        sealed = self.engine.seal(table[:, :64], table[:, 64:80], text, text)
        expected = [aead.seal(row[:64], row, row, row[64:80]) for row in text]
        self.assertEqual(sealed.split(), expected)
        opened, ok = self.engine.open(table[:, :64], text, sealed)
        self.assertTrue(ok.all())
        self.assertEqual(opened.split(), text.split())
        both, ok = self.engine.open(table[:, :64], sealed, sealed)
        self.assertEqual((both.total_bytes, ok.any()), (0, False))
        self.assertEqual(table.tobytes(), before)

    def test_inputs_may_have_strides(self) -> None:
        """Keys and ivs may be any view: every other row, columns, backwards, not writable."""
        keys, ivs = rows(self.several(10, 64), 64), rows(self.several(10, 16), 16)
        texts = Batch.join(vectors.ragged(self.random, 5, 100))
        none = Batch.join([b""] * 5)
        plain = self.engine.seal(keys[::2].copy(), ivs[::-2].copy(), none, texts)
        keys.flags.writeable = False
        fortran = np.asfortranarray(ivs)
        strided = self.engine.seal(keys[::2], fortran[::-2], none, texts)
        self.assertEqual(strided.split(), plain.split())
        self.assertTrue(self.engine.open(keys[::2], none, strided)[1].all())

    def test_runs_of_larger_batches(self) -> None:
        """Batches that begin and end inside their buffers give the same as batches of their own."""
        texts = Batch.join(vectors.ragged(self.random, 20, 100))[5:15]
        associated = Batch.join(vectors.ragged(self.random, 20, 100))[8:18]
        keys, ivs = rows(self.several(10, 64), 64), rows(self.several(10, 16), 16)
        sealed = self.engine.seal(keys, ivs, associated, texts)
        own = self.engine.seal(keys, ivs, Batch.join(associated), Batch.join(texts))
        self.assertEqual(sealed.split(), own.split())
        opened, ok = self.engine.open(keys[2:8], associated[2:8], sealed[2:8])
        self.assertTrue(ok.all())
        self.assertEqual(opened.split(), texts.split()[2:8])

    def test_lists_of_views(self) -> None:
        """Lists may be any sequences, and their items bytearrays and memoryviews; one key likewise."""
        engine: Any = self.engine
        key, text = bytearray(self.random.randbytes(64)), b"text"
        sealed = engine.seal_list(key, (bytearray(b"a"),), (memoryview(text),))
        self.assertEqual(aead.open(bytes(key), b"a", sealed[0]), text)
        opened = engine.open_list([memoryview(key)], [b"a"], [bytearray(sealed[0])])
        self.assertEqual(opened, [text])

    def assert_refused(
        self, error: type[Exception], name: str, call: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        """Expect an error that begins with the argument's name."""
        with self.assertRaisesRegex(error, f"^{name}"):
            call(*arguments)

    def test_wrong_arrays(self) -> None:
        """Keys and ivs of a wrong type, width, count or dimension are refused by name."""
        two = Batch.join([b"", b""])
        sealed = Batch.join([bytes(64), bytes(64)])
        bad: list[tuple[type[Exception], object, object]] = [
            (TypeError, bytes(128), bytes(32)),
            (TypeError, [bytes(64)] * 2, [bytes(16)] * 2),
            (TypeError, np.zeros((2, 64), np.int8), np.zeros((2, 16), np.int8)),
            (TypeError, np.zeros(64), np.zeros((2, 16), np.uint16)),
            (ValueError, np.zeros((2, 63), np.uint8), np.zeros((2, 15), np.uint8)),
            (ValueError, np.zeros((3, 64), np.uint8), np.zeros((1, 16), np.uint8)),
            (ValueError, np.zeros((0, 64), np.uint8), np.zeros((0, 16), np.uint8)),
            (ValueError, np.zeros(128, np.uint8), np.zeros(16, np.uint8)),
            (ValueError, np.zeros((1, 2, 64), np.uint8), np.zeros((1, 2, 16), np.uint8)),
        ]
        engine = self.engine
        key, keys, ivs = np.zeros(32, np.uint8), np.zeros((2, 64), np.uint8), np.zeros((2, 16), np.uint8)
        for error, wrong_keys, wrong_ivs in bad:
            calls: list[tuple[str, Callable[..., object], tuple[object, ...]]] = [
                ("keys: ", engine.seal, (wrong_keys, ivs, two, two)),
                ("keys: ", engine.open, (wrong_keys, two, sealed)),
                ("keys: ", engine.encrypt, (wrong_keys, ivs, two)),
                ("keys: ", engine.decrypt, (wrong_keys, ivs, sealed)),
                ("ivs: ", engine.seal, (keys, wrong_ivs, two, two)),
                ("ivs: ", engine.encrypt, (key, wrong_ivs, two)),
                ("ivs: ", engine.decrypt, (key, wrong_ivs, sealed)),
            ]
            for name, call, arguments in calls:
                self.assert_refused(error, name, call, arguments)

    def test_wrong_batches(self) -> None:
        """Batches of a wrong type or count are refused by name."""
        engine, two = self.engine, Batch.join([b"", b""])
        key, keys, ivs = np.zeros(32, np.uint8), np.zeros((2, 64), np.uint8), np.zeros((2, 16), np.uint8)
        one_less = two[:1]
        calls: list[tuple[type[Exception], str, Callable[..., object], tuple[object, ...]]] = [
            (TypeError, "plaintext: ", engine.seal, (keys, ivs, two, [b"", b""])),
            (TypeError, "associated: ", engine.seal, (keys, ivs, [b"", b""], two)),
            (ValueError, "associated: ", engine.seal, (keys, ivs, one_less, two)),
            (TypeError, "sealed: ", engine.open, (keys, two, b"")),
            (TypeError, "associated: ", engine.open, (keys, None, two)),
            (ValueError, "associated: ", engine.open, (keys, one_less, two)),
            (TypeError, "plaintext: ", engine.encrypt, (key, ivs, "")),
            (TypeError, "ciphertext: ", engine.decrypt, (key, ivs, 5)),
        ]
        for error, name, call, arguments in calls:
            self.assert_refused(error, name, call, arguments)

    def test_wrong_lists(self) -> None:
        """Lists of a wrong type, width or count are refused by name, before anything is sealed."""
        engine, key = self.engine, bytes(64)
        calls: list[tuple[type[Exception], str, Callable[..., object], tuple[object, ...]]] = [
            (TypeError, "plaintexts: ", engine.seal_list, (key, [b""], b"a")),
            (TypeError, "plaintexts: ", engine.seal_list, (key, [b""], None)),
            (TypeError, r"plaintexts\[1\]: ", engine.seal_list, (key, [b""] * 2, [b"", "text"])),
            (TypeError, r"plaintexts\[0\]: ", engine.seal_list, (key, [b""], [7])),
            (TypeError, r"associated\[0\]: ", engine.seal_list, (key, [None], [b""])),
            (ValueError, "associated: ", engine.seal_list, (key, [b""], [b""] * 2)),
            (ValueError, "keys: ", engine.seal_list, (bytes(32), [b""], [b""])),
            (ValueError, "keys: ", engine.seal_list, ([key], [b""] * 2, [b""] * 2)),
            (ValueError, "keys: ", engine.seal_list, ([key, bytes(63)], [b""] * 2, [b""] * 2)),
            (TypeError, "keys: ", engine.seal_list, (None, [b""], [b""])),
            (TypeError, r"keys\[0\]: ", engine.seal_list, (["k" * 64], [b""], [b""])),
            (ValueError, "ivs: ", engine.seal_list, (key, [b""], [b""], [])),
            (ValueError, "ivs: ", engine.seal_list, (key, [b""], [b""], [bytes(15)])),
            (TypeError, "ivs: ", engine.seal_list, (key, [b""], [b""], bytes(16))),
            (TypeError, "sealed: ", engine.open_list, (key, [b""], bytes(64))),
            (TypeError, r"sealed\[0\]: ", engine.open_list, (key, [b""], [None])),
            (ValueError, "associated: ", engine.open_list, (key, [], [bytes(64)])),
            (ValueError, "keys: ", engine.open_list, ([key] * 2, [b""], [bytes(64)])),
        ]
        for error, name, call, arguments in calls:
            self.assert_refused(error, name, call, arguments)

    def test_too_large(self) -> None:
        """An item too long for an int, and a batch too large to be counted in 32 bits, are refused by name."""
        path = Path(self.mktemp())
        with path.open("wb") as hole:
            hole.truncate(MAX_TOTAL_BYTES + 1)
        buffer = np.memmap(path, np.uint8, "r")
        engine, none, key = self.engine, Batch.join([b""]), np.zeros(64, np.uint8)
        for bounds in ([0, MAX_ITEM_BYTES + 1], [0, *range(1 << 30, 4 << 30, 1 << 30), MAX_TOTAL_BYTES + 1]):
            items = Batch(buffer, np.array(bounds, np.int64))
            associated = Batch.join([b""] * len(items))
            ivs = np.zeros((len(items), 16), np.uint8)
            calls: list[tuple[str, Callable[..., object], tuple[object, ...]]] = [
                ("plaintext: ", engine.seal, (key, ivs, associated, items)),
                ("sealed: ", engine.open, (key, associated, items)),
                ("plaintext: ", engine.encrypt, (key[:32], ivs, items)),
                ("ciphertext: ", engine.decrypt, (key[:32], ivs, items)),
            ]
            for name, call, arguments in calls:
                self.assert_refused(ValueError, name, call, arguments)
        large = Batch(buffer, np.array([0, MAX_ITEM_BYTES + 1], np.int64))
        ivs = np.zeros((1, 16), np.uint8)
        self.assert_refused(ValueError, "associated: ", engine.seal, (key, ivs, large, none))
        self.assert_refused(ValueError, "associated: ", engine.open, (key, large, none))

    def test_close_twice(self) -> None:
        """Closing twice does no harm, and a closed engine can be used again."""
        self.engine.close()
        self.engine.close()
        self.assertEqual(len(self.engine.seal_list(bytes(64), [b""], [b"text"])), 1)


def hmac_sha512(key: bytes, message: bytes) -> bytes:
    """Give HMAC-SHA-512 spelt out as RFC 2104 has it: for any key, on nothing but the hash."""
    if len(key) > 128:
        key = sha512(key).digest()
    padded = key.ljust(128, b"\x00")
    inner = sha512(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return sha512(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def last_block(case: vectors.CbcVector) -> bytes:
    """Encrypt the block of padding that follows a CAVP case's whole blocks."""
    return Cipher(AES(case.key), CBC(case.ciphertext[-16:])).encryptor().update(b"\x10" * 16)
