"""Events in the order of their causes, whoever is told and whatever that one does."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.events import Error, Event
from securechat.client.ordered import InOrder, Slot


def told(*texts: str) -> list[Event]:
    """Events that differ."""
    return [Error(text) for text in texts]


class OrderTests(SynchronousTestCase):
    """The order, with somebody who listens and may talk back."""

    def setUp(self) -> None:
        """Listen."""
        self.heard: list[Event] = []
        self.react: Callable[[Event], object] = lambda event: None
        self.events = InOrder(self.hear)

    def hear(self, event: Event) -> None:
        """Keep an event."""
        self.heard.append(event)
        self.react(event)

    def test_at_once(self) -> None:
        """While nothing is open an event is told at once."""
        self.events.tell(Error("1"))
        self.assertEqual(self.heard, told("1"))

    def test_behind_a_slot(self) -> None:
        """What happens after something that is not known yet waits for it."""
        slot = self.events.hold()
        self.events.tell(Error("2"))
        self.assertEqual(self.heard, [])
        slot.fill(told("1"))
        self.assertEqual(self.heard, told("1", "2"))

    def test_slots_filled_in_another_order(self) -> None:
        """A later slot that is filled first waits for the earlier one, and what is between stays between."""
        first = self.events.hold()
        self.events.tell(Error("2"))
        second = self.events.hold()
        self.events.tell(Error("5"))
        second.fill(told("3", "4"))
        self.assertEqual(self.heard, [])
        first.fill(told("1"))
        self.assertEqual(self.heard, told("1", "2", "3", "4", "5"))

    def test_slot_of_nothing(self) -> None:
        """A slot that comes to nothing holds up nothing."""
        slot = self.events.hold()
        self.events.tell(Error("1"))
        slot.fill([])
        self.assertEqual(self.heard, told("1"))

    def test_event_from_within(self) -> None:
        """What a listener causes comes after what was caused before it."""
        slot = self.events.hold()
        self.events.tell(Error("3"))
        self.react = lambda event: self.events.tell(Error("4")) if event == Error("1") else None
        slot.fill(told("1", "2"))
        self.assertEqual(self.heard, told("1", "2", "3", "4"))

    def test_slot_filled_from_within(self) -> None:
        """A slot that is filled while another one is told keeps its place."""
        first, second = self.events.hold(), self.events.hold()
        self.react = lambda event: second.fill(told("3")) if event == Error("1") else None
        first.fill(told("1", "2"))
        self.assertEqual(self.heard, told("1", "2", "3"))

    def test_listener_that_fails(self) -> None:
        """After a listener's mistake the events behind it are told with the next one, in order."""

        def fail(event: Event) -> None:
            self.react = lambda event: None
            raise ZeroDivisionError

        slot = self.events.hold()
        self.events.tell(Error("3"))
        self.react = fail
        self.assertRaises(ZeroDivisionError, slot.fill, told("1", "2"))
        self.events.tell(Error("4"))
        self.assertEqual(self.heard, told("1", "2", "3", "4"))

    @given(st.lists(st.integers(0, 3), max_size=12), st.permutations(range(12)))
    def test_any_order_of_filling(self, sizes: list[int], order: list[int]) -> None:
        """Slots and events are told in the order of their making, in whatever order the slots are filled."""
        self.heard.clear()
        slots: dict[int, Slot] = {}
        expected: list[Event] = []
        for index, size in enumerate(sizes):
            texts = told(*(f"{index}.{part}" for part in range(max(size, 1))))
            if size == 0:
                self.events.tell(texts[0])
            else:
                slots[index] = self.events.hold()
            expected += texts
        for index in order:
            if index in slots:
                slots[index].fill(told(*(f"{index}.{part}" for part in range(sizes[index]))))
        self.assertEqual(self.heard, expected)
