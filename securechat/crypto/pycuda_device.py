"""A GPU through PyCUDA: the one module that knows it.

The context belongs to the thread that opens the device, and stays current on it until `close`, which must
come from the same thread: a thread that ends with a context makes PyCUDA abort the process, and what is freed
on another thread is leaked. PyCUDA's errors are not Python's own (drv.MemoryError is no MemoryError); they
come out as those of securechat.crypto.device, with PyCUDA's words, which name calls and codes only.
"""

import ctypes
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from securechat.crypto.batch import Bytes
from securechat.crypto.cache import Cache
from securechat.crypto.device import (
    KERNELS,
    Address,
    DeviceError,
    DeviceMemoryError,
    DeviceUnavailable,
    Event,
    Facts,
    Stream,
    driver_library,
)
from securechat.crypto.kernel_build import module_for

NO_DEVICE: Final = "no usable GPU: {reason}"
NOT_LOADED: Final = "PyCUDA cannot be loaded: {reason}"
REFUSED: Final = "the driver does not take its kernels: {reason}"
LOST: Final = "the GPU failed earlier in this process: {reason}"

_NOT_LOCKABLE: Final = (2, 304, 801)
"""What cuMemHostRegister says where pages can't be locked: out of memory, refused by the operating system, not
supported (cuda.h, CUresult). The device is none the worse for it."""

_lost: str | None = None
"""Why no device is opened any more: after a failed launch a process's driver is not to be relied upon (cuda.h
says of most errors that the process must be started again)."""


def open_device(cache: Cache | None = None) -> "PycudaDevice":
    """Open the first GPU with the kernels loaded; they are compiled where that was not done before.

    Raises DeviceUnavailable with the reason: PyCUDA can't be loaded, no device, compiling failed.
    """
    if _lost is not None:
        raise DeviceUnavailable(LOST.format(reason=_lost))
    driver = _load()
    try:
        driver.init()
        if not driver.Device.count():
            raise DeviceUnavailable(NO_DEVICE.format(reason="the driver finds none"))
        device = driver.Device(0)
        facts = _facts(driver, device)
    except driver.Error as error:
        raise DeviceUnavailable(NO_DEVICE.format(reason=_line(error))) from None
    module = module_for(facts.architecture, Cache.of_user(os.environ) if cache is None else cache)
    try:
        context = device.make_context(driver.ctx_flags.SCHED_BLOCKING_SYNC)
    except driver.Error as error:
        raise DeviceUnavailable(NO_DEVICE.format(reason=_line(error))) from None
    try:
        return PycudaDevice(driver, context, facts, module)
    except BaseException as error:
        _leave(driver, context)
        if isinstance(error, driver.Error):
            raise DeviceUnavailable(REFUSED.format(reason=_line(error))) from None
        raise


class PycudaDevice:
    """See Device. Made by `open_device`."""

    def __init__(self, driver: Any, context: Any, facts: Facts, module: bytes) -> None:
        """Take PyCUDA's driver module, a context that is current, and a compiled module to load."""
        self._driver = driver
        self._context = context
        self._facts = facts
        self._module = driver.module_from_buffer(module)
        self._library = ctypes.CDLL(driver_library())
        self._functions = {name: self._function(name) for name in KERNELS}
        self._allocations: dict[Address, Any] = {}

    @property
    def facts(self) -> Facts:
        """See Device."""
        return self._facts

    def stream(self) -> Stream:
        """See Device."""
        with self._errors():
            return self._driver.Stream()

    def allocate(self, size: int) -> Address:
        """See Device."""
        with self._errors():
            allocation = self._driver.mem_alloc(size)
        address = int(allocation)
        self._allocations[address] = allocation
        return address

    def free(self, address: Address) -> None:
        """See Device."""
        with self._errors():
            self._allocations.pop(address).free()

    def pin(self, array: Bytes) -> None:
        """See Device."""
        self._call("cuMemHostRegister_v2", array.ctypes.data, array.nbytes, 0)

    def unpin(self, array: Bytes) -> None:
        """See Device."""
        self._call("cuMemHostUnregister", array.ctypes.data)

    def copy_in(self, to: Address, source: Bytes, stream: Stream) -> None:
        """See Device."""
        with self._errors():
            self._driver.memcpy_htod_async(to, source, stream)

    def copy_out(self, to: Bytes, source: Address, stream: Stream) -> None:
        """See Device."""
        with self._errors():
            self._driver.memcpy_dtoh_async(to, source, stream)

    def clear(self, at: Address, size: int, stream: Stream) -> None:
        """See Device."""
        with self._errors():
            self._driver.memset_d8_async(at, 0, size, stream)

    def launch(self, kernel: str, grid: int, block: int, stream: Stream, *arguments: int) -> None:
        """See Device."""
        with self._errors():
            self._functions[kernel].prepared_async_call(
                (grid, 1), (block, 1, 1), stream, *arguments, shared_size=KERNELS[kernel].shared_bytes
            )

    def record(self, stream: Stream) -> Event:
        """See Device."""
        with self._errors():
            return self._driver.Event(self._driver.event_flags.BLOCKING_SYNC).record(stream)

    def wait(self, event: Event) -> None:
        """See Device."""
        with self._errors():
            event.synchronize()

    def seconds_between(self, start: Event, end: Event) -> float:
        """See Device."""
        with self._errors():
            return float(end.time_since(start)) / 1e3

    def close(self) -> None:
        """See Device."""
        # The context takes everything in it along. What is let go of after that is not asked for one by one,
        # which PyCUDA complains of on standard error where the device has failed.
        _leave(self._driver, self._context)
        self._functions.clear()
        self._allocations.clear()
        self._module = None

    def _function(self, name: str) -> Any:
        function = self._module.get_function(name)
        kernel = KERNELS[name]
        if kernel.shared_bytes:
            # Without this a block gets 48 KiB at most.
            attribute = self._driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
            function.set_attribute(attribute, kernel.shared_bytes)
        return function.prepare(list(kernel.arguments))

    def _call(self, name: str, address: int, *arguments: int) -> None:
        """Call the driver itself, for what PyCUDA can't: register_host_memory crashes with numpy 2.

        It sets the base of an array that has one. PyCUDA's own page-locked arrays are no way out: they are
        unmapped with the context, whoever still looks at them.
        """
        values = [ctypes.c_size_t(argument) for argument in arguments[:1]]
        flags = [ctypes.c_uint(argument) for argument in arguments[1:]]
        code = getattr(self._library, name)(ctypes.c_void_p(address), *values, *flags)
        if code in _NOT_LOCKABLE:
            raise DeviceMemoryError(f"{name} failed with error {code}")
        if code:
            raise _failed(f"{name} failed with error {code}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn PyCUDA's errors into ours."""
        try:
            yield
        except self._driver.MemoryError as error:
            raise DeviceMemoryError(_line(error)) from None
        except self._driver.Error as error:
            raise _failed(_line(error)) from None


def _failed(reason: str) -> DeviceError:
    global _lost
    _lost = reason
    return DeviceError(reason)


def _load() -> Any:
    try:
        with warnings.catch_warnings():
            # It warns of a driver older than its headers, and then fails with a reason of its own.
            warnings.simplefilter("ignore")
            import pycuda.driver
    except ImportError as error:
        raise DeviceUnavailable(NOT_LOADED.format(reason=_line(error))) from None
    return pycuda.driver


def _facts(driver: Any, device: Any) -> Facts:
    major, minor = device.compute_capability()
    return Facts(
        name=device.name(),
        architecture=f"sm_{major}{minor}",
        multiprocessors=device.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT),
        memory_bytes=device.total_memory(),
    )


def _leave(driver: Any, context: Any) -> None:
    """Take the context off this thread, whatever state it is in."""
    with suppress(driver.Error):
        context.pop()
    with suppress(driver.Error):
        context.detach()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
