"""What every member must have been shown, worked out from what all were told: nothing lost, doubled or moved.

`Life` is one run of one client, from its start to its end: what the relay acknowledged to it, and what it showed.
`check` is for when all links are healed and everybody has everything: it says what is wrong, in words, and what the
clients themselves said that they missed, which is no loss in silence.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass
class Life:
    """One run of one client in one room."""

    name: str
    room: str = "#lobby"
    since: int | None = None
    """The number of the first message that it must know of; None: the first one that it knows of."""
    cut: bool = False
    """It was killed: of what came at the end it may have shown nothing.

    That end begins behind what it showed last, and not behind what was acknowledged to it: an `Ack` may come before
    messages with lower numbers (docs/PROTOCOL.md, Hearing).
    """
    acked: list[tuple[str, str, int]] = field(default_factory=list)
    """Id, text and number of what the relay has taken of it, in order."""
    shown: list[tuple[int, str, bool]] = field(default_factory=list)
    """Number and text of what it showed, in order; True where it said that this is late."""
    again: list[tuple[int, str]] = field(default_factory=list)
    """Number and text of what it showed and said that it may have shown before it was killed the last time."""
    missed: list[tuple[int, int]] = field(default_factory=list)
    """The numbers, from the first to the last, of what it said that it missed."""
    unreadable: list[int] = field(default_factory=list)
    """The numbers of what it said that it cannot open."""
    held: list[int] = field(default_factory=list)
    """The numbers of what it said that waits for a key."""
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    """Gaps that it told of, by their sender's own numbers."""

    def read(self, events: Iterable[dict[str, Any]]) -> Life:
        """Take what a client wrote with `--json`; itself."""
        for event in events:
            if event.get("room") == self.room:
                match event["type"]:
                    case "sent":
                        self.acked.append((event.get("id", event["text"]), event["text"], event["seq"]))
                    case "message" if event.get("again"):
                        self.again.append((event["seq"], event["text"]))
                    case "message":
                        self.shown.append((event["seq"], event["text"], event.get("late", False)))
                    case "missed":
                        self.missed.append((event["first"], event["last"]))
                    case "unreadable":
                        self.unreadable.append(event["seq"])
                    case "held":
                        self.held.append(event["seq"])
                    case "gap":
                        self.gaps.append((event["sender"], event["first"], event["last"]))
        return self

    @property
    def told(self) -> set[int]:
        """The numbers of which it said that it cannot show them."""
        missed = {seq for first, last in self.missed for seq in range(first, last + 1)}
        return (missed | set(self.unreadable) | set(self.held)) - {seq for seq, _, _ in self.shown}

    @property
    def heard(self) -> set[int]:
        """The numbers of what it showed, or said that it cannot show."""
        return self.told | {seq for seq, _, _ in self.shown} | {seq for seq, _ in self.again}

    @property
    def known(self) -> set[int]:
        """The numbers of which it knows what became of them."""
        return self.heard | {seq for _, _, seq in self.acked}


@dataclass(frozen=True)
class Verdict:
    """What came out."""

    wrong: list[str]
    told: list[str]
    """What clients said that they did not get."""


def check(lives: Sequence[Life]) -> Verdict:
    """Look at all lives of all members of one room, those of one client in their order."""
    wrong: list[str] = []
    acked = {seq: text for life in lives for _, text, seq in life.acked}
    texts: dict[int, set[str]] = defaultdict(set)
    for life in lives:
        for _, text, seq in life.acked:
            texts[seq].add(text)
        for seq, text in [*((seq, text) for seq, text, _ in life.shown), *life.again]:
            texts[seq].add(text)
    wrong += (f"number {seq} is {' and '.join(sorted(each))}" for seq, each in texts.items() if len(each) > 1)
    last = max(texts, default=0)
    for life in lives:
        wrong += (f"{life.name}: {each}" for each in _of_one(life, acked, last))
    for name in {life.name for life in lives}:
        shown = [entry for life in lives if life.name == name for entry in life.shown]
        taken = _taken([life for life in lives if life.name == name])
        wrong += (f"{name}: {each}" for each in _doubled(shown, taken))
    told = [
        f"{life.name}: {words}"
        for life in lives
        for words in [
            *(f"missed {first} to {last}" for first, last in life.missed),
            *(f"cannot read {seq}" for seq in life.unreadable),
            *(
                f"still waits for the key of {seq}"
                for seq in sorted(life.told & set(life.held) - {*life.unreadable})
            ),
            *(f"gap of {sender}, {first} to {last}" for sender, first, last in life.gaps),
        ]
    ]
    return Verdict(wrong, told)


def _of_one(life: Life, acked: dict[int, str], last: int) -> Iterable[str]:
    known = life.known
    if not known:
        yield "knows nothing at all"
        return
    first = min(known) if life.since is None else life.since
    end = max(life.heard, default=0) if life.cut else last
    for seq in range(first, end + 1):
        if seq not in known:
            what = "acknowledged and not shown" if seq in acked else "missing"
            yield f"{seq} is {what}"
    prompt = [seq for seq, _, late in life.shown if not late]
    yield from (f"{after} is shown behind {before}" for before, after in pairwise(prompt) if after < before)
    own = [seq for _, _, seq in life.acked]
    yield from (f"its own {after} is told behind {before}" for before, after in pairwise(own) if after < before)


def _taken(lives: Sequence[Life]) -> list[tuple[str, str, int]]:
    """What was acknowledged to somebody. Who was killed may say a line again, and hears that it has its number."""
    taken: list[tuple[str, str, int]] = []
    of_killed: set[tuple[str, str, int]] = set()
    for life in lives:
        taken += (entry for entry in life.acked if entry not in of_killed)
        if life.cut:
            of_killed.update(life.acked)
    return taken


def _doubled(shown: list[tuple[int, str, bool]], taken: list[tuple[str, str, int]]) -> Iterable[str]:
    seqs: dict[int, int] = defaultdict(int)
    texts: dict[str, int] = defaultdict(int)
    ids: dict[str, int] = defaultdict(int)
    for seq, text, _ in shown:
        seqs[seq] += 1
        texts[text] += 1
    for label, _, seq in taken:
        seqs[seq] += 1
        ids[label] += 1
    yield from (f"{seq} is shown {times} times" for seq, times in seqs.items() if times > 1)
    yield from (f"{text!r} is shown {times} times" for text, times in texts.items() if times > 1)
    yield from (f"{label!r} is acknowledged {times} times" for label, times in ids.items() if times > 1)


def events_of(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The events in what a client wrote; a last line that was cut off by its end is none."""
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
