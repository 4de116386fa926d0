"""The native engine keeps the contract; its C refuses what Python would never pass, and is sanitized."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from random import Random
from shutil import which
from threading import Thread
from typing import Any
from unittest import SkipTest

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead, native
from securechat.crypto.aead import CryptoError
from securechat.crypto.batch import Batch
from securechat.crypto.engine import MAX_ITEM_BYTES, Engine
from securechat.crypto.native import NativeEngine
from tests.crypto import contract, vectors
from tests.crypto.contract import rows

SOURCE = Path(native.__file__).with_name("_native.c")
CHECKOUT = Path(native.__file__).resolve().parents[2]
MARK = 0xA5
"""What output buffers are filled with, to see what was written."""


def extension() -> Any:
    """Give the extension, or skip the test with the reason why there is none."""
    reason = native.why_not()
    if reason is not None:
        raise SkipTest(f"no native engine: {reason}")
    return native._native


class NativeContract(contract.EngineContract):
    """The native engine."""

    def make_engine(self) -> Engine:
        """Give a native engine."""
        extension()
        return NativeEngine()


class ThreadedContract(contract.EngineContract):
    """The native engine with more threads than processors."""

    def make_engine(self) -> Engine:
        """Give one with seven threads."""
        extension()
        return NativeEngine(7)

    def test_many_items_on_many_threads(self) -> None:
        """A batch that all threads share agrees with the reference, item for item, forged ones refused."""
        count = 10_000
        texts = [self.random.randbytes(self.random.randrange(1_500)) for _ in range(count)]
        keys, ivs = self.several(count, 64), self.several(count, 16)
        associated = [b"%d" % i for i in range(count)]
        sealed = self.engine.seal_list(keys, associated, texts, ivs)
        self.assertTrue(sealed == list(map(aead.seal, keys, associated, texts, ivs)))
        packed = Batch.join(sealed), Batch.join(associated), rows(keys, 64)
        self.assertTrue(self.engine.seal(packed[2], rows(ivs, 16), packed[1], Batch.join(texts)).split() == sealed)
        forged = [item[:-1] + bytes([item[-1] ^ (i % 3 == 0)]) for i, item in enumerate(sealed)]
        expected = [None if i % 3 == 0 else text for i, text in enumerate(texts)]
        self.assertTrue(self.engine.open_list(keys, associated, forged) == expected)
        opened, ok = self.engine.open(packed[2], packed[1], Batch.join(forged))
        self.assertEqual(ok.tolist(), [text is not None for text in expected])
        self.assertTrue(opened.split() == [text or b"" for text in expected])

    def test_engines_in_several_threads(self) -> None:
        """Several engines at work at once, each on threads of its own, do not disturb each other."""
        texts = [self.random.randbytes(200) for _ in range(5_000)]
        keys, empty = self.several(5_000, 64), [b""] * 5_000
        found: list[bool] = []

        def round_trip() -> None:
            engine = NativeEngine(3)
            found.append(engine.open_list(keys, empty, engine.seal_list(keys, empty, texts)) == texts)

        threads = [Thread(target=round_trip) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(found, [True] * 4)


class ConstructionTests(SynchronousTestCase):
    """Making the engine, or not."""

    def test_not_built(self) -> None:
        """Without the extension, the reason says what to install."""

        def load(name: str) -> object:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        self.assertEqual(native.why_not(load), native.NOT_BUILT)

    def test_not_loadable(self) -> None:
        """An extension whose library is gone gives the loader's words, in one line."""

        def load(name: str) -> object:
            raise ImportError("libcrypto.so.3: cannot open\nshared object file")

        reason = native.why_not(load)
        self.assertEqual(reason, "its C extension cannot be loaded: libcrypto.so.3: cannot open shared object file")

    def test_other_version(self) -> None:
        """An extension that speaks of another interface, or of none, is not used."""
        self.assertEqual(native.why_not(lambda name: object()), native.OTHER_VERSION)

    def test_engine_without_extension(self) -> None:
        """Where it cannot be used, making the engine is an error with the reason."""
        self.patch(native, "why_not", lambda: "no compiler")
        with self.assertRaisesRegex(CryptoError, "^no compiler$"):
            NativeEngine()

    def test_threads(self) -> None:
        """Less than one thread is refused."""
        with self.assertRaisesRegex(ValueError, "^threads: "):
            NativeEngine(0)

    def test_processors(self) -> None:
        """Where the system does not tell which processors are ours, all of them count, or one."""
        self.patch(native, "os", os)
        self.assertGreaterEqual(native._processors(), 1)

        class OtherSystem:
            def cpu_count(self) -> int | None:
                return None

        self.patch(native, "os", OtherSystem())
        self.assertEqual(native._processors(), 1)


class BufferTests(SynchronousTestCase):
    """The C functions, called as the engine would never call them."""

    def setUp(self) -> None:
        """Make the arguments of good calls for two items, in the order of the C functions."""
        self.native = extension()
        random = Random(9)
        self.keys, self.ivs = random.randbytes(128), random.randbytes(32)
        self.texts = [b"first text", b"the second text is longer"]
        split = [self.keys[:64], self.keys[64:]], [b"a", b"bc"], self.texts, [self.ivs[:16], self.ivs[16:]]
        self.sealed = list(map(aead.seal, *split))

    def offsets(self, *values: int) -> bytearray:
        """Give offsets as a buffer."""
        return bytearray(np.array(values, np.int64).tobytes())

    def test_places(self) -> None:
        """Places are those of sealed or encrypted items, wherever in their buffer the texts lie."""
        for sealed, expected in ((True, (0, 64, 144, 224)), (False, (0, 16, 48, 80))):
            found = self.offsets(*[MARK] * 4)
            end = self.native.places(self.offsets(5, 15, 40, 56), found, sealed)
            self.assertEqual((end, bytes(found)), (expected[-1], bytes(self.offsets(*expected))))

    def test_no_places(self) -> None:
        """There are none for offsets that are none, not as many, not in order, or of too long an item."""
        good = self.offsets(0, 10)
        for wrong, room in (
            (b"", b""),
            (good, self.offsets(0)),
            (good[:-1], good[:-1]),
            (self.offsets(1, 0), good),
            (self.offsets(-1, 0), good),
            (self.offsets(0, MAX_ITEM_BYTES + 1), good),
        ):
            with self.assertRaisesRegex(ValueError, "^offsets: "):
                self.native.places(wrong, bytearray(room), True)

    def sealing(self, **changed: object) -> dict[str, object]:
        """Give the arguments of `seal`."""
        return {
            "keys": self.keys,
            "key_stride": 64,
            "ivs": self.ivs,
            "aad": b"abc",
            "aad_off": self.offsets(0, 1, 3),
            "text": b"".join(self.texts),
            "text_off": self.offsets(0, 10, 35),
            "out": bytearray([MARK] * 144),
            "out_off": self.offsets(0, 64, 144),
            "threads": 2,
        } | changed

    def opening(self, **changed: object) -> dict[str, object]:
        """Give the arguments of `open`."""
        return {
            "keys": self.keys,
            "key_stride": 64,
            "aad": b"abc",
            "aad_off": self.offsets(0, 1, 3),
            "sealed": b"".join(self.sealed),
            "sealed_off": self.offsets(0, 64, 144),
            "out": bytearray([MARK] * 144),
            "out_off": bytearray([MARK] * 24),
            "ok": bytearray([MARK] * 2),
            "threads": 2,
        } | changed

    def raw(self, way: str, **changed: object) -> dict[str, object]:
        """Give the arguments of `encrypt` or `decrypt`, over the texts as they are or one block."""
        given = {
            "keys": self.keys[:64],
            "key_stride": 32,
            "ivs": self.ivs,
            "text": bytes(32),
            "text_off": self.offsets(0, 16, 32),
            "out": bytearray([MARK] * 64),
            "out_off": self.offsets(0, 32, 64),
        }
        if way == "decrypt":
            given["ok"] = bytearray([MARK] * 2)
        return given | {"threads": 1} | changed

    def assert_refused(
        self,
        error: type[Exception] | tuple[type[Exception], ...],
        call: Callable[..., object],
        arguments: dict[str, Any],
    ) -> None:
        """Expect an error, and no buffer touched."""
        before = {name: bytes(value) for name, value in arguments.items() if isinstance(value, bytearray)}
        with self.assertRaises(error):
            call(*arguments.values())
        for name, value in before.items():
            self.assertEqual(arguments[name], value, name)

    def test_good_calls(self) -> None:
        """The arguments that the other tests change are good ones."""
        arguments: dict[str, Any] = self.sealing()
        self.native.seal(*arguments.values())
        self.assertEqual(arguments["out"], b"".join(self.sealed))
        arguments = self.opening()
        self.native.open(*arguments.values())
        self.assertEqual(arguments["ok"], b"\x01\x01")
        self.assertEqual(arguments["out_off"], self.offsets(0, 10, 35))
        self.assertEqual(arguments["out"], b"".join(self.texts) + bytes(54) + bytes([MARK] * 55))
        for way in ("encrypt", "decrypt"):
            getattr(self.native, way)(*self.raw(way).values())

    def test_offsets(self) -> None:
        """Offsets before, beyond or out of order, too few, too many or of half an item are refused."""
        bad = [
            self.offsets(-1, 10, 35),
            self.offsets(0, 36, 35),
            self.offsets(0, 10, 1_000),
            self.offsets(0, 2**62, 2**63 - 1),
            self.offsets(-(2**63), 0, 2**63 - 1),
            self.offsets(0, 10),
            self.offsets(0, 10, 20, 35),
            self.offsets(0, 10, 35)[:-1],
            self.offsets(),
            bytearray(7),
        ]
        for wrong in bad:
            for name in ("aad_off", "text_off", "out_off"):
                self.assert_refused(ValueError, self.native.seal, self.sealing(**{name: wrong}))
            for name in ("aad_off", "sealed_off"):
                self.assert_refused(ValueError, self.native.open, self.opening(**{name: wrong}))
            for way in ("encrypt", "decrypt"):
                self.assert_refused(ValueError, getattr(self.native, way), self.raw(way, text_off=wrong))
        self.assert_refused(ValueError, self.native.open, self.opening(out_off=bytearray(16)))

    def test_sizes(self) -> None:
        """Keys, ivs, flags and places of a wrong size, and strides of another width, are refused."""
        for changed in (
            {"keys": self.keys[:-1]},
            {"keys": b""},
            {"key_stride": 0},
            {"key_stride": 32},
            {"key_stride": -64},
            {"ivs": self.ivs[1:]},
            {"out": bytearray([MARK] * 143)},
            {"out_off": self.offsets(0, 63, 143)},
            {"out_off": self.offsets(0, 65, 144)},
        ):
            self.assert_refused(ValueError, self.native.seal, self.sealing(**changed))
        for changed in ({"keys": self.keys + b"k"}, {"ok": bytearray(1)}, {"out": bytearray([MARK] * 143)}):
            self.assert_refused(ValueError, self.native.open, self.opening(**changed))
        self.assert_refused(ValueError, self.native.encrypt, self.raw("encrypt", key_stride=64))
        self.assert_refused(ValueError, self.native.decrypt, self.raw("decrypt", ivs=b""))

    def test_too_long_item(self) -> None:
        """An item longer than OpenSSL takes in one call is refused; its zeros are never touched."""
        path = Path(self.mktemp())
        with path.open("wb") as hole:
            hole.truncate(2**31)
        zeros = np.memmap(path, np.uint8, "r")
        bounds = self.offsets(0, 0, 2**31)
        self.assert_refused(ValueError, self.native.seal, self.sealing(text=zeros, text_off=bounds))
        self.assert_refused(ValueError, self.native.open, self.opening(aad=zeros, aad_off=bounds))

    def test_buffers(self) -> None:
        """Outputs that cannot be written to, strided arrays and what is no buffer are refused."""
        strided = np.full((144, 2), MARK, np.uint8)[:, 0]
        for name, wrong in (("out", bytes(144)), ("out", strided), ("text", strided), ("keys", "k"), ("ivs", None)):
            self.assert_refused(
                (TypeError, BufferError, ValueError), self.native.seal, self.sealing(**{name: wrong})
            )
        for name, wrong in (("ok", bytes(2)), ("out_off", bytes(24)), ("sealed", strided), ("threads", "two")):
            self.assert_refused(
                (TypeError, BufferError, ValueError), self.native.open, self.opening(**{name: wrong})
            )

    def test_forged_items_are_never_written(self) -> None:
        """Where tag or padding is wrong, not one byte of the output is touched, at any time."""
        key, text = self.keys[:64], b"secret block one" + b"secret block two" + b"a" * 14 + b"\x03\x02"
        body = bytes(16) + Cipher(AES(key[32:]), CBC(bytes(16))).encryptor().update(text)
        true = aead.seal(key, b"", text[:-1])
        for forged in (
            body + aead.tag(key, b"", body),
            *vectors.flipped(true),
            true[:-16],
            true[16:],
            true[1:],
            b"",
        ):
            room = max(len(forged), 1)
            ends: dict[str, object] = {"out": bytearray([MARK] * room), "out_off": bytearray(16)}
            arguments: dict[str, Any] = self.opening(keys=key, key_stride=0, aad=b"", aad_off=self.offsets(0, 0))
            arguments |= {
                "sealed": forged,
                "sealed_off": self.offsets(0, len(forged)),
                "ok": bytearray([MARK]),
            } | ends
            self.native.open(*arguments.values())
            self.assertEqual(arguments["out"], bytes([MARK] * room))
            self.assertEqual((arguments["ok"], arguments["out_off"]), (b"\x00", bytes(16)))

    def test_forged_item_after_a_good_one(self) -> None:
        """A good item's text is moved to its place, what it leaves is wiped, a forged one's room untouched."""
        forged = self.sealed[1][:-1] + bytes([self.sealed[1][-1] ^ 1])
        arguments: dict[str, Any] = self.opening(sealed=self.sealed[0] + forged)
        self.native.open(*arguments.values())
        self.assertEqual((arguments["ok"], arguments["out_off"]), (b"\x01\x00", self.offsets(0, 10, 10)))
        self.assertEqual(arguments["out"], self.texts[0] + bytes([MARK] * 134))
        second: dict[str, Any] = self.opening(sealed=bytes(64) + self.sealed[1])
        self.native.open(*second.values())
        self.assertEqual((second["ok"], second["out_off"]), (b"\x00\x01", self.offsets(0, 0, 25)))
        end = 64 + len(self.texts[1])
        self.assertEqual(second["out"][25:end], bytes(end - 25))
        self.assertEqual((second["out"][:25], second["out"][end:]), (self.texts[1], bytes([MARK] * (144 - end))))

    def test_lists(self) -> None:
        """The list functions give None for what is not described, and hold no reference to anything."""
        keys, additional = [self.keys[:64], self.keys[64:]], [b"a", b"bc"]
        good = self.native.seal_list(keys, additional, self.texts, self.ivs, 1)
        self.assertEqual(good, self.sealed)
        kept = [sys.getrefcount(item) for item in (*keys, *self.texts, *good)]
        for wrong_keys, wrong_additional, wrong_texts, wrong_ivs in (
            (keys[:1], additional, self.texts, self.ivs),
            ((*keys,), additional, self.texts, self.ivs),
            ([keys[0], keys[1][1:]], additional, self.texts, self.ivs),
            ([keys[0], None], additional, self.texts, self.ivs),
            (bytes(63), additional, self.texts, self.ivs),
            (keys, additional[:1], self.texts, self.ivs),
            (keys, [b"a", "bc"], self.texts, self.ivs),
            (keys, additional, [*self.texts, b""], self.ivs),
            (keys, additional, [self.texts[0], bytearray(2)], self.ivs),
            (keys, additional, (*self.texts,), self.ivs),
            (keys, additional, self.texts, self.ivs + b"i"),
            (keys, additional, self.texts, bytearray(self.ivs)),
        ):
            self.assertIsNone(self.native.seal_list(wrong_keys, wrong_additional, wrong_texts, wrong_ivs, 1))
            if wrong_texts is self.texts and wrong_ivs is self.ivs:
                self.assertIsNone(self.native.open_list(wrong_keys, wrong_additional, good, 1))
        self.assertEqual(self.native.open_list(keys, additional, good, 1), self.texts)
        self.assertEqual(kept, [sys.getrefcount(item) for item in (*keys, *self.texts, *good)])
        for call, arguments in (
            (self.native.seal_list, (keys, additional, self.texts, self.ivs)),
            (self.native.open_list, (keys, additional, good)),
            (self.native.seal_list, (keys, additional, self.texts, self.ivs, "two")),
        ):
            with self.assertRaises(TypeError):
                call(*arguments)


class SanitizerTests(SynchronousTestCase):
    """The C code under the address and undefined-behaviour sanitizers."""

    def test_sanitizers_are_silent(self) -> None:
        """Good, bad and failing calls of every function, on one thread and many, break no rule and leak nothing."""
        compiler = which("gcc")
        if compiler is None:
            raise SkipTest("no gcc")
        runtime = subprocess.run(
            [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()
        if not Path(runtime).is_absolute():
            raise SkipTest("gcc has no address sanitizer")
        extension()  # without the headers, there is nothing to build
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        built = folder / "_native.so"
        include = f"-I{sysconfig.get_path('include')}"
        flags = ["-g", "-O1", "-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        warnings = ["-Wall", "-Wextra", "-Wno-cast-function-type", "-Werror"]
        faults = ["-include", str(Path(__file__).with_name("faults.h"))]
        link = ["-shared", "-fPIC", "-pthread", str(SOURCE), "-lcrypto", "-o", str(built)]
        done = subprocess.run(
            [compiler, *flags, *warnings, include, *faults, *link],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        script = Path(__file__).with_name("sanitized.py")
        environment = os.environ | {
            "LD_PRELOAD": runtime,
            # Python itself leaks at its end: only a leak with a frame of ours counts, looked for below.
            "ASAN_OPTIONS": "detect_leaks=1:fast_unwind_on_malloc=0:allocator_may_return_null=1",
            "LSAN_OPTIONS": "exitcode=0",
            "PYTHONMALLOC": "malloc",
            "PYTHONPATH": str(CHECKOUT),
        }
        done = subprocess.run(
            [sys.executable, str(script), str(built)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
        )
        self.assertEqual((done.returncode, done.stdout), (0, "all done\n"), done.stderr[-4000:])
        ours = [line for line in done.stderr.splitlines() if "_native" in line]
        self.assertEqual(ours, [], done.stderr[-4000:])
