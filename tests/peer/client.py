"""A client that can be told to do wrong, by the documents and with no code of ours; `plain.py` is the shorter one.

It has all that the documents say, reads only while somebody waits for something, checks every signature by itself,
and keeps all that it heard in plain lists.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile

from tests.peer import log as logs
from tests.peer import sc1, sessions
from tests.peer.link import SecureLink
from tests.peer.log import Log, LogError, Member
from tests.peer.sc1 import RefusedError, lp
from tests.peer.sessions import Sending
from tests.peer.state import Arrived, Heard, Pending, Person, Room, now_ms
from tests.peer.wire import BrokenError, Message, PeerError, Wire


class PlainClient(Wire):
    """One link to one relay, from its greeting on. Nothing is read but while one of the methods waits."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        self.name = ""
        self.welcome: list[str] = []
        self.window = self.most_rooms = 0
        self.person: Person
        self.acked: dict[bytes, int] = {}
        self.heard: deque[Heard] = deque()
        self.found: dict[str, tuple[bytes, bool]] = {}
        self._unanswered = 0
        self._entering: set[str] = set()
        """Rooms whose answer to an `Enter` has not begun."""
        self._told_at = 0.0
        """When the relay was told last what is stored."""
        self._is_welcome = False
        """From the relay's `Welcome` to its last word."""
        super().__init__(address, timeout_s)
        self.greeting = self.wait_for("Greeting")
        if self.greeting[1] != 3:
            raise BrokenError("version")

    # What one does with it.

    @property
    def rooms(self) -> dict[str, Room]:
        """The rooms of whoever is logged in."""
        return self.person.rooms

    def hello(self, keys: sc1.Keys, **wrong: bytes) -> tuple[object, ...]:
        """The `Hello` of somebody for this link; `wrong` takes the place of what is signed or sent."""
        fingerprint = exporter = b""
        if isinstance(self.link, SecureLink):
            fingerprint, exporter = self.link.fingerprint, self.link.exporter
        signed = {"fingerprint": fingerprint, "nonce": self.greeting[2], "exporter": exporter, **wrong}
        bound = signed["fingerprint"], keys.name.encode(), keys.device, signed["nonce"], signed["exporter"]
        proof = sc1.sign(keys.device_key, "login", lp(*bound))
        newest = keys.newest_record(now_ms())
        sent = {"certificate": keys.certificate, "prekey": newest, "proof": proof, **wrong}
        return "Hello", 3, sent["certificate"], sent["prekey"], sent["proof"]

    def login(self, person: Person | str) -> None:
        """Log in. PeerError is raised with the code where the relay refuses."""
        self.person = Person(sc1.Keys(person)) if isinstance(person, str) else person
        for room in self.rooms.values():
            room.questions.clear()
            room.wanted.clear()
            room.numbers.told = 0, 0
        for each in self.person.pending.values():
            self._void(each)
        self.send(*self.hello(self.person.keys))
        self._answer("Welcome", "Refused")

    def ask(self, room: str) -> Log:
        """Be told of a room, and wait for its log and, as a member, its key. PeerError where it is declined."""
        known = self.rooms.get(room)
        self._entering.add(room)
        have, after = (len(known.log.entries), known.numbers.known) if known else (0, 0)
        self.send("Enter", room, have, after)
        try:
            self._until(room, ("Roster",), lambda: self._is_whole(room))
        finally:
            self._entering.discard(room)
        if self.is_member(room):
            self._until(room, ("SessionKey",), lambda: True)
        return self.rooms[room].log

    def enter(self, room: str, policy: str = "open") -> None:
        """Be a member of a room, founding it where there is none, and joining it where one may."""
        while True:
            try:
                if not self.ask(room).members.get(self.person.keys.identity):
                    self.append(room, "join", self.person.keys.identity, "member", self.person.keys.certificate)
                return
            except PeerError as wrong:
                if wrong.args[0] == "no-such-room":
                    self.founding(room, policy)
                    return
                if wrong.args[0] != "stale-entry":
                    raise

    def founding(self, room: str, policy: str = "closed") -> None:
        """Found a room. PeerError is raised where there is one."""
        packed = lp(policy.encode(), bytes(4))
        detail = lp(self.person.keys.certificate, room.encode(), os.urandom(16), packed)
        self.append(room, "create", self.person.keys.identity, "owner", detail)

    def direct(self, name: str) -> str:
        """Be in a direct room with somebody whom the relay knows; gives its name."""
        room = "@" + "+".join(sorted((self.name, name)))
        try:
            self.ask(room)
        except PeerError as wrong:
            if wrong.args[0] != "no-such-room":
                raise
            self.founding(room)
        if not self.rooms[room].log.named(name):
            self.add(room, name)
        return room

    def append(self, room: str, op: str, subject: bytes, role: str = "", detail: bytes = b"") -> None:
        """Sign the next entry, and wait until it is in the log, or for PeerError where it is declined."""
        log = Log(room) if op == "create" else self.rooms[room].log
        keys = self.person.keys
        entry = logs.entry(keys.device_key, len(log.entries), log.last, op, subject, role, now_ms(), detail)
        known = self.rooms.get(room)
        if op == "create":
            self.rooms[room] = Room(log)
        self.send("Append", room, entry)
        try:
            self._until(room, ("Roster",), lambda: entry in self.rooms[room].log.entries)
        except PeerError:
            if op == "create":
                self.rooms.pop(room)
                self.rooms.update({room: known} if known else {})
            raise
        if op in ("create", "join", "add") or (op == "remove" and subject != keys.identity):
            known = self.rooms[room]
            self._until(room, ("SessionKey",), lambda: known.log.epoch in known.keys)

    def lookup(self, name: str) -> tuple[bytes, bool]:
        """The certificate of a name's owner, empty where it has none, and whether they are logged in."""
        self.send("Lookup", name)
        self.wait_for("Found")
        certificate, online = self.found[name]
        if certificate and sc1.read_certificate(certificate)[0] != name:
            raise BrokenError("certificate")
        return certificate, online

    def add(self, room: str, name: str) -> None:
        """Bring somebody into a room, whose key is the one that was pinned."""
        certificate, _ = self.lookup(name)
        if not certificate:
            raise PeerError("nobody")
        _, identity, _ = sc1.read_certificate(certificate)
        self.person.meet(name, identity)
        if name in self.person.changed:
            raise PeerError("changed")
        self.append(room, "add", identity, "member", certificate)

    def remove(self, room: str, name: str) -> None:
        """Put somebody out of a room."""
        self.append(room, "remove", self.rooms[room].log.member(name).identity)

    def leave(self, room: str) -> None:
        """Leave a room."""
        self.append(room, "leave", self.person.keys.identity)

    def is_member(self, room: str) -> bool:
        """Whether the log has us among the members."""
        return room in self.rooms and self.person.keys.identity in self.rooms[room].log.members

    def rekey(self, room: str) -> None:
        """Begin a new session with the next message."""
        self.rooms[room].sending = None

    def say(self, room: str, text: str) -> bytes:
        """Say something in a room as soon as keys and window allow, and return its id."""
        post_id = os.urandom(16)
        self.person.pending[post_id] = Pending(room, text)
        self._go_on(room)
        return post_id

    def settle(self) -> None:
        """Wait until everything said has been acknowledged."""
        while self.person.pending:
            self.receive()

    def next_message(self, timeout_s: float | None = None) -> Heard:
        """The next message that somebody else said, readable or not."""
        deadline = self._deadline(timeout_s)
        while not self.heard:
            self.receive(deadline - time.monotonic())
        return self.heard.popleft()

    def ping(self) -> None:
        """Ask for a sign of life, and wait for it."""
        self.send("Ping")
        self.wait_for("Pong")

    def quit(self) -> None:
        """Go away in good order, with everything that came stored."""
        self._see()
        self.send("Goodbye", "quit", "")
        self.wait_for("Goodbye")
        self.wait_for_end()

    def catch_up(self, room: str) -> None:
        """Receive until all is known that had been said when the relay last said how much that was."""
        known = self.rooms[room]
        while known.numbers.known < known.last_seq:
            self.receive()

    # The wire.

    def receive(self, timeout_s: float | None = None) -> Message:
        """Wait for a message, act on it, and return it; once a second the relay is told what is stored by then."""
        if time.monotonic() >= self._told_at + 1:
            self._see()
        return super().receive(timeout_s)

    def _see(self) -> None:
        """Say what is stored: all that this client keeps it keeps in memory, so what has come is."""
        if not self._is_welcome:
            return
        mine = {name: room.numbers for name, room in self.rooms.items() if self.is_member(name)}
        stored = {name: numbers for name, numbers in mine.items() if numbers.news != numbers.told}
        items = [(name, *numbers.news) for name, numbers in stored.items()]
        for at in range(0, len(items), 64):
            self.send("Seen", items[at : at + 64])
            self._told_at = time.monotonic()
        for numbers in stored.values():
            numbers.told = numbers.news

    def post(self, room: str, items: Sequence[tuple[bytes, bytes]], epoch: bytes | None = None) -> None:
        """Post sealed messages of any making, for the room's epoch unless another one is given."""
        self._unanswered += len(items)
        self.send("Post", room, self.rooms[room].log.epoch if epoch is None else epoch, items)

    def _answer(self, good: str, bad: str) -> Message:
        answer = self.wait_for(good, bad)
        if answer[0] == bad:
            raise PeerError(answer[-2 if bad == "Refused" else -1])
        return answer

    def _until(self, room: str, names: Sequence[str], done: Callable[[], bool]) -> None:
        """Receive until something of these names for a room has come and that is enough."""
        while True:
            message = self.wait_for(*names, "Declined")
            if message[0] == "Declined" and message[1] == room and not message[2]:
                raise PeerError(message[3])
            if message[0] != "Declined" and message[1] == room and done():
                return

    # What the relay says.

    def on_welcome(self, name: str, rooms: list[str], limits: list[int]) -> None:
        self.name, self.welcome = name, rooms
        self.window, self.most_rooms, self.ping_s = limits
        self._is_welcome = True

    def on_refused(self, *_: object) -> None:
        self._is_welcome = False

    def on_goodbye(self, *_: object) -> None:
        self._is_welcome = False

    def on_ping(self) -> None:
        self.send("Pong")

    def on_found(self, name: str, certificate: bytes, online: bool) -> None:
        self.found[name] = certificate, online

    def on_roster(self, name: str, first: int, entries: list[bytes], total: int, last_seq: int) -> None:
        room = self.rooms.setdefault(name, Room(Log(name)))
        room.total, room.last_seq, was_member = total, last_seq, self.is_member(name)
        try:
            if first > len(room.log.entries) or total < len(room.log.entries):
                raise LogError("it is not the log that we know")
            for entry in entries:
                room.log.take(entry)
        except LogError as wrong:
            room.fault = str(wrong)
            return
        for member in room.log.members.values():
            self.person.meet(member.name, member.identity)
        if self.is_member(name) and not was_member and name not in self._entering:
            room.numbers.skip(room.numbers.known + 1, last_seq)
        blobs, room.blobs = room.blobs, []
        self._take_keys(name, blobs)

    def on_present(self, room: str, names: list[str]) -> None:
        self.rooms[room].present = names

    def on_presence(self, room: str, name: str, here: bool) -> None:
        present = self.rooms[room].present
        self.rooms[room].present = [each for each in present if each != name] + [name] * here

    def on_sessionkey(self, name: str, epoch: bytes, key: bytes) -> None:
        room = self.rooms[name]
        if epoch not in room.keys and epoch == room.log.epoch:
            # Whatever is unanswered in the room was posted for the epoch before, and is declined.
            for each in self.person.pending.values():
                if each.room == name:
                    self._void(each)
        room.keys[epoch] = key
        self._retry(name)
        self._go_on(name)

    def on_sealedkey(self, name: str, handed: int, items: list[tuple[str, bytes]]) -> None:
        self._take_keys(name, [blob for _, blob in items])
        self.rooms[name].numbers.handed = handed

    def _take_keys(self, name: str, blobs: list[bytes]) -> None:
        room = self.rooms[name]
        for blob in blobs:
            try:
                found = sessions.open_blob(blob, room.log, self.person.keys)
            except RefusedError:
                continue
            if found is None:
                room.blobs = [*room.blobs, blob][-64:]
                continue
            known = room.receiving.setdefault((found.device, found.sid), found)
            known.renew(found)
        self._retry(name)

    def on_asked(self, name: str, device: bytes, sid: bytes) -> None:
        room = self.rooms[name]
        if any(each.device == device for each in room.log.members.values()):
            room.asked.add(device)
            self._want(room, [device])

    def on_prekeys(self, items: list[tuple[bytes, bytes]]) -> None:
        for name, room in self.rooms.items():
            blobs = []
            for device, record in items:
                if device not in room.wanted:
                    continue
                room.wanted.discard(device)
                asked = device in room.asked
                room.asked.discard(device)
                session = room.sending
                if session is None or (device in session.handed and not asked):
                    continue
                session.handed.add(device)
                if any(each.device == device for each in self._audience(room)):
                    with suppress(RefusedError):  # passed over: they ask for it
                        blobs.append((device, session.seal_to(device, record, now_ms())))
            for at in range(0, len(blobs), 32):
                self.send("Hand", name, blobs[at : at + 32])
            self._go_on(name)

    def on_ack(self, room: str, items: list[tuple[bytes, int]]) -> None:
        self.acked.update(items)
        for _, seq in items:
            self.rooms[room].numbers.take(seq)
        self.on_declined(room, [post_id for post_id, _ in items], "acknowledged")

    def on_declined(self, room: str, ids: list[bytes], code: str) -> None:
        for post_id in ids:
            self._unanswered -= 1
            if code != "stale-epoch":
                self.person.pending.pop(post_id, None)
        for name in {each.room for each in self.person.pending.values()} if ids else ():
            self._go_on(name)

    def on_delivery(self, name: str, first_seq: int, items: list[tuple[str, int, bytes]]) -> None:
        room = self.rooms[name]
        for seq, (sender, ms, sealed) in enumerate(items, first_seq):
            if room.numbers.take(seq) and sender != self.name:
                self._hear(name, Arrived(seq, sender, ms, sealed))

    def on_gap(self, name: str, first: int, last: int, code: str) -> None:
        if self.rooms[name].numbers.skip(first, last) and code != "not-a-member":
            self.heard.append(Heard(name, last, "", 0, None, code, (first, last)))

    # Hearing.

    def _hear(self, name: str, came: Arrived) -> None:
        room = self.rooms[name]
        where = name, came.seq, came.sender, came.ms
        try:
            opened = self._open(room, came)
        except RefusedError as wrong:
            self.heard.append(Heard(*where, None, str(wrong)))
            return
        if opened is None:
            if len(room.held) >= 256 or sum(each.sender == came.sender for each in room.held) >= 64:
                self.heard.append(Heard(*where, None, "too many held"))
            else:
                room.held.append(came)
            return
        member, message_id, text, gap = opened
        if (member.identity, message_id) not in room.shown:
            room.shown.add((member.identity, message_id))
            self.heard.append(Heard(name, came.seq, member.name, came.ms, text, "", gap))

    def _open(self, room: Room, came: Arrived) -> tuple[Member, bytes, str, tuple[int, int] | None] | None:
        """The steps of Receiving. None where it waits for something."""
        read = sessions.read_frame(came.sealed)
        members = room.log.at.get(read.epoch)
        if members is None:
            return None
        member = next((each for each in members.values() if each.name == came.sender), None)
        if member is None or self.person.keys.device not in members:
            raise RefusedError("not a member")
        session = room.receiving.get((member.device, read.sid))
        if session is None:
            if (member.device, read.sid) not in room.questions:
                room.questions.add((member.device, read.sid))
                self.send("Ask", room.log.room, member.device, read.sid)
            return None
        if read.epoch not in room.keys:
            return None
        return member, *session.open(read, room.keys[read.epoch], room.log, now_ms())

    def _retry(self, name: str) -> None:
        room = self.rooms[name]
        held, room.held = room.held, []
        for each in held:
            self._hear(name, each)

    # Saying.

    def _is_whole(self, name: str) -> bool:
        room = self.rooms.get(name)
        return room is not None and (len(room.log.entries) == room.total or bool(room.fault))

    def _audience(self, room: Room) -> list[Member]:
        """The other members, but those whose key has changed."""
        others = (each for each in room.log.members.values() if each.device != self.person.keys.device)
        return [each for each in others if each.name not in self.person.changed]

    def _want(self, room: Room, devices: Sequence[bytes]) -> None:
        new = [device for device in devices if device not in room.wanted]
        room.wanted.update(new)
        for at in range(0, len(new), 64):
            self.send("Want", new[at : at + 64])

    def _void(self, pending: Pending) -> None:
        """It was declined, or may be lost: the next message of its session says so."""
        if pending.posted is not None:
            session, index = pending.posted
            session.void.add(index)
            pending.posted = None

    def _go_on(self, name: str) -> None:
        """Say what waits in a room, as far as it can be said now."""
        room, keys = self.rooms.get(name), self.person.keys
        if room is None or room.fault or not self._is_whole(name) or not self.is_member(name):
            return
        log = room.log
        if log.epoch not in room.keys or (name[0] == "@" and len(self._audience(room)) < len(log.members) - 1):
            return
        for post_id, each in self.person.pending.items():
            if each.room != name or each.posted or self._unanswered >= self.window:
                continue
            if room.sending is None or room.sending.is_spent(log, now_ms()):
                room.sending = Sending(keys, log, now_ms())
            session = room.sending
            lacking = [other.device for other in self._audience(room) if other.device not in session.handed]
            if lacking:
                self._want(room, lacking)
                return
            voided = sum(1 for _ in takewhile(session.void.__contains__, range(session.index - 1, -1, -1)))
            content = sessions.content(log.room_id, now_ms(), post_id, voided, each.text)
            each.posted = session, session.index
            self.post(name, [(post_id, session.seal(log.epoch, room.keys[log.epoch], content))])
