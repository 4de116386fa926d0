"""The same for longer."""

from __future__ import annotations

import time

from tests.faults.fuzzing import DecoderCase
from tests.faults.programs import asked_s


class LongDecoderTests(DecoderCase):
    """Everything in `wire`, `signed` and `e2e` that reads bytes of others."""

    def test_fuzzed(self) -> None:
        """For a minute, or `FAULT_MINUTES`, there is no error but the decoders' own, and nothing takes long."""
        self.fuzzed(asked_s(60), time.time_ns() % 1_000_000)
