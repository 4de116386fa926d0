"""A member with a client of their own making: what their keys let them make, and the relay's wire to say it on."""

from __future__ import annotations

from copy import copy

from securechat.crypto import aead
from securechat.e2e.chain import Header, sign_frame
from securechat.e2e.content import Said, pack
from securechat.e2e.room import SecureRoom
from securechat.e2e.sender import SendingSession
from securechat.wire import messages as wire
from tests.client.town import Person

WINDOW = 128
"""So many frames are posted at once: half of what a relay takes before it has answered."""


def secure(who: Person, room: str) -> SecureRoom:
    """What somebody's client has of a room."""
    found = who.conversation._rooms.by_name[room].secure
    assert found is not None
    return found


def session(who: Person, room: str) -> SendingSession:
    """Somebody's session in a room, to which they have said something before."""
    found = secure(who, room)._sending
    assert found is not None
    return found


def double(who: Person, room: str) -> SendingSession:
    """The same session once more: what it seals has the indices of what the first one seals."""
    return copy(session(who, room))


def sealed(who: Person, room: str, text: str, of: SendingSession, post_id: bytes = b"forged forged id") -> bytes:
    """The next frame of a session, sealed for the room's present epoch."""
    roster = secure(who, room).roster
    key = secure(who, room)._inbox.session_key(roster.epoch)
    assert key is not None
    job = of.begin(roster.epoch, key, pack(Said(roster.room_id, who.town.now_ms(), post_id, 0, text)))
    return of.finish(job, aead.seal(job.key, job.header, job.plaintext))


def signed(who: Person, room: str, sid: bytes, index: int) -> bytes:
    """A frame with any session number and index, signed by somebody's own device; it opens to nothing."""
    header = Header(secure(who, room).roster.epoch, sid, 0, bytes(32)).packed
    header = header[:52] + index.to_bytes(4, "big") + header[56:]
    return sign_frame(who.keys.device, header, aead.seal(bytes(64), header, bytes(128)))


def post(who: Person, room: str, *frames: bytes) -> None:
    """Post these, so many at once as the relay takes, and let all come to rest."""
    epoch = secure(who, room).roster.epoch
    for at in range(0, len(frames), WINDOW):
        some = frames[at : at + WINDOW]
        who.send(wire.Post(room, epoch, [(who._random(16), each) for each in some]))
        who.town.settle()
