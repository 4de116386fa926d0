"""A relay that is used for long: for a minute and a half, or the minutes of `FAULT_MINUTES`, a day having 1,440."""

from __future__ import annotations

from tests.faults.programs import asked_s
from tests.faults.soak import SoakCase


class SoakTests(SoakCase):
    """Two hundred members who say 50 things a second, and come and go."""

    def test_soak(self) -> None:
        """Nothing is lost, and memory, descriptors and the store's log stay as they were."""
        self.soak(asked_s(90))
