"""Events as lines, where there is no screen: JSON for programs, a remark for people."""

import msgspec

from securechat.client import events

_output = msgspec.json.Encoder()


def json_line(event: events.Event) -> bytes:
    """An event as one line, also for readers that break lines at U+2028, and harmless on a terminal."""
    line = _output.encode(event)
    if line.isascii() and b"\x7f" not in line:
        return line
    text = line.decode()
    return (text if text.isprintable() else "".join(map(_escaped, text))).encode()


def _escaped(character: str) -> str:
    # What is not printable stands in strings only, where JSON lets it be written as escapes.
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def remark(event: events.Event, *, again: bool, chatty: bool) -> str:
    """What an event that is no message says to a person; empty where it is not worth a line.

    Trouble always is, the rest where it was asked for; `again` says that there was a link before.
    """
    match event:
        case events.NotSent():
            return f"not sent: {event.reason}: {event.text[:60]}"
        case events.NotEntered():
            return f"cannot enter {event.room}: {event.reason}"
        case events.Unreadable():
            whose = f"of {event.sender} " if event.sender else ""
            return f"a message {whose}in {event.room} cannot be read: {event.reason}"
        case events.Gap():
            return f"{event.last - event.first + 1} messages of {event.sender} in {event.room} did not come yet"
        case events.KeyChanged():
            return f"the key of {event.name} is another than before; nothing is sealed to them until you decide"
        case events.Fault():
            return f"the log of {event.room} does not hold: {event.reason}"
        case events.Info():
            return "; ".join(event.lines)
        case events.Missed():
            return f"missed {event.last - event.first + 1} messages in {event.room}"
        case events.History():
            return f"{len(event.messages)} messages of {event.room} are kept here"
        case events.Policy():
            return f"{event.name} has decided: what is said in {event.room} is kept for {event.history_days} days"
        case events.Error():
            return event.text
        case events.Link(up=False):
            return f"{event.reason}; trying again in {max(event.retry_s or 0, 1):.0f} s"
        case events.Link() if again:
            return "connected again"
    return _chat(event) if chatty else ""


def _chat(event: events.Event) -> str:
    match event:
        case events.Link():
            return f"connected to {event.relay}"
        case events.Entered(room, members):
            return f"you are in {room} with {', '.join(members)}"
        case events.Joined(room, name):
            return f"{name} is a member of {room} now"
        case events.Came(room, name):
            return f"{name} came to {room}"
        case events.Gone(room, name):
            return f"{name} is away from {room}"
        case events.Held(room, sender, _, _, reason):
            return f"a message of {sender} in {room}: {reason}"
        case events.Left(room, name):
            return f"{name} left {room}"
        case events.Keyed(room, fingerprint, _):
            return f"new session key for {room}: {fingerprint}"
        case events.Motd(text):
            return text
    return ""
