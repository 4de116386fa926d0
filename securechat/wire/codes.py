"""Why a frame was declined or a link ended: one vocabulary for wire, logs, counters and tests."""

from enum import StrEnum


class Code(StrEnum):
    """The reason in `Refused`, `Declined`, `Gap` and `Goodbye`; docs/PROTOCOL.md says what a client should do."""

    # The login was not taken (`Refused`).
    VERSION = "version"
    FULL = "full"
    BAD_NAME = "bad-name"
    NAME_TOO_LONG = "name-too-long"
    BAD_CERTIFICATE = "bad-certificate"
    NAME_OWNED = "name-owned"
    BANNED = "banned"
    TIMED_OUT = "timed-out"
    TOO_MANY_LOGINS = "too-many-logins"
    BUSY = "busy"

    # The stream was not understood, or more came than was agreed (`Refused`).
    EMPTY_FRAME = "empty-frame"
    OVERSIZED_FRAME = "oversized-frame"
    NOT_A_MESSAGE = "not-a-message"
    UNKNOWN_MESSAGE = "unknown-message"
    BAD_FIELD = "bad-field"
    OUT_OF_ORDER = "out-of-order"
    FLOOD = "flood"

    # One request was not carried out and the link stays (`Declined`).
    BAD_ROOM = "bad-room"
    ROOM_FULL = "room-full"
    TOO_MANY_ROOMS = "too-many-rooms"
    NOT_PERMITTED = "not-permitted"
    NOT_A_MEMBER = "not-a-member"
    NO_SUCH_ROOM = "no-such-room"
    BAD_ENTRY = "bad-entry"
    STALE_ENTRY = "stale-entry"
    STALE_EPOCH = "stale-epoch"
    STORAGE_FULL = "storage-full"

    # There is nothing under these numbers (`Gap`); `not-a-member` as well.
    EXPIRED = "expired"
    NOT_KEPT = "not-kept"

    # The link ends though its last frame was in order (`Goodbye`).
    QUIT = "quit"
    REPLACED = "replaced"
    SHUTDOWN = "shutdown"
    SLOW = "slow"
    SILENT = "silent"
    FAILED = "failed"


REASONS: dict[Code, str] = {
    Code.VERSION: "this relay speaks another version of the protocol",
    Code.FULL: "this relay has as many clients, names or rooms as it takes",
    Code.BAD_NAME: "a name is a lower-case letter or digit, then letters, digits, '.', '_' or '-'",
    Code.NAME_TOO_LONG: "a name has at most 32 characters",
    Code.BAD_CERTIFICATE: "the login was not signed as it must be, or for another relay or link",
    Code.NAME_OWNED: "this name belongs to somebody else, for good",
    Code.BANNED: "the operator of this relay has banned these keys",
    Code.TIMED_OUT: "no login came in time",
    Code.TOO_MANY_LOGINS: "too many logins have failed from here; try again in a while",
    Code.BUSY: "this relay has as much to do as it can; try again in a while",
    Code.EMPTY_FRAME: "a frame was empty",
    Code.OVERSIZED_FRAME: "a frame was longer than 64 KiB",
    Code.NOT_A_MESSAGE: "a frame held no message",
    Code.UNKNOWN_MESSAGE: "a message of this kind is not known here",
    Code.BAD_FIELD: "a field of a message was missing, of a wrong type or out of bounds",
    Code.OUT_OF_ORDER: "a message came where it does not belong",
    Code.FLOOD: "more came than the limits in Welcome allow",
    Code.BAD_ROOM: "a room is '#' and a name, or '@' and the names of two people joined by '+'",
    Code.ROOM_FULL: "this room has as many members as it takes",
    Code.TOO_MANY_ROOMS: "you are in as many rooms as one may be",
    Code.NOT_PERMITTED: "this room is closed, and you are not a member",
    Code.NOT_A_MEMBER: "you are not in this room",
    Code.NO_SUCH_ROOM: "there is no such room",
    Code.BAD_ENTRY: "this change of the room is not in order, or not yours to make",
    Code.STALE_ENTRY: "the room was changed by somebody else first",
    Code.STALE_EPOCH: "the members changed; seal for the new epoch",
    Code.STORAGE_FULL: "the relay has no room to keep more",
    Code.EXPIRED: "it was kept for as long as this room keeps messages",
    Code.NOT_KEPT: "this relay keeps no messages",
    Code.QUIT: "goodbye",
    Code.REPLACED: "you logged in again somewhere else",
    Code.SHUTDOWN: "the relay is stopping",
    Code.SLOW: "you read more slowly than the rooms talk",
    Code.SILENT: "nothing was heard from you",
    Code.FAILED: "something went wrong on this side",
}
"""One sentence for each code, sent as the reason; nothing that a peer said is ever repeated to it."""
