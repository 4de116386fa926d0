"""The CUDA engine on a device of the host: the engines' contract, and what happens when a device fails."""

import gc
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SkipTest, TestCase

from securechat.crypto import aead
from securechat.crypto.batch import Batch
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.cuda import MAX_ITEM_BYTES, WRONG_RESULTS, CudaEngine
from securechat.crypto.device import DeviceError, DeviceUnavailable
from securechat.crypto.engine import Engine
from securechat.crypto.page_locked import MIN_POOLED_BYTES
from securechat.crypto.pipeline import MIN_SLOT_BYTES
from tests.crypto import vectors
from tests.crypto.contract import EngineContract, rows
from tests.kernels.builds import built
from tests.kernels.host import NO_COMPILER, Mutation, have_compiler
from tests.kernels.host_device import HostDevice


class CudaContractTests(EngineContract):
    """The contract of the engines on the whole of the CUDA engine but PyCUDA."""

    def make_engine(self) -> Engine:
        """Give an engine on the unchanged kernels."""
        if not have_compiler():
            raise SkipTest(NO_COMPILER)
        return CudaEngine(lambda: HostDevice(built()))


class CrampedContractTests(EngineContract):
    """The same contract on a device whose memory holds three of the smallest slots and no more."""

    def make_engine(self) -> Engine:
        """Give an engine that has to halve its slots down to the least."""
        if not have_compiler():
            raise SkipTest(NO_COMPILER)
        return CudaEngine(lambda: HostDevice(built(), memory_limit=3 * MIN_SLOT_BYTES))


# Trial would run the contract itself, which has no engine.
del EngineContract


class WatchedCpu(CpuEngine):
    """A fallback that counts the items it is given."""

    def __init__(self) -> None:
        """Begin with none."""
        self.items = 0

    def seal(self, keys: Any, ivs: Any, associated: Batch, plaintext: Batch) -> Batch:
        """Seal and count."""
        self.items += len(plaintext)
        return super().seal(keys, ivs, associated, plaintext)

    def open(self, keys: Any, associated: Batch, sealed: Batch) -> Any:
        """Open and count."""
        self.items += len(sealed)
        return super().open(keys, associated, sealed)


class CudaTestCase(TestCase):
    """A CUDA engine whose device and fallback are watched, and some messages."""

    if not have_compiler():
        skip = NO_COMPILER

    def setUp(self) -> None:
        """Make random messages that are the same in every run."""
        self.random = Random(4)
        self.fallback = WatchedCpu()
        self.devices: list[HostDevice] = []
        self.taken_out = False

    def engine(self, **device: Any) -> CudaEngine:
        """Make an engine on a device of its own for each opening, all alike."""

        def open_device() -> HostDevice:
            if self.taken_out:
                raise DeviceUnavailable("it was taken out")
            self.devices.append(HostDevice(built(), **device))
            return self.devices[-1]

        engine = CudaEngine(open_device, self.fallback)
        self.addCleanup(engine.close)
        return engine

    def messages(self, count: int, longest: int) -> None:
        """Make messages, their sealed forms, and one in three forged."""
        self.texts = vectors.ragged(self.random, count, longest)
        self.associated = vectors.ragged(self.random, count, 100)
        self.keys = [self.random.randbytes(64) for _ in range(count)]
        self.ivs = [self.random.randbytes(16) for _ in range(count)]
        self.sealed = list(map(aead.seal, self.keys, self.associated, self.texts, self.ivs))
        self.forged = [
            item[:-1] + bytes([item[-1] ^ 1]) if i % 3 == 0 else item for i, item in enumerate(self.sealed)
        ]
        self.opened = [None if i % 3 == 0 else text for i, text in enumerate(self.texts)]

    def assert_right(self, engine: CudaEngine) -> None:
        """Expect the messages to seal and open as the reference does it."""
        self.assertEqual(engine.seal_list(self.keys, self.associated, self.texts, self.ivs), self.sealed)
        self.assertEqual(engine.open_list(self.keys, self.associated, self.forged), self.opened)


class FailureTests(CudaTestCase):
    """A device that fails at any moment loses nothing."""

    def test_every_call_that_can_fail(self) -> None:
        """Whichever call fails, and whenever: the results are right, the device is given up, one line tells it."""
        self.messages(4_000, 900)
        for call in (
            "launch",
            "copy_in",
            "copy_out",
            "clear",
            "wait",
            "record",
            "stream",
            "allocate",
            "free",
            "pin",
        ):
            healthy = self.engine()
            opened = self.devices[-1].counts.get(call, 0)
            self.assert_right(healthy)
            last = self.devices[-1].counts[call]
            self.assertGreater(last, opened, call)
            for after in {opened, (opened + last) // 2, last - 1}:
                with capturedLogs() as logged:
                    engine = self.engine(fail_at=call, fail_after=after)
                    self.assert_right(engine)
                    self.assertFalse(engine.usable, (call, after))
                    self.assertEqual(engine.why_lost, f"{call} failed")
                    done = self.fallback.items
                    self.assert_right(engine)
                self.assertEqual(self.fallback.items, done + 2 * len(self.texts))
                self.assertEqual(engine.stats.redone_batches, 1)
                errors = [event for event in logged if event["log_level"] is LogLevel.error]
                self.assertEqual([event["reason"] for event in errors], [f"{call} failed"])
                self.assertTrue(self.devices[-1].closed)

    def test_lost_for_good(self) -> None:
        """A device that was lost is not opened again, not even after closing."""
        self.messages(3, 50)
        engine = self.engine(fail_at="launch", fail_after=10)
        while engine.usable:
            self.assert_right(engine)
        engine.close()
        self.assert_right(engine)
        self.assertEqual(len(self.devices), 1)
        with self.assertRaisesRegex(DeviceError, "launch failed"):
            engine.lock(100)

    def test_not_there_again(self) -> None:
        """A device that can't be opened again after closing is lost, and the batch done on the CPU."""
        self.messages(5, 50)
        engine = self.engine()
        engine.close()
        self.taken_out = True
        self.assert_right(engine)
        self.assertEqual((engine.usable, engine.why_lost), (False, "it was taken out"))

    def test_cannot_be_opened(self) -> None:
        """Without a device there is no engine, and the reason is the device's."""
        self.taken_out = True
        with self.assertRaises(DeviceUnavailable) as caught:
            self.engine()
        self.assertEqual(caught.exception.reason, "it was taken out")

    def test_fails_while_opening(self) -> None:
        """A device that fails in the test before its first use is no device, and is closed."""
        for call in ("stream", "launch", "wait"):
            with self.assertRaises(DeviceUnavailable) as caught:
                self.engine(fail_at=call)
            self.assertEqual(caught.exception.reason, f"{call} failed")
            self.assertTrue(self.devices[-1].closed)

    def test_wrong_kernels(self) -> None:
        """Kernels that give other bytes than OpenSSL, or accept a forged tag, are never used."""
        half = "i < 8; ++i)\n                wrong"
        for mutation in (
            Mutation("sha512.cu", "rotate<41>", "rotate<42>"),
            Mutation("hmac.cu", half, half.replace("8", "7")),
            Mutation("pack_texts.cu", "i < 16; ++i", "i < 15; ++i"),
            Mutation("padding.cu", "ok[m] = padding ? 1 : 0;", "ok[m] = 1;"),
        ):
            device = HostDevice(built(mutation, flags=("-O0",)))
            with self.assertRaises(DeviceUnavailable) as caught:
                CudaEngine(lambda device=device: device)  # type: ignore[misc]
            self.assertEqual(caught.exception.reason, WRONG_RESULTS)
            self.assertTrue(device.closed)


class MemoryTests(CudaTestCase):
    """A device with too little memory does what it can."""

    def test_halves(self) -> None:
        """Where the slots do not fit they are halved until they do; nothing goes to the CPU."""
        self.messages(6_000, 500)
        engine = self.engine(memory_limit=3 << 20)
        self.assert_right(engine)
        self.assertGreater(engine.stats.halvings, 0)
        self.assertEqual((engine.usable, self.fallback.items, engine.stats.redone_batches), (True, 0, 0))

    def test_halves_for_locked_pages(self) -> None:
        """So they are where the host can't lock as much."""
        self.messages(6_000, 500)
        engine = self.engine(lock_limit=3 << 20)
        self.assert_right(engine)
        self.assertGreater(engine.stats.halvings, 0)
        self.assertEqual((engine.usable, self.fallback.items), (True, 0))
        self.assertEqual(len(self.devices[0].memory), 3)

    def test_no_memory_at_all(self) -> None:
        """Without memory for the smallest slots a batch goes to the CPU, and the next one tries again."""
        self.messages(50, 500)
        engine = self.engine()
        self.assert_right(engine)
        self.devices[0].memory_limit = 0
        self.messages(6_000, 500)
        self.assert_right(engine)
        self.assertEqual((engine.usable, self.fallback.items), (True, 12_000))
        self.devices[0].memory_limit = 1 << 30
        self.assert_right(engine)
        self.assertEqual((engine.usable, self.fallback.items), (True, 12_000))

    def test_grows_back(self) -> None:
        """Slots that were halved grow again once there is memory."""
        self.messages(6_000, 500)
        engine = self.engine(memory_limit=3 << 20)
        self.assert_right(engine)
        small = max(map(len, self.devices[0].memory.values()))
        self.devices[0].memory_limit = 1 << 30
        for _ in range(3):
            self.assert_right(engine)
        self.assertGreater(max(map(len, self.devices[0].memory.values())), small)


class LengthTests(CudaTestCase):
    """What goes to the device, and what doesn't."""

    def test_long_items_go_to_the_cpu(self) -> None:
        """Texts and associated data over the limit go to the CPU, exactly those, and come back in their places."""
        self.messages(40, 300)
        for i in (0, 7, 8, 39):
            self.texts[i] = self.random.randbytes(MAX_ITEM_BYTES + 1)
        self.associated[20] = self.random.randbytes(MAX_ITEM_BYTES + 1)
        self.texts[30] = self.random.randbytes(MAX_ITEM_BYTES)
        self.sealed = list(map(aead.seal, self.keys, self.associated, self.texts, self.ivs))
        engine = self.engine()
        self.assertEqual(engine.seal_list(self.keys, self.associated, self.texts, self.ivs), self.sealed)
        self.assertEqual((self.fallback.items, engine.stats.long_items, engine.stats.items), (5, 5, 35))
        forged = [item[:-1] + bytes([item[-1] ^ (i == 8)]) for i, item in enumerate(self.sealed)]
        expected = [None if i == 8 else text for i, text in enumerate(self.texts)]
        self.assertEqual(engine.open_list(self.keys, self.associated, forged), expected)

    def test_only_long_items(self) -> None:
        """A batch of long items alone never reaches the device."""
        self.texts, self.associated = [bytes(MAX_ITEM_BYTES + 1)] * 3, [b""] * 3
        engine = self.engine()
        launched = len(self.devices[0].launched)
        engine.open_list(bytes(64), self.associated, engine.seal_list(bytes(64), self.associated, self.texts))
        self.assertEqual((len(self.devices[0].launched), self.fallback.items), (launched, 6))

    def test_a_lower_limit(self) -> None:
        """The limit can be set lower, and not beyond what a slot holds."""
        engine = CudaEngine(lambda: HostDevice(built()), self.fallback, max_item_bytes=100)
        self.addCleanup(engine.close)
        engine.seal_list(bytes(64), [b""] * 2, [bytes(100), bytes(101)])
        self.assertEqual((engine.stats.items, engine.stats.long_items), (1, 1))
        for wrong in (0, MAX_ITEM_BYTES + 1):
            with self.assertRaisesRegex(ValueError, "^max_item_bytes: "):
                CudaEngine(self.fail, self.fallback, max_item_bytes=wrong)

    def test_nothing(self) -> None:
        """A batch of nothing is no work for the device."""
        engine = self.engine()
        launched = len(self.devices[0].launched)
        self.assertEqual(engine.seal_list([], [], []), [])
        self.assertEqual(len(self.devices[0].launched), launched)


class SecrecyTests(CudaTestCase):
    """What is left behind."""

    def remains(self, device: HostDevice) -> bytes:
        """Give all of the device's memory, and all locked memory, once all queued work is done."""
        for stream in device.streams:
            stream.run_to(len(stream.queue))
        return b"".join(part.tobytes() for part in [*device.memory.values(), *device.locked.values()])

    def test_nothing_is_left(self) -> None:
        """After a batch neither a key nor a text nor a round key is in the device's memory or in the slots."""
        engine = self.engine()
        key, text = self.random.randbytes(64), b"the secret is in this text" * 4
        sealed = engine.seal_list([key, key], [b"", b""], [text, text])
        self.assertEqual(engine.open_list([key, key], [b"", b""], sealed), [text, text])
        remains = self.remains(self.devices[0])
        self.assertGreaterEqual(len(remains), 6 * MIN_SLOT_BYTES)
        for what in (key[:32], key[32:], text[:16], text[16:32], sealed[0][16:32]):
            self.assertNotIn(what, remains)

    def test_nothing_is_left_by_a_failure(self) -> None:
        """A device that fails in the middle leaves nothing in the locked memory of the host."""
        self.messages(50, 100)
        engine = self.engine(fail_at="launch", fail_after=9)
        slots = list(self.devices[0].locked.values())
        self.assertEqual(len(slots), 3)
        self.assert_right(engine)
        self.assertFalse(engine.usable)
        self.assertFalse(any(slot.any() for slot in slots))


class LockedTests(CudaTestCase):
    """Memory with locked pages."""

    def test_straight_from_locked_memory(self) -> None:
        """A batch in memory of `lock` gives the same bytes, and goes to the device without a copy on the host."""
        self.messages(300, 300)
        engine = self.engine()
        joined = b"".join(self.texts)
        buffer = engine.lock(len(joined) + 100)
        self.assertEqual(buffer.tobytes(), bytes(len(joined) + 100))
        buffer[100:] = np.frombuffer(joined, np.uint8)
        offsets = np.cumsum([100, *map(len, self.texts)])
        seen: list[int] = []
        copy_in = HostDevice.copy_in

        def watched(device: HostDevice, to: int, source: Any, stream: Any) -> None:
            seen.append(source.ctypes.data)
            copy_in(device, to, source, stream)

        self.patch(HostDevice, "copy_in", watched)
        keys, ivs, associated = rows(self.keys, 64), rows(self.ivs, 16), Batch.join(self.associated)
        sealed = engine.seal(keys, ivs, associated, Batch(buffer, offsets))
        self.assertEqual(sealed.split(), self.sealed)
        self.assertIn(buffer.ctypes.data + 100, seen)
        both = Batch(buffer, offsets)
        self.assertEqual(
            engine.seal(keys, ivs, both, both).split(), list(map(aead.seal, self.keys, both, both, self.ivs))
        )

    def test_large_results_are_used_again(self) -> None:
        """The memory of a large result serves again when all views of it are gone, and not before."""
        engine = self.engine()
        keys, ivs = np.zeros((1, 64), np.uint8), np.zeros((200, 16), np.uint8)
        text = Batch(np.zeros(200 * 8_000, np.uint8), np.arange(0, 200 * 8_000 + 1, 8_000))
        none = Batch.join([b""] * 200)
        first = engine.seal(keys, ivs, none, text)
        self.assertGreater(first.total_bytes, MIN_POOLED_BYTES)
        place, expected = first.buffer.ctypes.data, first[199]
        view = first[199:]
        del first
        gc.collect()
        second = engine.seal(keys, ivs, none, text)
        self.assertNotEqual(second.buffer.ctypes.data, place)
        self.assertEqual(view[0], expected)
        del view
        gc.collect()
        third = engine.seal(keys, ivs, none, text)
        self.assertEqual(third.buffer.ctypes.data, place)
        self.assertEqual(third[199], expected)

    def test_opened_texts_are_wiped(self) -> None:
        """The memory of a large opened text is overwritten when all views of it are gone."""
        engine = self.engine()
        keys, ivs = np.zeros((1, 64), np.uint8), np.zeros((200, 16), np.uint8)
        text = Batch(np.full(200 * 8_000, 7, np.uint8), np.arange(0, 200 * 8_000 + 1, 8_000))
        none = Batch.join([b""] * 200)
        sealed = engine.seal(keys, ivs, none, text)
        opened, ok = engine.open(keys, none, sealed)
        self.assertTrue(ok.all())
        self.assertEqual(opened.split(), text.split())
        place = opened.buffer.ctypes.data
        memory = self.devices[0].locked[place]
        self.assertTrue(memory[: 200 * 8_000].all())
        del opened
        gc.collect()
        self.assertFalse(memory.any())

    def test_results_outlive_the_engine(self) -> None:
        """Results and locked memory stay valid when the engine is closed."""
        engine = self.engine()
        own = engine.lock(10)
        keys, ivs = np.zeros((1, 64), np.uint8), np.zeros((200, 16), np.uint8)
        text = Batch(np.zeros(200 * 8_000, np.uint8), np.arange(0, 200 * 8_000 + 1, 8_000))
        sealed = engine.seal(keys, ivs, Batch.join([b""] * 200), text)
        engine.close()
        self.assertEqual(self.devices[0].locked, {})
        self.assertEqual(aead.open(bytes(64), b"", sealed[3]), bytes(8_000))
        own[:] = 1


class ThreadTests(CudaTestCase):
    """One thread for the device, any thread for the engine."""

    def test_any_thread(self) -> None:
        """The engine serves several threads one after the other, and its device sees only one."""
        self.messages(20, 100)
        threads: set[int] = set()
        launch = HostDevice.launch

        def watched(device: HostDevice, *arguments: Any) -> None:
            threads.add(threading.get_ident())
            launch(device, *arguments)

        self.patch(HostDevice, "launch", watched)
        engine = self.engine()
        self.assert_right(engine)
        other = threading.Thread(target=self.assert_right, args=(engine,))
        other.start()
        other.join()
        self.assertEqual(len(threads), 1)
        self.assertNotIn(threading.get_ident(), threads)

    def test_closing_ends_the_thread(self) -> None:
        """Closing gives everything back on the device's thread, and ends it."""
        before = set(threading.enumerate())
        engine = self.engine()
        self.assertEqual(len(set(threading.enumerate()) - before), 1)
        engine.close()
        self.assertEqual(set(threading.enumerate()), before)
        device = self.devices[0]
        self.assertEqual((device.memory, device.locked, device.closed), ({}, {}, True))

    def test_forgotten_engine(self) -> None:
        """An engine that is forgotten without closing gives everything back."""
        device = HostDevice(built())
        engine = CudaEngine(lambda: device)
        self.assertTrue(engine.usable)
        del engine
        gc.collect()
        self.assertTrue(device.closed)

    async def test_beside_a_reactor(self) -> None:
        """Off the reactor's thread, as the worker uses it, it gives what it gives elsewhere."""
        self.messages(10, 100)
        engine = self.engine()
        await deferToThread(self.assert_right, engine)
        self.assertIsNotNone(reactor)


class OverlapTests(CudaTestCase):
    """Pieces of a large batch."""

    def test_pieces_overlap(self) -> None:
        """Three pieces are on their way before the first is waited for."""
        self.messages(6_000, 300)
        engine = self.engine()
        device = self.devices[0]
        engine.seal_list(self.keys, self.associated, self.texts, self.ivs)
        order: list[str] = []
        for name in ("wait", "launch"):
            self.patch(HostDevice, name, self.noting(name, getattr(HostDevice, name), order))
        self.assertEqual(engine.seal_list(self.keys, self.associated, self.texts, self.ivs), self.sealed)
        launches_before_waiting = order.index("wait")
        self.assertEqual(launches_before_waiting, 3 * 2)
        self.assertGreater(len(order), launches_before_waiting + 2)
        self.assertEqual(len(device.memory), 3)

    def noting(self, name: str, call: Callable[..., Any], order: list[str]) -> Callable[..., Any]:
        """Write down each call."""

        def noted(*arguments: Any) -> Any:
            order.append(name)
            return call(*arguments)

        return noted
