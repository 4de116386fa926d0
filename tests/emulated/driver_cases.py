"""The emulated driver itself, through PyCUDA: as strict as a device, and faulty when it is told to be."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

import numpy as np
import pycuda.driver as drv
from twisted.trial.unittest import SkipTest

from securechat.crypto import aead
from securechat.crypto.device import KERNELS, SLACK_BYTES
from tests.emulated.emulation import IS_EMULATED, EmulatedTestCase, configure, count, register, reset, unregister
from tests.emulated.images import compiled, pretended

PAGE = 4096
OUT_OF_MEMORY, ALREADY_REGISTERED, NOT_REGISTERED = 2, 712, 713
"""CUresults."""
QUIET = drv.event_flags.BLOCKING_SYNC | drv.event_flags.DISABLE_TIMING
CHILD_TIMEOUT_S = 60


@contextmanager
def context() -> Iterator[Any]:
    """Make a context, current in the block, and destroy it. What depends on it should not outlive the test."""
    drv.init()
    made = drv.Device(0).make_context(drv.ctx_flags.SCHED_BLOCKING_SYNC)
    try:
        yield made
    finally:
        made.pop()
        made.detach()


def only_emulated() -> None:
    """Skip a test of what only the emulated driver promises."""
    if not IS_EMULATED:
        raise SkipTest("only the emulated driver promises this")


def elsewhere(work: Callable[[], Any]) -> Any:
    """Give what a function gives in a thread of its own; raise what it raises."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append((work(), None))
        except BaseException as error:
            results.append((None, error))

    thread = Thread(target=run)
    thread.start()
    thread.join()
    result, error = results.pop()
    if error is not None:
        raise error
    return result


def pages(size: int = PAGE) -> Any:
    """Make an array that has its pages to itself."""
    return drv.aligned_zeros(size, np.uint8, alignment=PAGE)


def on_device(array: Any) -> Any:
    """Copy an array to memory of the device, with the slack that kernels may read."""
    memory = drv.mem_alloc(array.nbytes + SLACK_BYTES)
    drv.memcpy_htod(memory, array)
    return memory


def from_device(memory: Any, size: int) -> Any:
    """Copy bytes from the device."""
    array = np.zeros(size, np.uint8)
    drv.memcpy_dtoh(array, memory)
    return array


def kernel(name: str, image: bytes | None = None) -> Any:
    """Load a kernel, ready for its launch."""
    module = drv.module_from_buffer(image or pretended())
    function = module.get_function(name)
    function.prepare(KERNELS[name].arguments)
    return function


class Padding:
    """One launch of check_padding, the smallest kernel: a text of one block."""

    def __init__(self, image: bytes | None = None) -> None:
        """Lay out the arguments: the text, where its block is, the flag that it is authentic, its length."""
        self.function = kernel("check_padding", image)
        self.text = on_device(np.frombuffer(aead.pad(b"fourteen bytes"), np.uint8))
        self.block_at = on_device(np.array([0, 1], np.uint32))
        self.ok = on_device(np.ones(1, np.uint8))
        self.length = drv.mem_alloc(4)
        self.arguments = [self.text, self.block_at, self.ok, self.length, 1]

    def launch(self, stream: Any = None, block: int = 32, shared: int = 0) -> None:
        """Queue it."""
        call = self.function.prepared_async_call
        call((1, 1), (block, 1, 1), stream, *self.arguments, shared_size=shared)

    def found(self) -> int:
        """Give the length that the kernel wrote."""
        return int(from_device(self.length, 4).view(np.uint32)[0])


class DeviceCases(EmulatedTestCase):
    """The device is what a test says that it is."""

    def test_usual_device(self) -> None:
        """Without settings there is one device like a small sm_90."""
        only_emulated()
        drv.init()
        device = drv.Device(0)
        self.assertEqual((drv.Device.count(), device.name()), (1, "Emulated GPU"))
        self.assertEqual((device.compute_capability(), device.total_memory()), ((9, 0), 1 << 30))
        self.assertEqual(device.get_attribute(drv.device_attribute.MULTIPROCESSOR_COUNT), 2)

    def test_every_attribute(self) -> None:
        """Every attribute that PyCUDA knows can be asked for."""
        drv.init()
        self.assertGreater(len(drv.Device(0).get_attributes()), 50)

    def test_other_device(self) -> None:
        """Compute capability, multiprocessors and memory are settings."""
        configure(capability=35, multiprocessors=7, memory_bytes=1 << 20)
        drv.init()
        device = drv.Device(0)
        self.assertEqual((device.compute_capability(), device.total_memory()), ((3, 5), 1 << 20))
        self.assertEqual(device.get_attribute(drv.device_attribute.MULTIPROCESSOR_COUNT), 7)

    def test_no_device(self) -> None:
        """Without a device, beginning is drv.RuntimeError."""
        configure(devices=0)
        with self.assertRaisesRegex(drv.RuntimeError, "no CUDA-capable device"):
            drv.init()

    def test_environment(self) -> None:
        """A variable of the environment reaches a process that a test starts."""
        only_emulated()
        script = "import pycuda.driver as d; d.init(); print(d.Device(0).compute_capability())"
        environment = {**os.environ, "EMULATED_CAPABILITY": "75"}
        done = subprocess.check_output(
            [sys.executable, "-c", script], env=environment, text=True, timeout=CHILD_TIMEOUT_S
        )
        self.assertEqual(done, "(7, 5)\n")

    def test_unknown_setting(self) -> None:
        """A setting that there isn't is an error of the test."""
        only_emulated()
        with self.assertRaises(KeyError):
            configure(nonsense=1)
        with self.assertRaises(KeyError):
            count("nonsense")


class ContextCases(EmulatedTestCase):
    """A context is current in a thread, or nothing goes."""

    def test_none(self) -> None:
        """Without a current context memory is refused."""
        drv.init()
        with self.assertRaisesRegex(drv.LogicError, "invalid device context"):
            drv.mem_alloc(1)

    def test_thread_local(self) -> None:
        """A context that is current in one thread is not so in another, until it is pushed there."""
        with context() as made:

            def pushed() -> int:
                made.push()
                try:
                    return int(drv.mem_get_info()[1])
                finally:
                    made.pop()

            with self.assertRaisesRegex(drv.LogicError, "invalid device context"):
                elsewhere(partial(drv.mem_alloc, 1))
            self.assertGreater(elsewhere(pushed), 0)

    def test_primary(self) -> None:
        """The primary context can be retained and used."""
        drv.init()
        primary = drv.Device(0).retain_primary_context()
        primary.push()
        try:
            self.assertGreater(drv.mem_get_info()[0], 0)
        finally:
            primary.pop()
            primary.detach()

    def test_thread_ends_with_context(self) -> None:
        """A thread that ends with a context pushed ends the process: PyCUDA aborts."""
        only_emulated()
        script = (
            "import threading, pycuda.driver as d\nd.init()\n"
            "thread = threading.Thread(target=lambda: d.Device(0).make_context())\n"
            "thread.start(); thread.join()"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, check=False, capture_output=True, timeout=CHILD_TIMEOUT_S)
        self.assertEqual(done.returncode, -signal.SIGABRT)

    def test_dropped_elsewhere(self) -> None:
        """What another thread drops, without the context pushed there, is not given back."""
        with context():
            kept = [drv.mem_alloc(100)]
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                elsewhere(kept.clear)
            self.assertIn("out-of-thread context", str(caught[0].message))
            self.assertEqual(count("live_bytes"), 100)
        self.assertEqual(count("leaked_bytes"), 100)
        reset()

    def test_leak(self) -> None:
        """A context that is destroyed with memory counts it as leaked, and takes it back."""
        with context():
            memory = drv.mem_alloc(1000)
            self.assertEqual(count("live_bytes"), 1000)
        self.assertEqual((count("live_bytes"), count("leaked_bytes")), (0, 1000))
        del memory
        reset()


class MemoryCases(EmulatedTestCase):
    """Memory is what was allocated, and no byte more."""

    def test_filling(self) -> None:
        """Fresh memory holds 0xa5, and so does memory that is taken again."""
        only_emulated()
        with context():
            for _ in range(2):
                memory = drv.mem_alloc(300)
                self.assertEqual(set(from_device(memory, 300).tolist()), {0xA5})
                drv.memset_d8(memory, 0, 300)
                drv.Context.synchronize()
                memory.free()

    def test_copies(self) -> None:
        """What is copied to the device and on it comes back."""
        with context():
            data = np.arange(1000, dtype=np.uint32)
            first, second = on_device(data), drv.mem_alloc(data.nbytes)
            drv.memcpy_dtod(second, first, data.nbytes)
            found = from_device(second, data.nbytes).view(np.uint32)
            self.assertEqual(found.tolist(), data.tolist())
            first.free()
            second.free()

    def test_filled(self) -> None:
        """Memory can be filled with a byte or a word."""
        with context():
            memory = drv.mem_alloc(12)
            drv.memset_d8(memory, 1, 12)
            drv.memset_d32(int(memory) + 4, 0x05040302, 1)
            self.assertEqual(from_device(memory, 12).tolist(), [1] * 4 + [2, 3, 4, 5] + [1] * 4)
            memory.free()

    def test_out_of_bounds(self) -> None:
        """A copy or a filling that leaves the allocation by a byte, at either end, is refused."""
        with context():
            memory = drv.mem_alloc(100)
            array = np.zeros(101, np.uint8)
            for wrong in (
                partial(drv.memcpy_htod, memory, array),
                partial(drv.memcpy_dtoh, array, memory),
                partial(drv.memcpy_htod_async, memory, array, None),
                partial(drv.memcpy_dtoh_async, array, memory, None),
                partial(drv.memcpy_dtoh, array[:1], int(memory) - 1),
                partial(drv.memset_d8, memory, 0, 101),
                partial(drv.memset_d32, int(memory) + 97, 0, 1),
            ):
                with self.assertRaisesRegex(drv.LogicError, "invalid argument"):
                    wrong()
            memory.free()

    def test_freed(self) -> None:
        """Memory that was freed can't be copied from."""
        with context():
            memory = drv.mem_alloc(100)
            address = int(memory)
            memory.free()
            with self.assertRaisesRegex(drv.LogicError, "invalid argument"):
                from_device(address, 1)

    def test_limit(self) -> None:
        """More memory than there is is drv.MemoryError, and nothing else is wrong then."""
        configure(memory_bytes=1000)
        with context():
            memory = drv.mem_alloc(600)
            self.assertEqual(drv.mem_get_info(), (400, 1000))
            with self.assertRaises(drv.MemoryError):
                drv.mem_alloc(401)
            drv.mem_alloc(400).free()
            memory.free()

    def test_freed_under_copy(self) -> None:
        """Memory that is freed while a copy of it is queued makes the waiting fail."""
        only_emulated()
        with context():
            stream, memory = drv.Stream(), drv.mem_alloc(8)
            drv.memcpy_dtoh_async(np.zeros(8, np.uint8), memory, stream)
            memory.free()
            with self.assertRaisesRegex(drv.LogicError, "illegal memory access"):
                stream.synchronize()
        self.assert_misuse("freed while a copy was queued")

    def test_taken_again_under_copy(self) -> None:
        """So it does if another allocation has taken the address meanwhile."""
        only_emulated()
        with context():
            stream, memory = drv.Stream(), drv.mem_alloc(8)
            drv.memcpy_dtoh_async(np.zeros(8, np.uint8), memory, stream)
            address = int(memory)
            memory.free()
            again = drv.mem_alloc(8)
            self.assertEqual(int(again), address)
            with self.assertRaisesRegex(drv.LogicError, "illegal memory access"):
                stream.synchronize()
        self.assert_misuse("freed while a copy was queued")


class PinnedCases(EmulatedTestCase):
    """Host memory is pinned by whole pages, once."""

    def test_registered(self) -> None:
        """An array is pinned until it is released, each of it once."""
        with context():
            array = pages()
            self.assertEqual(register(array), 0)
            self.assertEqual(count("live_pinned_bytes"), PAGE)
            self.assertEqual(unregister(array), 0)
            self.assertEqual(unregister(array), NOT_REGISTERED)

    def test_pycudas_own(self) -> None:
        """PyCUDA's register_host_memory ends the process (its issue 459): it returns what it has destroyed."""
        only_emulated()
        script = (
            "import numpy, pycuda.driver as d\nd.init()\ncontext = d.Device(0).make_context()\n"
            "d.register_host_memory(numpy.zeros(8192, numpy.uint8)); print('still there')"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, check=False, capture_output=True, timeout=CHILD_TIMEOUT_S)
        self.assertLess(done.returncode, 0)
        self.assertEqual(done.stdout, b"")

    def test_allocated(self) -> None:
        """Pinned memory can be taken from the driver."""
        with context():
            array = drv.pagelocked_empty(100, np.uint8)
            array.fill(3)
            array.base.free()
            self.assertEqual(count("live_pinned_bytes"), 0)

    def test_shared_page(self) -> None:
        """A page is pinned once, even for two arrays."""
        only_emulated()
        with context():
            array = pages(2 * PAGE)
            codes = [register(part) for part in (array[:10], array[20:30], array[PAGE:])]
            self.assertEqual(codes, [0, ALREADY_REGISTERED, 0])
            self.assertEqual([unregister(part) for part in (array[:10], array[PAGE:])], [0, 0])

    def test_refused(self) -> None:
        """Where pinning is refused, it is drv.MemoryError."""
        configure(pinnable_bytes=PAGE - 1)
        with context():
            with self.assertRaises(drv.MemoryError):
                drv.pagelocked_empty(PAGE, np.uint8)
            self.assertEqual(register(pages()), OUT_OF_MEMORY)

    def test_unpinned_copies(self) -> None:
        """Queued copies of memory that isn't pinned are counted."""
        with context():
            stream, memory, array = drv.Stream(), drv.mem_alloc(PAGE), pages()
            drv.memcpy_htod_async(memory, array, stream)
            stream.synchronize()
            register(array)
            drv.memcpy_htod_async(memory, array, stream)
            stream.synchronize()
            self.assertEqual((count("copies"), count("unpinned_copies")), (2, 1))
            unregister(array)
            memory.free()

    def test_unpinned_under_copy(self) -> None:
        """Memory that is unpinned while a copy of it is queued makes the waiting fail."""
        only_emulated()
        with context():
            stream, memory, array = drv.Stream(), drv.mem_alloc(PAGE), pages()
            register(array)
            drv.memcpy_htod_async(memory, array, stream)
            unregister(array)
            with self.assertRaisesRegex(drv.LogicError, "illegal memory access"):
                stream.synchronize()
        self.assert_misuse("unpinned while a copy was queued")


class StreamCases(EmulatedTestCase):
    """Queued work happens when it is waited for, and no other work then."""

    def setUp(self) -> None:
        """Only the emulated driver is late on purpose."""
        super().setUp()
        only_emulated()

    def test_late(self) -> None:
        """A copy out isn't seen before an event behind it was waited for."""
        with context():
            stream, memory = drv.Stream(), on_device(np.full(8, 7, np.uint8))
            array = np.zeros(8, np.uint8)
            drv.memcpy_dtoh_async(array, memory, stream)
            event = drv.Event(QUIET).record(stream)
            self.assertEqual(array.tolist(), [0] * 8)
            event.synchronize()
            self.assertEqual(array.tolist(), [7] * 8)
            memory.free()

    def test_eager(self) -> None:
        """With the setting it is seen at once, as it might be on a device."""
        configure(eager=1)
        with context():
            memory, array = on_device(np.full(8, 7, np.uint8)), np.zeros(8, np.uint8)
            drv.memcpy_dtoh_async(array, memory, drv.Stream())
            self.assertEqual(array.tolist(), [7] * 8)
            memory.free()

    def test_only_before_event(self) -> None:
        """Waiting for an event does what is in front of it, not what is behind, nor another stream's work."""
        with context():
            streams = [drv.Stream(), drv.Stream()]
            memory, arrays = on_device(np.full(8, 7, np.uint8)), np.zeros((3, 8), np.uint8)
            drv.memcpy_dtoh_async(arrays[0], memory, streams[0])
            event = drv.Event(QUIET).record(streams[0])
            drv.memcpy_dtoh_async(arrays[1], memory, streams[0])
            drv.memcpy_dtoh_async(arrays[2], memory, streams[1])
            event.synchronize()
            self.assertEqual(arrays[:, 0].tolist(), [7, 0, 0])
            drv.Context.synchronize()
            self.assertEqual(arrays[:, 0].tolist(), [7, 7, 7])
            memory.free()

    def test_stream_waits_for_event(self) -> None:
        """A stream told to wait for another's event does the other's work first."""
        with context():
            filling, copying = drv.Stream(), drv.Stream()
            memory, arrays = drv.mem_alloc(1), np.zeros((2, 1), np.uint8)
            drv.memset_d8_async(memory, 1, 1, filling)
            event = drv.Event(QUIET).record(filling)
            drv.memcpy_dtoh_async(arrays[0], memory, copying)
            copying.wait_for_event(event)
            drv.memcpy_dtoh_async(arrays[1], memory, copying)
            copying.synchronize()
            self.assertEqual(arrays[:, 0].tolist(), [0xA5, 1])
            memory.free()

    def test_default_stream(self) -> None:
        """A copy without a stream comes after what other streams were given before."""
        with context():
            stream, memory = drv.Stream(), drv.mem_alloc(4)
            drv.memset_d8_async(memory, 1, 4, stream)
            self.assertEqual(from_device(memory, 4).tolist(), [1] * 4)
            memory.free()

    def test_behind_default_stream(self) -> None:
        """What another stream is given comes after what the default stream was given before."""
        with context():
            stream, memory, array = drv.Stream(), drv.mem_alloc(4), np.zeros(4, np.uint8)
            drv.memset_d8(memory, 1, 4)
            drv.memcpy_dtoh_async(array, memory, stream)
            stream.synchronize()
            self.assertEqual(array.tolist(), [1] * 4)
            memory.free()

    def test_polling(self) -> None:
        """Work that is asked about twice has happened."""
        with context():
            stream, memory = drv.Stream(), drv.mem_alloc(4)
            drv.memset_d8_async(memory, 1, 4, stream)
            event = drv.Event(QUIET).record(stream)
            self.assertEqual([event.query(), event.query(), stream.is_done()], [False, True, True])
            memory.free()

    def test_destroyed_stream(self) -> None:
        """A stream that is dropped with work on it still does it, and is gone then."""
        with context():
            stream, memory = drv.Stream(), on_device(np.full(8, 7, np.uint8))
            array = np.zeros(8, np.uint8)
            drv.memcpy_dtoh_async(array, memory, stream)
            del stream
            self.assertEqual(count("live_streams"), 0)
            drv.Context.synchronize()
            self.assertEqual(array.tolist(), [7] * 8)
            memory.free()

    def test_changed_source(self) -> None:
        """Changing the source of a queued copy is noticed when it happens."""
        with context():
            stream, memory, array = drv.Stream(), drv.mem_alloc(PAGE), pages()
            drv.memcpy_htod_async(memory, array, stream)
            array[5] = 1
            stream.synchronize()
            memory.free()
        self.assert_misuse("source of a copy was changed")

    def test_times(self) -> None:
        """Time passes between two events with timing; without, there is none to ask for."""
        with context():
            stream = drv.Stream()
            start, end = drv.Event(), drv.Event()
            start.record(stream)
            end.record(stream)
            with self.assertRaises(drv.RuntimeError):  # not ready
                start.time_till(end)
            end.synchronize()
            self.assertGreaterEqual(start.time_till(end), 0)
            without = drv.Event(QUIET).record(stream)
            without.synchronize()
            with self.assertRaisesRegex(drv.LogicError, "invalid resource handle"):
                start.time_till(without)

    def test_events_go(self) -> None:
        """Events and streams that are dropped are gone."""
        with context():
            kept = [drv.Stream(), drv.Event(), drv.Event(QUIET)]
            self.assertEqual((count("live_streams"), count("live_events")), (1, 2))
            kept.clear()
            gc.collect()
            self.assertEqual((count("live_streams"), count("live_events")), (0, 0))


class ModuleCases(EmulatedTestCase):
    """Only a cubin for the device is loaded, and only its kernels are found."""

    def test_garbage(self) -> None:
        """What is no cubin is refused."""
        for image in (b"garbage", b"", compiled_header() + b"\0" * 100):
            with context(), self.assertRaises(drv.Error):
                drv.module_from_buffer(image)

    def test_architectures(self) -> None:
        """A cubin for another major architecture or a later minor one is drv.RuntimeError."""
        configure(capability=86)
        with context():
            for capability in (80, 86):
                drv.module_from_buffer(pretended(capability))
            for capability in (75, 87, 90):
                with self.assertRaisesRegex(drv.RuntimeError, "no kernel image"):
                    drv.module_from_buffer(pretended(capability))

    def test_unknown_kernel(self) -> None:
        """A kernel that the image doesn't have, or that the host doesn't, is drv.LogicError."""
        only_emulated()
        with context():
            module = drv.module_from_buffer(pretended(kernels=("hmac_tag", "other")))
            module.get_function("hmac_tag")
            for name in ("cbc_encrypt", "other"):
                with self.assertRaisesRegex(drv.LogicError, "not found"):
                    module.get_function(name)

    def test_compiled(self) -> None:
        """What nvcc makes for the device has all kernels."""
        with context() as made:
            module = drv.module_from_buffer(compiled_for(made))
            for name in KERNELS:
                module.get_function(name)


class LaunchCases(EmulatedTestCase):
    """Kernels run as on a device, with what they may have."""

    def test_queued(self) -> None:
        """A kernel runs in its stream's order, when it is waited for."""
        only_emulated()
        with context():
            padding, stream = Padding(), drv.Stream()
            array = np.zeros(4, np.uint8)
            padding.launch(stream)
            drv.memcpy_dtoh_async(array, padding.length, stream)
            self.assertEqual(array.tolist(), [0] * 4)
            stream.synchronize()
            self.assertEqual(array.tolist(), [14, 0, 0, 0])
            free(padding)

    def test_any_shape(self) -> None:
        """Any block that the kernels allow will do, and none that is larger."""
        with context() as made:
            padding = Padding(image_for(made))
            for block in (32, 64, 512):
                padding.launch(block=block)
                self.assertEqual(padding.found(), 14)
            for block in (544, 1024, 2048):
                with self.assertRaises(drv.Error):
                    padding.launch(block=block)
            free(padding)

    def test_encrypts(self) -> None:
        """A message that nvcc's image encrypts is as the reference has it."""
        with context() as made:
            function = kernel("cbc_encrypt", compiled_for(made))
            shared = KERNELS["cbc_encrypt"].shared_bytes
            function.set_attribute(drv.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
            key, iv, text = bytes(range(64)), bytes(range(16)), b"a message of no particular length"
            expected = aead.seal(key, b"", text, iv)[:-32]
            inputs = [
                on_device(np.frombuffer(data, np.uint8))
                for data in (key, iv, text, np.array([0, len(text)], np.int64), np.zeros(1, np.uint32))
            ]
            keys, ivs, texts, text_at, order = inputs
            out, out_at = drv.mem_alloc(len(expected)), on_device(np.array([0, len(expected)], np.int64))
            arguments = (keys, 16, 8, ivs, texts, text_at, order, out, out_at, 16, 1)
            stream = drv.Stream()
            function.prepared_async_call((2, 1), (32, 1, 1), stream, *arguments, shared_size=shared)
            stream.synchronize()
            self.assertEqual(from_device(out, len(expected)).tobytes(), expected)
            for memory in (*inputs, out, out_at):
                memory.free()

    def test_shared_memory(self) -> None:
        """More than 48 KiB of shared memory must have been asked for, and can't be more than there is."""
        with context() as made:
            padding, stream = Padding(image_for(made)), drv.Stream()
            padding.launch(stream, shared=48 * 1024)
            with self.assertRaisesRegex(drv.LogicError, "invalid argument"):
                padding.launch(stream, shared=48 * 1024 + 1)
            attribute = drv.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
            padding.function.set_attribute(attribute, 64 * 1024)
            padding.launch(stream, shared=64 * 1024)
            stream.synchronize()
            with self.assertRaisesRegex(drv.LogicError, "invalid argument"):
                padding.function.set_attribute(attribute, 256 * 1024)
            free(padding)

    def test_old_device(self) -> None:
        """A device below sm_70 has no more than 48 KiB."""
        configure(capability=61)
        with context():
            function = kernel("cbc_encrypt", pretended(61))
            with self.assertRaisesRegex(drv.LogicError, "invalid argument"):
                function.set_attribute(drv.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, 64 * 1024)

    def test_wrong_arguments(self) -> None:
        """An argument too few or too many is refused."""
        only_emulated()
        with context():
            padding = Padding()
            for arguments in ("PPPP", "PPPPII"):
                padding.function.prepare(arguments)
                given = [*padding.arguments, 1][: len(arguments)]
                with self.assertRaisesRegex(drv.LogicError, "invalid argument"):
                    padding.function.prepared_async_call((1, 1), (32, 1, 1), None, *given)
            free(padding)

    def test_pointer_to_nowhere(self) -> None:
        """A pointer into no allocation makes the waiting fail, and everything after it."""
        only_emulated()
        with context():
            padding = Padding()
            padding.arguments[3] = 4096
            padding.launch()
            self.assert_illegal()
        self.assert_misuse("check_padding: argument 3 points at no allocation")

    def test_null_pointer(self) -> None:
        """A null pointer that the kernel follows makes the waiting fail."""
        only_emulated()
        with context():
            padding = Padding()
            padding.arguments[3] = 0
            padding.launch()
            self.assert_illegal()

    def test_beyond_allocation(self) -> None:
        """A kernel that goes a page beyond its buffers makes the waiting fail, and the process goes on."""
        only_emulated()
        with context():
            padding = Padding()
            padding.arguments[4] = 1 << 12
            padding.launch()
            self.assert_illegal()
        self.assert_misuse("wrote behind an allocation of 4 bytes")
        with context():
            padding = Padding()
            padding.launch()
            self.assertEqual(padding.found(), 14)
            free(padding)

    def test_just_behind_allocation(self) -> None:
        """A kernel that writes a few bytes behind its buffer is found when the buffer is freed."""
        only_emulated()
        with context():
            padding = Padding()
            padding.arguments[3] = int(padding.length) + 4
            padding.launch()
            drv.Context.synchronize()
            free(padding)
        self.assert_misuse("wrote behind an allocation of 4 bytes")

    def test_misaligned(self) -> None:
        """A pointer that isn't aligned as its kernel needs makes the waiting fail."""
        only_emulated()
        with context():
            padding = Padding()
            padding.arguments[1] = int(padding.block_at) + 2
            padding.launch()
            with self.assertRaisesRegex(drv.LogicError, "misaligned"):
                drv.Context.synchronize()

    def assert_illegal(self) -> None:
        """Expect that waiting fails, and all that follows in this context."""
        with self.assertRaisesRegex(drv.LogicError, "illegal memory access"):
            drv.Context.synchronize()
        with self.assertRaisesRegex(drv.LogicError, "illegal memory access"):
            drv.mem_alloc(1)


class FaultCases(EmulatedTestCase):
    """Faults come when they are ordered, as the exceptions that PyCUDA makes of them."""

    def test_launch_fails(self) -> None:
        """The k-th launch fails: the waiting is drv.LaunchError, and everything after it."""
        configure(fail_launch=2)
        with context():
            padding, stream = Padding(), drv.Stream()
            padding.launch(stream)
            stream.synchronize()
            padding.launch(stream)
            event = drv.Event(QUIET).record(stream)
            for later in (event.synchronize, stream.synchronize, drv.Stream, padding.launch, padding.found):
                with self.assertRaises(drv.LaunchError):
                    later()

    def test_nothing_after_failure(self) -> None:
        """What was queued behind a launch that fails doesn't happen."""
        configure(fail_launch=1)
        with context():
            padding, array = Padding(), np.zeros(4, np.uint8)
            padding.launch()
            drv.memcpy_dtoh_async(array, padding.length, None)
            with self.assertRaises(drv.LaunchError):
                drv.Context.synchronize()
            self.assertEqual(array.tolist(), [0] * 4)

    def test_next_context(self) -> None:
        """Another context knows nothing of it."""
        configure(fail_launch=1)
        with context():
            padding = Padding()
            padding.launch()
            with self.assertRaises(drv.LaunchError):
                drv.Context.synchronize()
        with context():
            padding = Padding()
            padding.launch()
            self.assertEqual(padding.found(), 14)
            free(padding)

    def test_launch_refused(self) -> None:
        """The k-th launch is refused with drv.LaunchError, and the next is not."""
        configure(refuse_launch=1)
        with context():
            padding = Padding()
            with self.assertRaises(drv.LaunchError):
                padding.launch()
            padding.launch()
            self.assertEqual(padding.found(), 14)
            free(padding)

    def test_synchronization_fails(self) -> None:
        """The k-th waiting fails with drv.Error, which is none of the special ones."""
        configure(fail_synchronize=2)
        with context():
            stream = drv.Stream()
            stream.synchronize()
            with self.assertRaises(drv.Error) as caught:
                drv.Event(QUIET).record(stream).synchronize()
            self.assertIs(type(caught.exception), drv.Error)

    def test_copy_fails(self) -> None:
        """The k-th copy fails with drv.LogicError."""
        configure(fail_copy=2)
        with context():
            memory = on_device(np.zeros(4, np.uint8))
            with self.assertRaises(drv.LogicError):
                drv.memcpy_htod_async(memory, np.zeros(4, np.uint8), None)

    def test_code(self) -> None:
        """A fault can have any error."""
        uncorrectable_memory = 214
        configure(fail_copy=1, fail_code=uncorrectable_memory)
        with context():
            memory = drv.mem_alloc(4)
            with self.assertRaisesRegex(drv.Error, "uncorrectable ECC error"):
                drv.memcpy_htod(memory, np.zeros(4, np.uint8))

    def test_error_outlives_nothing(self) -> None:
        """After an error a context can still be left and destroyed, and what it had is not called a leak."""
        configure(fail_copy=1)
        with context():
            memory = drv.mem_alloc(4)
            with self.assertRaises(drv.LogicError):
                drv.memcpy_htod(memory, np.zeros(4, np.uint8))
        self.assertEqual((count("live_contexts"), count("live_bytes"), count("leaked_bytes")), (0, 0, 0))


def free(padding: Padding) -> None:
    """Give back what a launch had."""
    for memory in (padding.text, padding.block_at, padding.ok, padding.length):
        memory.free()


def compiled_for(made: Any) -> bytes:
    """Compile the kernels for the device of a context. Skips the test without nvcc."""
    if shutil.which("nvcc") is None:
        raise SkipTest("nvcc is not installed: there is nothing to load")
    return compiled("sm_{}{}".format(*made.get_device().compute_capability()))


def image_for(made: Any) -> bytes:
    """Give an image that the device of a context loads."""
    return pretended() if IS_EMULATED else compiled_for(made)


def compiled_header() -> bytes:
    """Give the beginning of a program of the host."""
    with open(sys.executable, "rb") as program:
        return program.read(64)
