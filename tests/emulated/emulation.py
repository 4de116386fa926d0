"""What the emulated driver of this process does: its settings, its counters, and a test case that watches them.

Settings (0 means off, unless it is said; k counts from 1, from the time of setting):

    devices            how many there are, usually 1; without one cuInit fails
    capability         10 * major + minor, usually 90
    multiprocessors    usually 2
    memory_bytes       all memory of the device, usually 1 GiB; an allocation beyond fails
    pinnable_bytes     all host memory that can be pinned, usually 1 GiB; more is refused
    eager              1: queued work happens at once, rather than as late as it may
    fail_launch        the k-th launch from now on fails when it happens: the waiting tells
    refuse_launch      the k-th launch is refused, without other consequences
    fail_synchronize   the k-th waiting for a context, stream or event fails
    fail_copy          the k-th copy fails when it is asked for
    fail_code          the CUresult of the faults, if not each one's own

A launch, a waiting or a copy that failed leaves its context unusable: everything fails with the same error from
then on, except taking it off the stack and destroying it. A setting begins as the variable EMULATED_NAME of the
environment says, so that it also reaches processes that a test starts.

Counters: live_bytes, live_pinned_bytes, live_contexts, live_streams, live_events, live_modules are what there is
now; leaked_bytes and leaked_pinned_bytes what contexts without an error still had when they were destroyed;
launches, copies, synchronizations what was asked for, unpinned_copies those copies of it that were queued with host
memory that isn't pinned; misuses what a real driver might have let pass. The last of these is told on standard
error, too.
"""

import ctypes
from typing import Any, Final

from twisted.trial.unittest import SkipTest, SynchronousTestCase

_library: Final = ctypes.CDLL("libcuda.so.1")  # the very one that PyCUDA is bound to

IS_EMULATED: Final = hasattr(_library, "emulated_set")
"""False on a real driver."""

if IS_EMULATED:
    _library.emulated_set.argtypes = [ctypes.c_char_p, ctypes.c_longlong]
    _library.emulated_get.argtypes = [ctypes.c_char_p]
    _library.emulated_get.restype = ctypes.c_longlong
    _library.emulated_misuse.restype = ctypes.c_char_p

NOTHING_LEFT: Final = ("live_contexts", "live_bytes", "live_pinned_bytes", "leaked_bytes", "leaked_pinned_bytes")


def register(array: Any) -> int:
    """Pin an array and give the CUresult. PyCUDA has no function for it that works."""
    return int(_library.cuMemHostRegister_v2(_address(array), ctypes.c_size_t(array.nbytes), 0))


def unregister(array: Any) -> int:
    """Unpin an array that was registered, and give the CUresult."""
    return int(_library.cuMemHostUnregister(_address(array)))


def _address(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def configure(**settings: int) -> None:
    """Change settings, until `reset`. Skips the test on a real device, which has none."""
    if not IS_EMULATED:
        raise SkipTest("a real device has no faults to order")
    for name, value in settings.items():
        if _library.emulated_set(name.encode(), value):
            raise KeyError(name)


def count(name: str) -> int:
    """Give a counter or a setting. Skips the test on a real device, which has none."""
    if not IS_EMULATED:
        raise SkipTest("a real device does not count")
    value = int(_library.emulated_get(name.encode()))
    if value < 0:
        raise KeyError(name)
    return value


def misuse() -> str:
    """Tell the last thing that was done wrong; empty if there was none. Skips the test on a real device."""
    count("misuses")
    text = _library.emulated_misuse()
    assert isinstance(text, bytes)
    return text.decode()


def reset() -> None:
    """Set everything back, and count anew."""
    if IS_EMULATED:
        _library.emulated_reset()


class EmulatedTestCase(SynchronousTestCase):
    """A case that begins without faults and has to leave nothing on the device, and nothing done wrong."""

    def setUp(self) -> None:
        """Begin anew."""
        reset()

    def tearDown(self) -> None:
        """Look for what is left."""
        found = {name: count(name) for name in NOTHING_LEFT} if IS_EMULATED else {}
        wrong = misuse() if IS_EMULATED else ""
        reset()
        self.assertEqual((found, wrong), (dict.fromkeys(found, 0), ""))

    def assert_misuse(self, text: str) -> None:
        """Expect that this was done wrong, on purpose."""
        self.assertIn(text, misuse())
        reset()
