"""The options for limits: each sets its limit, and takes what it can mean."""

from __future__ import annotations

from dataclasses import fields

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.limit_options import LIMITS, limits_of
from securechat.relay.limits import RelayLimits
from securechat.relay.options import Options

NO_OPTION = {"waiting_s", "networks", "bots"}
"""For how long keys wait is for how long they can be used; the other two have options of their own."""


def parsed(*words: str) -> Options:
    """A command line."""
    options = Options()
    options.parseOptions(words)
    return options


class OptionTests(SynchronousTestCase):
    """Each of them."""

    def test_every_limit(self) -> None:
        """Every limit is one option's, and no option is of another."""
        every = {field.name for field in fields(RelayLimits)}
        self.assertEqual(sorted(every - NO_OPTION), sorted(each.field for each in LIMITS))

    def test_defaults(self) -> None:
        """Where nothing is said the limits are what they always are."""
        self.assertEqual(RelayLimits(), limits_of(parsed()))

    def test_each_sets_its_own(self) -> None:
        """Each option sets its limit, of its kind, and no other."""
        for each in LIMITS:
            found = limits_of(parsed(f"--{each.option}", f"{each.least:f}" if isinstance(each.default, float)
                                     else str(each.least)))  # fmt: skip
            changed = {
                field.name
                for field in fields(RelayLimits)
                if getattr(found, field.name) != getattr(RelayLimits(), field.name)
            }
            self.assertEqual({each.field} if each.least != each.default else set(), changed)
            self.assertIs(type(each.default), type(getattr(found, each.field)))

    def test_bounds(self) -> None:
        """What is out of its bounds or no number is refused, with the option's name and what it takes."""
        for each in LIMITS:
            for wrong in (f"{each.least - 1}", f"{each.most + 1}", "many", "nan", "inf", ""):
                with self.assertRaises(UsageError, msg=(each.option, wrong)) as caught:
                    parsed(f"--{each.option}={wrong}")
                self.assertIn(f"--{each.option} takes a", str(caught.exception))

    def test_default_is_allowed(self) -> None:
        """The default of each is one that it takes."""
        for each in LIMITS:
            parsed(f"--{each.option}={each.default}")

    def test_overrides(self) -> None:
        """Networks and bots may be given more than once; what is none is refused in one line."""
        options = parsed("--bot", "a=1", "--bot", "b=2", "--allow-network", "192.0.2.0/24=20")
        self.assertEqual([("a", 1.0), ("b", 2.0)], options.bots)
        self.assertEqual([("192.0.2.0/24", 20)], [(str(network), most) for network, most in options.networks])
        for wrong in ("--bot=x", "--allow-network=x"):
            with self.assertRaises(UsageError) as caught:
                parsed(wrong)
            self.assertIn(wrong.partition("=")[0], str(caught.exception))
        with self.assertRaises(UsageError):
            parsed("--bot", "a=1", "--post-rate", "0")

    def test_help(self) -> None:
        """Help shows each option once, the limits behind all others."""
        shown = parsed().getUsage(100)
        head, _, limits = shown.partition("\nLimits; ")
        for option in parsed().longOpt:
            at = limits if option.rstrip("=") in {each.option for each in LIMITS} else head
            self.assertEqual(1, shown.count(f"--{option} "), option)
            self.assertIn(f"--{option} ", at)
        self.assertNotIn("   is bounded", shown)
