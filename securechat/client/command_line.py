"""From the input line of a chat to what it means, and to what may stand there, without any screen.

A line that begins with a slash is never said by accident: an unknown command is an error that suggests a near one,
because "/mgs bob secret" must not reach a room. Two slashes say a text that begins with one.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Protocol

from securechat.client.archive import HISTORY, MOST
from securechat.client.commands import (
    About,
    Clear,
    Command,
    Direct,
    Help,
    History,
    Join,
    Keep,
    Leave,
    New,
    Nothing,
    Quit,
    Rekey,
    Rooms,
    Safety,
    Say,
    Switch,
    Who,
    Wrong,
)
from securechat.client.safe import safe_line
from securechat.signed.entries import HISTORY_DAYS
from securechat.wire.codes import REASONS, Code
from securechat.wire.names import LOBBY, direct_pair, is_room, name_refusal

_WORD_SHOWN: Final = 32


class Talk(Protocol):
    """What a command must know about the conversation; `Conversation` has it."""

    name: str

    @property
    def rooms(self) -> list[str]:
        """The rooms that we are in."""

    def members(self, room: str) -> list[str]:
        """Who is in a room that we are in."""

    def direct_room(self, name: str) -> str | None:
        """The room of us and one other."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What may stand in place of the line from `start` to the cursor, the best first."""

    start: int
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line is typed."""

    room: str
    talk: Talk
    known: Collection[str]

    def rooms(self) -> list[str]:
        """The rooms that we are in, then those that are known besides."""
        rooms = [room for room in self.talk.rooms if is_room(room)]
        return rooms + sorted(room for room in self.known if is_room(room) and room not in rooms)

    def others(self, rooms: Sequence[str]) -> list[str]:
        """Who else is in these rooms, those of the first one first. What is no name is left out."""
        names = {
            name: None
            for room in rooms
            for name in sorted(self.talk.members(room))
            if name != self.talk.name and name_refusal(name) is None
        }
        return list(names)

    def named(self, word: str) -> str:
        """The room that a word means: the '#' may be left out."""
        word = word.lower()
        return word if word[:1] in ("#", "@") else f"#{word}"


@dataclass(frozen=True, slots=True)
class _Verb:
    """A command of the input line."""

    usage: str
    help: str
    parse: Callable[[str, _Place], Command]
    complete: Callable[[_Place], list[str]]


def parse(line: str, room: str, talk: Talk, known: Collection[str] = ()) -> Command:
    """What an input line, typed while `room` is shown, means.

    `known` are rooms that can be shown though we are not in them now, as while there is no link.
    """
    stripped = line.strip()
    if not stripped:
        return Nothing()
    if not stripped.startswith("/"):
        return Say(line)
    if stripped.startswith("//"):
        return Say(line[line.index("/") + 1 :])
    word, _, rest = stripped.partition(" ")
    # A paste may have a newline after its first word.
    word, *below = word.split(maxsplit=1)
    verb = _VERBS.get(word[1:].lower())
    if verb is None:
        return _unknown(word)
    return verb.parse(" ".join([*below, rest]).strip(), _Place(room, talk, known))


def complete(line: str, cursor: int, room: str, talk: Talk, known: Collection[str] = ()) -> Completion:
    """What the word before the cursor may become, typed while `room` is shown.

    Commands at the start of the line, the arguments that a command takes, rooms, and the names of those in the
    room, which are an address there when they are the first word.
    """
    before = line[:cursor]
    start = max(before.rfind(" "), before.rfind("\n")) + 1
    word = before[start:].lower()
    head = before[:start].split()
    place = _Place(room, talk, known)
    if not head:
        if word.startswith("/"):
            return Completion(start, tuple(f"/{name} " for name in _VERBS if f"/{name}".startswith(word)))
        end = ": "
    else:
        end = " "
        if head[0].startswith("/") and not head[0].startswith("//"):
            verb = _VERBS.get(head[0][1:].lower())
            if verb is None:
                return Completion(start, ())
            if len(head) == 1:
                return Completion(start, tuple(f"{each} " for each in verb.complete(place) if _begins(each, word)))
    if not word:
        return Completion(start, ())
    rooms = [f"{each} " for each in place.rooms() if word.startswith("#") and each.startswith(word)]
    names = [f"{each}{end}" for each in place.others([room]) if each.startswith(word)]
    return Completion(start, tuple(rooms + names))


def _begins(candidate: str, word: str) -> bool:
    return candidate.startswith(word) or candidate.removeprefix("#").startswith(word)


def _unknown(word: str) -> Wrong:
    near = get_close_matches(word[1:].lower(), _VERBS, n=1, cutoff=0.5)
    advice = f"did you mean /{near[0]}?" if near else "/help lists the commands."
    what = safe_line(word, _WORD_SHOWN)
    return Wrong(f"There is no {what}; {advice} Nothing was sent. // says a line that begins with a slash.")


def _usage(name: str) -> Wrong:
    return Wrong(f"This command is written {_VERBS[name].usage}")


def _alone(name: str, made: Command) -> Callable[[str, _Place], Command]:
    """A command that takes no arguments."""
    return lambda rest, place: _usage(name) if rest else made


def _help(rest: str, place: _Place) -> Command:
    if not rest:
        width = max(len(verb.usage) for verb in _VERBS.values())
        return Help((*(f"{verb.usage:{width}}  {verb.help}" for verb in _VERBS.values()), *_HELP_BELOW))
    name = rest.removeprefix("/").lower()
    verb = _VERBS.get(name)
    return _unknown(f"/{name}") if verb is None else Help((f"{verb.usage}: {verb.help}",))


def _one_room(rest: str, place: _Place, name: str) -> str | Wrong:
    """The room named, or the one that is shown where none is."""
    if not rest:
        return place.room
    if len(rest.split()) > 1:
        return _usage(name)
    room = place.named(rest)
    return room if is_room(room) else Wrong(REASONS[Code.BAD_ROOM])


def _who(rest: str, place: _Place) -> Command:
    room = _one_room(rest, place, "who")
    if isinstance(room, Wrong):
        return room
    return Who(room) if room in place.talk.rooms else Wrong(f"You are not in {safe_line(room, _WORD_SHOWN)} now.")


def _join(rest: str, place: _Place) -> Command:
    room = _one_room(rest, place, "join") if rest else _usage("join")
    return room if isinstance(room, Wrong) else Join(room)


def _new(rest: str, place: _Place) -> Command:
    room = _one_room(rest, place, "new") if rest else _usage("new")
    if isinstance(room, Wrong):
        return room
    return Wrong("A room of two is made by /msg.") if direct_pair(room) is not None else New(room)


def _rekey(rest: str, place: _Place) -> Command:
    room = _one_room(rest, place, "rekey")
    return room if isinstance(room, Wrong) else Rekey(room)


def _one_name(rest: str, place: _Place, verb: str) -> str | Wrong:
    """The name of somebody else."""
    if len(rest.split()) != 1:
        return _usage(verb)
    name = rest.lower().removesuffix(":")
    refusal = name_refusal(name)
    if refusal is not None:
        return Wrong(REASONS[refusal])
    return Wrong("This is your own name.") if name == place.talk.name else name


def _about(what: str) -> Callable[[str, _Place], Command]:
    def parse_name(rest: str, place: _Place) -> Command:
        name = _one_name(rest, place, what)
        return name if isinstance(name, Wrong) else About(what, name)

    return parse_name


def _verify(rest: str, place: _Place) -> Command:
    words = rest.split()
    compared = len(words) == 2 and words[1].lower() == "yes"
    name = _one_name(words[0] if compared else rest, place, "verify")
    if isinstance(name, Wrong):
        return name
    return About("verify", name) if compared else Safety(name)


def _leave(rest: str, place: _Place) -> Command:
    room = _one_room(rest, place, "leave")
    return room if isinstance(room, Wrong) else Leave(room)


def _msg(rest: str, place: _Place) -> Command:
    if not rest:
        return _usage("msg")
    name = rest.split(maxsplit=1)[0]
    text = rest[len(name) :].strip()
    name = name.lower().removesuffix(":")
    if name == place.talk.name:
        return Wrong("This is your own name; nothing was sent.")
    room = place.talk.direct_room(name)
    if room is None:
        return Wrong(f"Nothing was sent: {REASONS[name_refusal(name) or Code.BAD_NAME]}.")
    return Direct(name, room, text)


def _room(rest: str, place: _Place) -> Command:
    if len(rest.split()) != 1:
        return _usage("room")
    rooms = place.rooms()
    wanted = place.named(rest)
    direct = place.talk.direct_room(rest.lower())
    for room in (wanted, direct):
        if room is not None and room in rooms:
            return Switch(room)
    if not is_room(wanted):
        return Wrong(REASONS[Code.BAD_ROOM])
    return Wrong(f"You are not in {wanted}; /join {wanted} enters it.")


def _number(rest: str, most: int) -> int | None:
    """A number from 0 to `most`; None for anything else."""
    number = int(rest) if rest.isascii() and rest.isdecimal() and len(rest) < 9 else most + 1
    return number if number <= most else None


def _history(rest: str, place: _Place) -> Command:
    count = _number(rest, MOST) if rest else HISTORY
    return History(count) if count else _usage("history")


def _keep(rest: str, place: _Place) -> Command:
    days = _number(rest, HISTORY_DAYS)
    return _usage("keep") if days is None else Keep(days)


def _no_arguments(place: _Place) -> list[str]:
    return []


def _rooms_to_join(place: _Place) -> list[str]:
    rooms = [room for room in place.rooms() if direct_pair(room) is None]
    return rooms if LOBBY in rooms else [*rooms, LOBBY]


def _rooms_to_show(place: _Place) -> list[str]:
    rooms = place.rooms()
    pairs = [pair for room in rooms if (pair := direct_pair(room)) is not None and place.talk.name in pair]
    return [
        *(room for room in rooms if direct_pair(room) is None),
        *(first if second == place.talk.name else second for first, second in pairs),
    ]


def _all_names(place: _Place) -> list[str]:
    return place.others([place.room, *place.talk.rooms])


def _rooms_we_are_in(place: _Place) -> list[str]:
    return [room for room in place.talk.rooms if is_room(room)]


_VERBS: Final[dict[str, _Verb]] = {
    "help": _Verb("/help [COMMAND]", "show the commands", _help, lambda place: list(_VERBS)),
    "who": _Verb("/who [ROOM]", "show who is in a room", _who, _rooms_we_are_in),
    "join": _Verb("/join ROOM", "enter a room; the # may be left out", _join, _rooms_to_join),
    "leave": _Verb("/leave [ROOM]", "leave a room", _leave, _rooms_we_are_in),
    "msg": _Verb("/msg NAME [TEXT]", "write to one person alone, or show what you wrote", _msg, _all_names),
    "rooms": _Verb("/rooms", "show the rooms that you are in", _alone("rooms", Rooms()), _no_arguments),
    "room": _Verb("/room ROOM", "show another of your rooms", _room, _rooms_to_show),
    "new": _Verb("/new ROOM", "found a room that only those enter whom you invite", _new, _no_arguments),
    "invite": _Verb("/invite NAME", "bring somebody into this room", _about("invite"), _all_names),
    "remove": _Verb("/remove NAME", "put somebody out of this room", _about("remove"), _all_names),
    "whois": _Verb("/whois NAME", "show somebody's key", _about("whois"), _all_names),
    "verify": _Verb("/verify NAME [yes]", "show the number to compare; yes: it is the same", _verify, _all_names),
    "trust": _Verb("/trust NAME", "accept the new key of somebody whose key changed", _about("trust"), _all_names),
    "rekey": _Verb("/rekey [ROOM]", "begin a new session with the next message", _rekey, _rooms_we_are_in),
    "history": _Verb("/history [N]", "show the last messages that were kept again", _history, _no_arguments),
    "keep": _Verb(
        "/keep DAYS", "keep what is said in this room for so long; 0: keep nothing", _keep, _no_arguments
    ),
    "clear": _Verb("/clear", "empty the screen", _alone("clear", Clear()), _no_arguments),
    "quit": _Verb("/quit", "end the chat", _alone("quit", Quit()), _no_arguments),
}

_HELP_BELOW: Final = ("//TEXT says a text that begins with a slash.",)
