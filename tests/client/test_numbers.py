"""The numbers of a room's messages: nothing twice, holes noticed, own messages counted, rooms that begin anew."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.numbers import Absence, Numbers


def entered(last_seq: int = 0) -> Numbers:
    """The numbers of a room that was entered after message `last_seq`."""
    numbers = Numbers()
    assert numbers.begin(last_seq) is None
    return numbers


class CameTests(SynchronousTestCase):
    """Messages of others."""

    def test_in_order(self) -> None:
        """Messages in order are new and nothing is missing."""
        numbers = entered(4)
        self.assertEqual([numbers.came(seq) for seq in (5, 6, 7)], [(True, None)] * 3)

    def test_repeated(self) -> None:
        """A number that has come, and one from before we entered, is not new."""
        numbers = entered(4)
        numbers.came(5)
        self.assertEqual([numbers.came(seq) for seq in (5, 4, 1, 0)], [(False, None)] * 4)

    def test_hole(self) -> None:
        """A number too high tells the span before it once, and what is in the span is not taken later."""
        numbers = entered()
        self.assertEqual(numbers.came(4), (True, (1, 3)))
        self.assertEqual(numbers.came(5), (True, None))
        self.assertEqual(numbers.came(2), (False, None))

    def test_before_entering(self) -> None:
        """A message that comes before any `Roster` is taken as the first one."""
        numbers = Numbers()
        self.assertEqual(numbers.came(9), (True, None))
        self.assertEqual(numbers.came(9), (False, None))

    @given(st.lists(st.integers(0, 12), max_size=40))
    def test_never_twice(self, seqs: list[int]) -> None:
        """Whatever comes in whatever order, no number is new twice, and new numbers only rise."""
        numbers = entered()
        new = [seq for seq in seqs if numbers.came(seq)[0]]
        self.assertEqual(new, sorted(set(new)))


class OwnTests(SynchronousTestCase):
    """Messages of our own, which are told by their acknowledgement."""

    def test_own_is_no_hole(self) -> None:
        """A message after one of our own misses nothing."""
        numbers = entered()
        numbers.own(1)
        self.assertEqual(numbers.came(2), (True, None))

    def test_own_ahead(self) -> None:
        """An acknowledgement may come before messages of lower numbers, which are new all the same."""
        numbers = entered()
        numbers.own(3)
        self.assertEqual([numbers.came(seq) for seq in (1, 2, 4)], [(True, None)] * 3)
        self.assertEqual(numbers.came(3), (False, None))

    def test_own_twice(self) -> None:
        """A repeated acknowledgement changes nothing."""
        numbers = entered()
        for _ in range(2):
            numbers.own(1)
        self.assertEqual(numbers.came(2), (True, None))
        numbers.own(1)
        self.assertEqual(numbers.came(3), (True, None))

    def test_own_before_entering(self) -> None:
        """A number of our own before any `Roster` is ignored."""
        numbers = Numbers()
        numbers.own(7)
        self.assertIsNone(numbers.begin(7))

    @given(st.lists(st.booleans(), max_size=30), st.randoms(use_true_random=False))
    def test_no_hole_is_made_up(self, own: list[bool], random: Random) -> None:
        """Where all messages come, own ones at any time before the next, no hole is ever told."""
        numbers = entered()
        acks = [seq for seq, ours in enumerate(own, 1) if ours]
        for seq, ours in enumerate(own, 1):
            while acks and (acks[0] <= seq or random.random() < 0.3):
                numbers.own(acks.pop(0))
            if not ours:
                self.assertEqual(numbers.came(seq), (True, None))


class BeginTests(SynchronousTestCase):
    """Coming to a room, and coming back to it."""

    def test_first_time(self) -> None:
        """What was said before we ever came was not missed."""
        self.assertIsNone(Numbers().begin(1_000))

    def test_nothing_missed(self) -> None:
        """Coming back to the number that we know misses nothing."""
        numbers = entered(4)
        numbers.came(5)
        self.assertIsNone(numbers.begin(5))
        self.assertEqual(5, numbers.known)

    def test_not_ours(self) -> None:
        """What was said while we were no member was not missed, and only what comes after it is new."""
        numbers = entered(4)
        numbers.came(5)
        self.assertIsNone(numbers.begin(9))
        self.assertEqual([numbers.came(seq) for seq in (8, 9, 10)], [(False, None), (False, None), (True, None)])

    def test_began_anew(self) -> None:
        """A number lower than what we know is a new room: all that was said in it was missed."""
        numbers = entered(40)
        self.assertEqual(numbers.begin(3), (1, 3))
        self.assertEqual(numbers.came(4), (True, None))

    def test_began_anew_and_empty(self) -> None:
        """In a new room where nothing was said nothing was missed, and its first message is new."""
        numbers = entered(40)
        self.assertIsNone(numbers.begin(0))
        self.assertEqual(numbers.came(1), (True, None))

    def test_own_numbers_ahead_are_known(self) -> None:
        """A number of our own that is higher than the last one heard tells a new room too."""
        numbers = entered()
        numbers.own(5)
        self.assertEqual((0, 5), (numbers.known, numbers.top))
        self.assertEqual(numbers.begin(2), (1, 2))

    def test_another_run(self) -> None:
        """Where the last run of the program was, what came then is not new, and what comes next is."""
        numbers = Numbers()
        numbers.go_on(7)
        self.assertEqual([(False, None), (True, None)], [numbers.came(7), numbers.came(8)])
        numbers.go_on(7)
        self.assertEqual((True, (8, 9)), numbers.came(10))


class PassedTests(SynchronousTestCase):
    """Numbers under which nothing comes."""

    def test_waited_for(self) -> None:
        """Of those the ones are told that we waited for, once, and what comes next misses nothing."""
        numbers = entered(4)
        self.assertEqual([(5, 8), None], [numbers.passed(3, 8), numbers.passed(3, 8)])
        self.assertEqual((True, None), numbers.came(9))

    def test_own_in_front(self) -> None:
        """Messages of our own right behind them are counted."""
        numbers = entered()
        numbers.own(2)
        numbers.own(3)
        self.assertEqual(((1, 1), 3), (numbers.passed(1, 1), numbers.known))

    def test_ahead(self) -> None:
        """What is not next is not passed: the hole before it is told when something comes."""
        numbers = entered()
        self.assertEqual((None, 0), (numbers.passed(3, 4), numbers.known))
        self.assertEqual((True, (1, 4)), numbers.came(5))

    def test_first_of_all(self) -> None:
        """Who knows nothing of a room begins behind them, and waited for none."""
        numbers = Numbers()
        self.assertEqual((None, 9), (numbers.passed(1, 9), numbers.known))


class AbsenceTests(SynchronousTestCase):
    """What is told of the time when we were away."""

    def test_nothing(self) -> None:
        """Who was not away missed nothing, whatever was theirs."""
        absence = Absence()
        absence.own(3)
        self.assertEqual(absence.take(), [])

    def test_own(self) -> None:
        """What was given to messages of our own was not missed, at the edges and between them."""
        absence = Absence()
        absence.add(3, 9, "why")
        for seq in (9, 5, 3, 2, 10):
            absence.own(seq)
        self.assertEqual(absence.take(), [(4, 4, "why"), (6, 8, "why")])
        self.assertEqual(absence.take(), [])

    def test_all_own(self) -> None:
        """Where all of it was our own nothing was missed."""
        absence = Absence()
        absence.add(3, 4, "why")
        for seq in (3, 4):
            absence.own(seq)
        self.assertEqual(absence.take(), [])

    def test_away_again(self) -> None:
        """Each is told for its own reason."""
        absence = Absence()
        absence.add(3, 4, "why")
        absence.own(3)
        absence.add(5, 8, "because")
        self.assertEqual(absence.take(), [(4, 4, "why"), (5, 8, "because")])
