"""Makes strings from elsewhere fit to be shown: on a screen, in a line of a pipe, in a log.

Nothing that comes out can move the cursor, colour or clear a terminal, start a line where none belongs, turn the
reading direction, or hide. What is refused becomes U+FFFD, so that it is seen that something was there. This is
for display alone: what is compared, signed or kept stays as it came.

Characters are told by their Unicode category, never by ranges, because new ones are added every year. Each function
takes any string, never raises, and leaves its own results as they are.
"""

from typing import Final
from unicodedata import category, normalize
from unicodedata import name as unicode_name

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
NEWLINE_MARK: Final = "⏎"
MARKS: Final = 4
"""How many combining marks and joiners may follow one character."""

NAME_CHARACTERS: Final = 64
"""The longest name shown. It is longer than a good name can be: a bad one is cut, not believed."""

_TAB: Final = "    "
_JOINER: Final = "\N{ZERO WIDTH JOINER}"
_JOINERS: Final = frozenset(_JOINER + "\N{ZERO WIDTH NON-JOINER}")
_JOINED: Final = 4
"""How many joiners may put one emoji together. Terminals disagree about the width of what they do not know."""

_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_REFUSED_IN_NAMES: Final = _REFUSED | {"Cn", "Co", "Zs"}

# Letters, symbols and marks that show nothing: the Hangul fillers, the empty Braille pattern, the grapheme joiner,
# two Khmer vowels. Two names that differ by one of them look the same.
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")


def safe_body(text: str) -> str:
    """What somebody said. Newlines are kept, so whoever shows it must indent the lines after the first."""
    if text.isascii() and text.isprintable():
        return text
    return _bounded_marks(normalize("NFC", text.replace("\r\n", "\n").translate(_bodies)))


def safe_line(text: str, most: int | None = None) -> str:
    """The same on one line, newlines shown as a mark; cut to `most` characters where that is given."""
    return _cut(safe_body(text).replace("\n", NEWLINE_MARK), most)


def safe_name(text: str) -> str:
    """The name of a person or a room: no white space, nothing invisible, nothing that Unicode has not assigned."""
    if not (text.isascii() and text.isprintable() and " " not in text):
        text = _bounded_marks(normalize("NFC", text.translate(_names)))
    return _cut(text, NAME_CHARACTERS)


def showable(text: str) -> str:
    """Typed or pasted text without the characters that `safe_body` would not show, tabs as spaces.

    A text that is about to be said loses them here, rather than being full of replacement characters over there.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _TAB if each == "\t" else each for each in text.replace("\r\n", "\n") if each == "\t" or _is_shown(each)
    )


def _is_shown(character: str) -> bool:
    return character == "\n" or character in _JOINERS or category(character) not in _REFUSED


def _hides_in_names(character: str) -> bool:
    if category(character) in _REFUSED_IN_NAMES or character in _BLANK:
        return True
    # The variation selectors are marks, and many, so they are told by the name that Unicode gives them.
    return category(character) == "Mn" and "VARIATION SELECTOR" in unicode_name(character, "")


class _Bodies:
    """What `str.translate` asks for the characters of a body. It keeps nothing: a text may hold them all."""

    def __getitem__(self, code: int) -> str:
        character = chr(code)
        if character == "\t":
            return _TAB
        return character if _is_shown(character) else REPLACEMENT


class _Names:
    """The same for names."""

    def __getitem__(self, code: int) -> str:
        character = chr(code)
        return REPLACEMENT if _hides_in_names(character) else character


_bodies: Final = _Bodies()
_names: Final = _Names()


def _bounded_marks(text: str) -> str:
    """Bound the run of marks after each character, and give one to marks at the start of a line that have none.

    The text is in NFC before, as some marks are two when they are normalized. Marks are cut from the end of a run,
    which leaves at least `MARKS` between its neighbours, so nothing can compose that did not before.
    """
    kept: list[str] = []
    run: int | None = None
    joined = 0
    for character in text:
        if character == _JOINER and joined == _JOINED and run is not None and run < MARKS:
            character = REPLACEMENT
        if character in _JOINERS or category(character).startswith("M"):
            if run is None:
                kept.append(REPLACEMENT)
                run = 0
            elif run < MARKS:
                kept.append(character)
                run += 1
                joined += character == _JOINER
            continue
        if kept and kept[-1] != _JOINER:
            joined = 0
        kept.append(character)
        run = None if character == "\n" else 0
    return "".join(kept)


def _cut(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else text[: most - 1] + "…"
