"""Checks that are broken once each, to see that a test fails: no check is there whose result is not used.

A check is broken by putting something that says "fine" in its place; one named test is then run in a result of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unittest import TestCase, TestResult

from twisted.trial.unittest import SynchronousTestCase
from twisted.trial.unittest import TestCase as AsynchronousTestCase

PATIENCE_S = 3.0
"""How long a test may wait for what does not come once a check is broken. Whole, each takes some 100 ms."""


def yes(*_: object) -> bool:
    """Say that a check was passed."""
    return True


def no(*_: object) -> bool:
    """Say that nothing is wrong, where a check asks for what is."""
    return False


def nothing(*_: object) -> None:
    """Find nothing wrong, where a check gives what is, or raises it."""


class Anything:
    """A value that whatever is compared with it equals."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        """Say that it is the same."""
        return True

    def __ne__(self, other: object) -> bool:
        """Say that it is no other."""
        return False


@dataclass(frozen=True)
class Mutation:
    """A check, what says "fine" in its place, and the test that must then fail."""

    where: object
    name: str
    test: type[TestCase]
    method: str
    instead: object = yes


def outcome(test: type[TestCase], method: str, patience_s: float | None = None) -> TestResult:
    """Run one test in a result of its own; one that waits for something has so long, or as long as it says."""
    result = TestResult()
    case = test(method)
    if patience_s is not None and isinstance(case, AsynchronousTestCase):
        case.timeout = patience_s  # type: ignore[attr-defined]
    case.run(result)
    return result


def assert_green(case: SynchronousTestCase, mutations: Sequence[Mutation]) -> None:
    """Without a mutation every test of the list passes."""
    for test, method in dict.fromkeys((each.test, each.method) for each in mutations):
        result = outcome(test, method)
        wrong = [*result.errors, *result.failures]
        case.assertTrue(result.wasSuccessful() and result.testsRun == 1, f"{test.__name__}.{method}: {wrong}")


def assert_seen(case: SynchronousTestCase, mutations: Sequence[Mutation]) -> None:
    """With its check saying "fine" every test of the list fails."""
    survivors = []
    for mutation in mutations:
        patch = case.patch(mutation.where, mutation.name, mutation.instead)
        result = outcome(mutation.test, mutation.method, PATIENCE_S)
        patch.restore()
        if result.wasSuccessful():
            survivors.append(f"{mutation.name} is not missed by {mutation.test.__name__}.{mutation.method}")
    case.assertEqual(survivors, [])
