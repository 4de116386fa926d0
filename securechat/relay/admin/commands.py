"""What each command does, once its command line has been read."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Final

import msgspec

from securechat.relay.admin.asking import connect
from securechat.relay.admin.copies import backup, restore
from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.messages import (
    Answer,
    Ban,
    Banned,
    Bans,
    Done,
    RemoveName,
    Request,
    Room,
    Rooms,
    Unban,
    User,
    Users,
)
from securechat.relay.admin.place import Place
from securechat.relay.admin.progress import Bar
from securechat.relay.admin.rotation import rotate
from securechat.relay.admin.verifying import verify


def _backup(place: Place, options: argparse.Namespace) -> None:
    if options.file.exists() and not options.force:
        raise AdminError(f"{options.file} is there already; --force replaces it", Exit.EXISTS)
    with Bar(sys.stderr) as bar:
        counts = backup(place, options.file, bar.tell)
    print(f"{options.file}: {_counted(counts)}")


def _verify(place: Place, options: argparse.Namespace) -> None:
    with Bar(sys.stderr) as bar:
        counts = verify(options.file, place.key(), lambda done, total: bar.tell("verified", done, total))
    print(f"{options.file} is whole: {_counted(counts)}")


def _restore(place: Place, options: argparse.Namespace) -> None:
    with Bar(sys.stderr) as bar:
        kept = restore(place, options.file, bar.tell)
    print(f"{place.store} is what {options.file} was" + (f"; the store before is {kept}" if kept else ""))


def _rotate(place: Place, options: argparse.Namespace) -> None:
    with Bar(sys.stderr) as bar:
        rotated = rotate(place, options.keep_old, bar.tell)
    if rotated:
        print(f"{place.key_path} is new, and {place.store} is sealed under it")
    else:
        print(f"{place.key_path} is new: what a rotation had left to do that was cut off is done")


def _users(place: Place, options: argparse.Namespace) -> None:
    _list(place, Users(), options, ("NAME", "HERE", "SEEN", "ROOMS", "KEY"))


def _rooms(place: Place, options: argparse.Namespace) -> None:
    _list(place, Rooms(), options, ("ROOM", "MEMBERS", "HERE", "ENTRIES", "LAST", "KEPT", "BYTES"))


def _bans(place: Place, options: argparse.Namespace) -> None:
    _list(place, Bans(), options, ("KIND", "SINCE", "NAME", "WHAT"))


def _cells(answer: Answer) -> Sequence[object]:
    """The line of a table for one thing in a list."""
    match answer:
        case User():
            here = "banned" if answer.banned else "yes" if answer.here else "-"
            return answer.name, here, answer.seen, len(answer.rooms), answer.identity
        case Room():
            counts = (answer.here, answer.entries, answer.last_seq, answer.messages, answer.bytes)
            return answer.name, len(answer.members), *counts
        case Banned():
            return answer.kind, answer.since, answer.name or "-", answer.value
    return ()


def _change(request: Callable[[argparse.Namespace], Request]) -> Callable[[Place, argparse.Namespace], None]:
    def change(place: Place, options: argparse.Namespace) -> None:
        for answer in _answers(place, request(options)):
            if isinstance(answer, Done):
                print(printable(answer.text))

    return change


COMMANDS: Final[dict[str, Callable[[Place, argparse.Namespace], None]]] = {
    "backup": _backup,
    "verify": _verify,
    "restore": _restore,
    "users": _users,
    "rooms": _rooms,
    "bans": _bans,
    "remove-name": _change(lambda options: RemoveName(options.name)),
    "ban": _change(lambda options: Ban(options.what)),
    "unban": _change(lambda options: Unban(options.what)),
    "rotate-key": _rotate,
}


def _answers(place: Place, request: Request) -> Iterator[Answer]:
    link = connect(place.directory)
    if link is None:
        raise AdminError(f"no relay runs on {place.directory}", Exit.NOT_RUNNING)
    with closing(link):
        yield from link.ask(request)


def _list(place: Place, request: Request, options: argparse.Namespace, heads: Sequence[str]) -> None:
    found = (answer for answer in _answers(place, request) if _cells(answer))
    if options.json:
        for answer in found:
            # Everything but ASCII is escaped: a terminal may be reading.
            print(json.dumps({key: value for key, value in msgspec.to_builtins(answer).items() if key != "is"}))
        return
    lines = [heads, *sorted([printable(str(cell)) for cell in _cells(answer)] for answer in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """A text that cannot do anything to a terminal but stand there."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _counted(counts: dict[str, int]) -> str:
    """How many rows a store has, without a name."""
    return ", ".join(f"{count} {table}" for table, count in counts.items() if table != "keys")
