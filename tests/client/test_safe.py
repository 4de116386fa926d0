"""What comes out of `safe`: nothing that a terminal obeys, nothing hidden, and plain text as it was."""

from unicodedata import category, is_normalized

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.safe import (
    MARKS,
    NAME_CHARACTERS,
    REPLACEMENT,
    safe_body,
    safe_line,
    safe_name,
    showable,
)

PLAIN = (
    "Good morning, 42 % of it!",
    "Größe, naïveté, Œuvre",
    "Καλημέρα, доброе утро",
    "שלום עולם and مرحبا بالعالم",
    "नमस्ते दुनिया, ক্ষমা, தமிழ்",
    "می‌خواهم",
    "ကြောင့်, ខ្មែរ, བོད་སྐད",
    "สวัสดี, 你好, こんにちは, 안녕하세요",
    "👩‍👩‍👧‍👦 🏳️‍🌈 ❤️‍🔥 👍🏽 🇧🇷",
    "two\nlines\n\n  and an indented one",
    "∀ε > 0: ε² ≥ 0 — “quoted” … €",
    "",
)

HOSTILE = {
    "an escape": "\x1b[2J\x1b]0;title\x07",
    "a C1 introducer": "\x9b2J",
    "a delete": "\x7f",
    "a carriage return": "paid\rnot ",
    "a line separator": "a\u2028b\u2029c\x85d",
    "a direction": "\u202eevil\u202c \u2066x\u2069 \u200e\u200f\u061c",
    "something of no width": "a\u200bb\u2060c\ufeffd\u00ade\u180ef",
    "tags": "flag\U000e0067\U000e0062\U000e007f",
    "a surrogate": "\ud83d alone",
}


def any_text() -> st.SearchStrategy[str]:
    """Any string, surrogates included, with many of the characters that matter here."""
    odd = st.sampled_from(
        "\x00\t\n\r\x1b\x7f\x85\x9b\u00ad\u0301\u0344\u0958\u115f\u200b\u200c\u200d\u202e\u2028\u2066\u2800"
        "\u3164\ud800\udfff\ufe0f\ufeff\U000e0041\U000e0100\U0001d160\u1100\u1161\u11a8\u09c7\u09be aé"
    )
    return st.text(st.one_of(odd, st.characters(codec=None, exclude_categories=()))).map(str)


class SafeBodyTests(SynchronousTestCase):
    """`safe_body` and `safe_line`."""

    def test_plain_text_stays(self) -> None:
        """Plain text in many scripts, and emoji put together from several, come out as they went in."""
        for text in PLAIN:
            self.assertEqual(safe_body(text), text)
            self.assertEqual(safe_body(text * 2), text * 2)

    def test_hostile_characters_are_replaced(self) -> None:
        """What a terminal obeys, or nobody sees, is replaced by a mark that is seen."""
        for what, text in HOSTILE.items():
            made_safe = safe_body(text)
            self.assertIn(REPLACEMENT, made_safe, what)
            for each in made_safe.replace("\n", ""):
                self.assertNotIn(category(each), {"Cc", "Cf", "Cs", "Zl", "Zp"}, what)
        self.assertEqual(safe_body("\x1b[31mred"), "\ufffd[31mred")

    def test_newlines_and_tabs(self) -> None:
        """Newlines stay, in either style, a lone carriage return does not, and tabs become spaces."""
        self.assertEqual(safe_body("a\nb\r\nc\rd\te"), "a\nb\nc\ufffdd    e")

    def test_marks_are_bounded(self) -> None:
        """A thousand marks on one letter become four, also where normalization makes two of each."""
        for mark in ("\u0316", "\u0344", "\ufe0f", "\u200d", "\u0903"):
            made_safe = safe_body("a" + "q" + mark * 1000 + "b")
            self.assertLessEqual(len(made_safe), 3 + MARKS, mark)
            self.assertTrue(made_safe.startswith("a") and made_safe.endswith("b"))

    def test_joiners_are_bounded(self) -> None:
        """A long chain of joined emoji, which a terminal may draw at any width, is broken up."""
        self.assertEqual(safe_body("\u200d".join("🐈" * 5)), "\u200d".join("🐈" * 5))
        self.assertEqual(safe_body("\u200d".join("🐈" * 6)), "\u200d".join("🐈" * 5) + "\ufffd🐈")

    def test_marks_without_a_letter_get_one(self) -> None:
        """A mark at the start of a line does not join what the screen writes before it."""
        self.assertEqual(safe_body("\u0301x\n\u0301\u0302y"), "\ufffdx\n\ufffd\u0302y")

    def test_it_is_normalized(self) -> None:
        """Two ways to write the same letter come out the same."""
        self.assertEqual(safe_body("e\u0301"), "é")

    def test_one_line(self) -> None:
        """On one line newlines are a mark, and a long text is cut."""
        self.assertEqual(safe_line("a\nb\x1b"), "a⏎b\ufffd")
        self.assertEqual(safe_line("abcdef", most=4), "abc…")
        self.assertEqual(safe_line("abcd", most=4), "abcd")

    @settings(deadline=None)
    @given(any_text())
    def test_nothing_dangerous_comes_out(self, text: str) -> None:
        """For any string: no control, escape, format or separator character, except newlines and joiners."""
        for made_safe, allowed in ((safe_body(text), "\n\u200c\u200d"), (safe_line(text, 200), "\u200c\u200d")):
            for each in made_safe:
                if each not in allowed:
                    self.assertNotIn(category(each), {"Cc", "Cf", "Cs", "Zl", "Zp"})
            self.assertEqual(made_safe.split("\n"), (made_safe + "\n").splitlines())
            made_safe.encode()

    @settings(deadline=None)
    @given(any_text())
    def test_safe_stays_safe(self, text: str) -> None:
        """For any string: doing it twice changes nothing, and the result is normalized."""
        for make_safe in (safe_body, safe_line, safe_name, showable, lambda each: safe_line(each, 20)):
            once = make_safe(text)
            self.assertEqual(make_safe(once), once)
        for make_safe in (safe_body, safe_line, safe_name):
            self.assertTrue(is_normalized("NFC", make_safe(text)))

    @settings(deadline=None)
    @given(any_text())
    def test_marks_are_bounded_everywhere(self, text: str) -> None:
        """For any string: no more than four marks and joiners follow each other."""
        for made_safe in (safe_body(text), safe_name(text)):
            run = 0
            for each in made_safe:
                run = run + 1 if each in "\u200c\u200d" or category(each).startswith("M") else 0
                self.assertLessEqual(run, MARKS)


class SafeNameTests(SynchronousTestCase):
    """`safe_name`."""

    def test_good_names_stay(self) -> None:
        """Every name and room that the wire allows comes out as it went in, and so do letters of other scripts."""
        for name in ("bob", "a.b-c_9", "#lobby", "@alice+bob", "z" * 32, "josé", "влад", "李"):
            self.assertEqual(safe_name(name), name)

    def test_what_cannot_be_seen_is_replaced(self) -> None:
        """Blank letters, joiners, variation selectors, white space and unassigned characters are replaced."""
        blank = (
            "\u3164\u115f\u1160\uffa0\u2800\u034f\u200c\u200d\ufe0f\U000e0100\u180b \u00a0\u3000\t\n\u0378\ue000"
        )
        for each in blank:
            self.assertEqual(safe_name(f"b{each}b"), "b\ufffdb", ascii(each))

    def test_hostile_characters_are_replaced(self) -> None:
        """Whatever is refused in a body is refused in a name."""
        for what, text in HOSTILE.items():
            self.assertIn(REPLACEMENT, safe_name(text), what)

    def test_long_names_are_cut(self) -> None:
        """A name that is too long is cut and ends in a mark."""
        self.assertEqual(safe_name("x" * 1000), "x" * (NAME_CHARACTERS - 1) + "…")

    @settings(deadline=None)
    @given(any_text())
    def test_nothing_invisible_comes_out(self, text: str) -> None:
        """For any string: at most 64 characters, none of them white space, control, format or unassigned."""
        made_safe = safe_name(text)
        self.assertLessEqual(len(made_safe), NAME_CHARACTERS)
        for each in made_safe:
            self.assertNotIn(category(each)[0], "CZ")


class ShowableTests(SynchronousTestCase):
    """`showable`, for what is typed here."""

    def test_plain_text_stays(self) -> None:
        """Plain text stays as it was typed."""
        for text in PLAIN:
            self.assertEqual(showable(text), text)

    def test_what_nobody_would_see_is_left_out(self) -> None:
        """Control, direction and invisible characters of a paste are left out, and tabs become spaces."""
        self.assertEqual(showable("a\x1b[1m\u202eb\ufeff\tc\r\nd\ud800"), "a[1mb    c\nd")
