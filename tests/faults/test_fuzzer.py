"""Decoders under a fuzzer, and whether that finds anything."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.framing import names_of
from securechat.wire.messages import FromClient, FromRelay
from tests.faults.decoders import FROM_RELAY
from tests.faults.fuzzer import MOST_S, Decoder, fuzz
from tests.faults.fuzzing import DecoderCase
from tests.faults.mutators import GOOD


def careless(data: bytes) -> int:
    """It believes a length, and refuses what does not begin well."""
    if data[:2] != b"ab":
        raise ValueError
    return data[2 + data[2]]


def slow(data: bytes) -> None:
    """It takes its time for one byte in 256."""
    if data[:1] == b"\0":
        end = time.thread_time() + 2 * MOST_S
        while time.thread_time() < end:
            pass


class FuzzerTests(SynchronousTestCase):
    """The fuzzer."""

    def test_finds_errors(self) -> None:
        """An error that is not one of a decoder's own is found, with the input that brings it about."""
        found = fuzz([Decoder("careless", careless, [b"ab\1abc"], (ValueError,))], 0.3, 1)
        self.assertGreater(found.inputs["careless"], found.taken["careless"])
        for each in found.wrong:
            name, _, data = each.partition(": ")
            error, _, data = data.partition(" for ")
            self.assertEqual(("careless", "IndexError('index out of range')"), (name, error))
            self.assertRaises(IndexError, careless, bytes.fromhex(data))
        self.assertTrue(found.wrong)

    def test_finds_what_is_slow(self) -> None:
        """An input that takes long is found."""
        found = fuzz([Decoder("slow", slow, [b"abc"])], 1.5, 1)
        self.assertTrue(found.wrong)
        self.assertIn(" s for 00", found.wrong[0])
        self.assertGreater(found.slowest[0], MOST_S)

    def test_finds_none(self) -> None:
        """In what refuses as it should there is nothing."""
        found = fuzz([Decoder("careful", lambda data: data.decode(), [b"abc"], (UnicodeDecodeError,))], 0.2, 1)
        self.assertEqual([], found.wrong)
        self.assertGreater(found.taken["careful"], 100)


class DecoderTests(DecoderCase):
    """Everything in `wire`, `signed` and `e2e` that reads bytes of others."""

    def test_samples(self) -> None:
        """There is a sample of every message."""
        self.assertEqual(names_of(FromClient), {each[0] for each in GOOD})
        self.assertEqual(names_of(FromRelay), {each[0] for each in FROM_RELAY})

    def test_fuzzed(self) -> None:
        """For five seconds there is no error but the decoders' own, and nothing that takes long."""
        self.fuzzed(5, time.time_ns() % 1_000_000)
