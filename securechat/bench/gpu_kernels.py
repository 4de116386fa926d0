"""What the kernels do with everything in the device's memory: no copies, no Python, the device's own clock.

Rows are of engine cuda and path kernel. Operations seal and open are all launches of the cuda engine for
it in a row; encrypt and decrypt are AES alone (with its keys' expansion), tag and verify HMAC-SHA-512 alone.
Each kernel runs in the fastest of SHAPES for it, which is looked for first.
"""

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from securechat.bench.crypto import BenchError
from securechat.bench.gpu import ENGINE, ROUNDS, allocated, pinned
from securechat.bench.material import ASSOCIATED_BYTES, random_batch, random_rows
from securechat.bench.measure import LEAST_S
from securechat.bench.rows import Row
from securechat.crypto.aead import BLOCK_BYTES, IV_BYTES, KEY_BYTES, seal, sealed_bytes
from securechat.crypto.batch import Bytes
from securechat.crypto.device import SLACK_BYTES, Address, Device

CASES: Final = ((4096, 65536), (1024, 65536), (65536, 1))
"""Sizes and counts: batches that fill any device, and one message that is as long as chains get."""
SHAPES: Final = ((128, 1), (128, 2), (128, 4), (256, 1), (256, 2), (256, 3), (512, 1), (512, 2), (512, 4))
"""Threads in a block, and blocks for each multiprocessor."""
STEPS: Final = {
    "seal": ("cbc_encrypt", "hmac_tag"),
    "encrypt": ("cbc_encrypt",),
    "tag": ("hmac_tag",),
    "open": ("hmac_verify", "decrypt_keys", "cbc_decrypt", "check_padding", "pack_texts"),
    "verify": ("hmac_verify",),
    "decrypt": ("decrypt_keys", "cbc_decrypt"),
}
"""The launches of each operation."""
KERNEL: Final = "kernel"
_KEY_WORDS: Final = KEY_BYTES // 4
_AES_KEY_WORD: Final = 8
_SCHEDULE_WORDS: Final = 60

Shape = tuple[int, int]
Array = npt.NDArray[Any]


def measure_kernels(device: Device, size: int, n: int, rounds: int = ROUNDS) -> list[Row]:
    """Time every operation on n messages of one size, in turns.

    Raises BenchError where they don't give what they have to, DeviceError where the device fails, and
    DeviceMemoryError where it has too little memory: about three times the texts.
    """
    with Resident(device, size, n) as resident:
        resident.check()
        shapes = {kernel: resident.fastest_shape(kernel) for kernel in resident.launches}
        times: dict[str, list[float]] = {operation: [] for operation in STEPS}
        for _ in range(rounds):
            for operation, kernels in STEPS.items():
                times[operation].append(resident.seconds([(kernel, shapes[kernel]) for kernel in kernels]))
    return [
        Row(ENGINE, KERNEL, operation, size, n, statistics.median(found), min(found), max(found), None)
        for operation, found in times.items()
    ]


class Resident:
    """n messages of one size in a device's memory, with room for all that becomes of them."""

    def __init__(self, device: Device, size: int, n: int) -> None:
        """Draw the messages; nothing is taken from the device yet."""
        self._device = device
        self._size, self._n = size, n
        self._keys, self._ivs = random_rows(n, KEY_BYTES), random_rows(n, IV_BYTES)
        self._associated, self._texts = random_batch(n, ASSOCIATED_BYTES), random_batch(n, size)
        self._record = sealed_bytes(size)
        self._blocks = size // BLOCK_BYTES + 1
        self._stream = device.stream()
        self._stack = ExitStack()
        self.launches: dict[str, tuple[int, tuple[int, ...]]] = {}
        """For each kernel how many threads have work, and its arguments."""

    def __enter__(self) -> "Resident":
        """Take the memory, and bring everything there."""
        with ExitStack() as stack:
            self._take(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the memory back."""
        self._stack.close()

    def check(self) -> None:
        """Seal and open once. Raises BenchError where the bytes are not those that they must be."""
        self.seconds([(kernel, SHAPES[0]) for kernel in STEPS["seal"]])
        first = self._read(self._sealed, self._record)
        expected = seal(self._keys[0].tobytes(), self._associated[0], self._texts[0], self._ivs[0].tobytes())
        self._device.clear(self._text, self._texts.total_bytes, self._stream)
        self.seconds([(kernel, SHAPES[0]) for kernel in STEPS["open"]])
        back = self._read(self._text, self._texts.total_bytes)
        if first.tobytes() != expected or not np.array_equal(back, self._texts.buffer):
            raise BenchError("the kernels do not seal and open as they must on this device")

    def fastest_shape(self, kernel: str) -> Shape:
        """Try all shapes, and give the fastest."""
        return min(SHAPES, key=lambda shape: min(self.seconds([(kernel, shape)]) for _ in range(2)))

    def seconds(self, steps: Sequence[tuple[str, Shape]]) -> float:
        """Launch kernels one behind the other, and give the device's time for all of them."""
        device = self._device
        begun = device.record(self._stream)
        for kernel, (block, of_each) in steps:
            items, arguments = self.launches[kernel]
            grid = max(1, min(device.facts.multiprocessors * of_each, -(-items // block)))
            device.launch(kernel, grid, block, self._stream, *arguments)
        end = device.record(self._stream)
        device.wait(begun)
        device.wait(end)
        return max(device.seconds_between(begun, end), LEAST_S)

    def _take(self, stack: ExitStack) -> None:
        n, blocks = self._n, self._n * self._blocks
        room = [
            stack.enter_context(allocated(self._device, size))
            for size in (4 * _SCHEDULE_WORDS * n, BLOCK_BYTES * blocks + SLACK_BYTES, n, 4 * n)
        ]
        schedules, padded, ok, lengths = room
        self._text = stack.enter_context(allocated(self._device, BLOCK_BYTES * blocks + SLACK_BYTES))
        self._sealed = stack.enter_context(allocated(self._device, n * self._record + SLACK_BYTES))
        places = np.arange(n + 1, dtype=np.int64)
        keys, ivs, associated, associated_at, text_at, sealed_at, order, block_at = (
            self._brought(stack, array)
            for array in (
                self._keys,
                self._ivs,
                self._associated.buffer,
                self._associated.offsets,
                self._texts.offsets,
                places * self._record,
                places[:-1].astype(np.uint32),
                (places * self._blocks).astype(np.uint32),
            )
        )
        self._write(self._text, self._texts.buffer)
        more = (associated, associated_at, self._sealed, sealed_at, order)
        self.launches = {
            "cbc_encrypt": (
                n,
                (keys, _KEY_WORDS, _AES_KEY_WORD, ivs, self._text, text_at, order, self._sealed, sealed_at, 16, n),
            ),
            "hmac_tag": (n, (keys, _KEY_WORDS, *more, n)),
            "hmac_verify": (n, (keys, _KEY_WORDS, *more, ok, n)),
            "decrypt_keys": (n, (keys, _KEY_WORDS, _AES_KEY_WORD, schedules, n)),
            "cbc_decrypt": (
                blocks,
                (schedules, _SCHEDULE_WORDS, ivs, self._sealed, sealed_at, 16, block_at, ok, padded, n),
            ),
            "check_padding": (n, (padded, block_at, ok, lengths, n)),
            "pack_texts": (-(-n * self._size // BLOCK_BYTES), (padded, block_at, text_at, self._text, n)),
        }

    def _brought(self, stack: ExitStack, array: Array) -> Address:
        """Bring an array to memory of its own."""
        data = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        address = stack.enter_context(allocated(self._device, len(data) + SLACK_BYTES))
        self._write(address, data)
        return address

    def _write(self, to: Address, data: Bytes) -> None:
        with pinned(self._device, len(data)) as lent:
            lent[:] = data
            self._device.copy_in(to, lent, self._stream)
            self._device.wait(self._device.record(self._stream))

    def _read(self, source: Address, size: int) -> Bytes:
        with pinned(self._device, size) as lent:
            self._device.copy_out(lent, source, self._stream)
            self._device.wait(self._device.record(self._stream))
            return lent.copy()
