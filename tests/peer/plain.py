"""A deliberately plain client for securechat's protocol 3, written from PROTOCOL.md and SC1-notes.md alone."""

import hmac
import os
import re
import socket
import struct
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import msgpack
from OpenSSL import SSL, crypto

HOUR, DAY = 3_600_000, 86_400_000
X_WING, X25519 = bytes.fromhex("647a00010002"), bytes.fromhex("002000010002")
KEMS = {X_WING: hpke.KEM.MLKEM768_X25519, X25519: hpke.KEM.X25519}
SUITES = {suite: hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM) for suite, kem in KEMS.items()}
ROLES = {b"create": [b"owner"], b"join": [b"member"], b"add": [b"member"], b"role": [b"owner", b"admin", b"member"]}
ROLES |= {op: [b""] for op in (b"remove", b"leave", b"policy")}
BELOW = {b"owner": [b"admin", b"member"], b"admin": [b"member"]}
FRAME_SIZES = [344 - 128 + (128 << k) for k in range(8)]
BODY = msgpack.Decoder(tuple[str, bytes, int, bytes, int, Any])
signer = ed25519.Ed25519PublicKey.from_public_bytes
BAD = (KeyError, ValueError, InvalidSignature, InvalidTag)  # what a check that fails raises
Message = tuple[str, int, str, str | None, str]  # room, number, sender, text, and why there is no text


class PeerError(Exception):
    """The relay said no, or this client refuses to go on: a code, and a reason for a person."""


class Member(NamedTuple):
    name: str
    ik: bytes
    dk: bytes
    role: bytes = b"member"


def ensure(holds: bool, *otherwise: str, error: type[Exception] = ValueError) -> None:
    if not holds:
        raise error(*otherwise)


def lp(*items: bytes) -> bytes:
    return b"".join(len(item).to_bytes(4) + item for item in items)


def unlp(data: bytes, *lengths: int | None) -> list[bytes]:  # exactly these items; None stands for any length
    items = []
    for length in lengths:
        size = int.from_bytes(data[:4])
        ensure(len(data) >= 4 + size and length in (None, size), "not of its form")
        items.append(data[4 : 4 + size])
        data = data[4 + size :]
    ensure(not data, "not of its form")
    return items


def read_certificate(raw: bytes) -> Member:
    name, ik, dk, created, signature = unlp(raw, None, 32, 32, 8, 64)
    ensure(re.fullmatch(b"[a-z0-9][a-z0-9._-]{0,31}", name) is not None, "not a name")
    signer(ik).verify(signature, b"securechat/1 device\0" + lp(name, dk, created))
    return Member(name.decode(), ik, dk)


def message_key(chain: bytes, r: bytes, sid: bytes, index: int) -> bytes:
    seed, info = hmac.digest(chain, b"\1", "sha256"), b"securechat/1 message" + sid + index.to_bytes(4)
    return HKDF(hashes.SHA512(), 64, r, info).derive(seed)


def seal_frame(key: bytes, header: bytes, iv: bytes, body: bytes) -> bytes:
    # PKCS#7's padding is always a whole block, as the plaintext is of whole blocks.
    plaintext = lp(body).ljust(max(128, 1 << (3 + len(body)).bit_length()), b"\0") + bytes([16] * 16)
    encryptor = Cipher(algorithms.AES256(key[32:]), modes.CBC(iv)).encryptor()
    sealed = header + iv + encryptor.update(plaintext) + encryptor.finalize()
    return sealed + hmac.digest(key[:32], sealed + (8 * 88).to_bytes(8), "sha512")[:32]


@dataclass
class Session:
    descriptor: bytes
    begun: int  # number of the epoch's entry
    departures: int  # how many had left by then
    chain: bytes
    index: int  # of the chain key
    measure: int = 0  # of another's: number of the epoch of the frame with the highest index
    skipped: dict[int, bytes] = field(default_factory=dict)  # chain keys of frames that did not come
    sid: bytes = b""  # of our own, as all that follows
    prev: bytes = b""
    voided: int = 0  # how many indices before this one were given up
    handed: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)  # device: index and chain key of then


class Room:  # its log, checked entry by entry, and what else is known of it; it outlives a link
    def __init__(self, name: str) -> None:
        self.name, self.pair = name, name[1:].split("+") if name.startswith("@") else []
        self.hashes: list[bytes] = []
        self.members: dict[bytes, Member] = {}  # by identity key
        self.devices: dict[bytes, bytes] = {}  # every device that ever was here, and whose
        self.epoch, self.departures, self.open = b"", 0, False
        self.epochs: dict[bytes, tuple[int, int, dict[bytes, Member]]] = {}  # entry, departures, members by device
        self.keys: dict[bytes, bytes] = {}  # R by epoch, of past ones for reading only
        self.own: deque[Session] = deque(maxlen=4)  # the last is the present one
        self.theirs: dict[tuple[bytes, bytes], Session] = {}  # by device and sid
        self.held, self.seen = list[tuple[int, str, bytes]](), set[tuple[bytes, bytes]]()  # seen: IK, id
        self.known, self.handed = 0, 0  # up to which all messages and all sealed keys are here

    def find(self, what: str | bytes) -> Member | None:
        return next((member for member in self.members.values() if what in (member.name, member.dk)), None)

    def follow(self, n: int, raw: bytes) -> None:
        body, device, signature = unlp(raw, None, 32, 64)
        number, previous, op, ik, role, _, detail = unlp(body, 4, 32, None, 32, None, 8, None)
        ensure(role in ROLES.get(op, []), "not of its form")
        join, certificate = b"", detail
        if op == b"create":
            certificate, room, _, detail = unlp(detail, None, None, 16, None)
            ensure(room == self.name.encode(), "it founds another room")
        if op in (b"create", b"policy"):
            join, days = unlp(detail, None, 4)
            ensure(join in (b"open", b"closed") and int.from_bytes(days) <= 3650, "not a policy")
        newcomer = read_certificate(certificate) if op in (b"create", b"join", b"add") else None
        ensure(not detail or op not in (b"remove", b"leave", b"role"), "not of its form")
        if n < len(self.hashes):
            ensure(sha256(raw).digest() == self.hashes[n], "the relay shows different logs")
            return
        actor, subject = newcomer if op in (b"create", b"join") else self.find(device), self.members.get(ik)
        if actor is None or actor.dk != device:
            raise ValueError("not by a member")
        signer(device).verify(signature, b"securechat/1 room\0" + body)
        last = self.hashes[-1] if n else bytes(32)
        ensure((number, previous) == (n.to_bytes(4), last), "the relay shows different logs")
        owner, below = actor.role == b"owner", subject is not None and subject.role in BELOW.get(actor.role, [])
        rights = {b"create": n == 0, b"join": self.open, b"leave": ik == actor.ik, b"remove": below}
        rights[b"add"] = self.open or bool(self.pair) or actor.role in BELOW
        rights |= {b"role": owner and subject is not None, b"policy": owner and ik == actor.ik}
        ensure(rights[op] and n < 65_536, "the actor has no right to it")
        ensure(not self.pair or (op in (b"create", b"add", b"leave") and join != b"open"), "not in a direct room")
        ensure(not self.pair or newcomer is None or newcomer.name in self.pair, "not one of the two")
        if newcomer is not None:
            ensure(ik == newcomer.ik and subject is None and len(self.members) < 1024, "cannot come in")
            free = self.find(newcomer.name) is None and self.devices.setdefault(newcomer.dk, ik) == ik
            ensure(free, "the name or the device is another's here")
            self.members[ik] = newcomer._replace(role=role)
        elif op == b"role":
            self.members[ik] = self.members[ik]._replace(role=role)
        elif op != b"policy":
            del self.members[ik]
            self.departures += 1
        self.open = join == b"open" if join else self.open
        self.hashes.append(sha256(raw).digest())
        if op not in (b"role", b"policy"):
            self.epoch = self.hashes[-1]
            self.epochs[self.epoch] = (n, self.departures, {one.dk: one for one in self.members.values()})


class Person:
    """Somebody's keys, private prekeys, pins and rooms: whatever outlives a link."""

    def __init__(self, name: str, suite: bytes = X_WING) -> None:
        """Make somebody new, whose prekey is of that suite."""
        self.name, self.suite = name, suite
        identity, self.device = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
        self.ik, self.dk = (key.public_key().public_bytes_raw() for key in (identity, self.device))
        now, half, self.prekey_id = time.time_ns() // 1_000_000, x25519.X25519PrivateKey.generate(), os.urandom(8)
        created, until = now.to_bytes(8), (now + 14 * DAY).to_bytes(8)
        signature = identity.sign(b"securechat/1 device\0" + lp(name.encode(), self.dk, created))
        self.certificate = lp(name.encode(), self.ik, self.dk, created, signature)
        lattice = mlkem.MLKEM768PrivateKey.generate()
        self.private: Any = hpke.MLKEM768X25519PrivateKey(lattice, half) if suite == X_WING else half
        halves = (lattice, half) if suite == X_WING else (half,)
        public = b"".join(key.public_key().public_bytes_raw() for key in halves)
        record = lp(self.prekey_id, suite, public, created, until)
        self.prekey = record + lp(self.device.sign(b"securechat/1 prekey\0" + record))
        self.pins = defaultdict(set, {name: {self.ik}})  # a name's keys: to one of several nothing is sealed
        self.rooms: dict[str, Room] = {}


class PlainClient:
    """A client on one link, in the caller's thread: who waits for an answer handles what else comes."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        """Connect to a relay."""
        url, self.timeout_s, self.data, self.relay, self.exporter = urlsplit(address), timeout_s, b"", b"", b""
        if url.scheme == "securechat+unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(unquote(url.path))
        else:
            self.socket = socket.create_connection((url.hostname or "", url.port or 12345))
        self.stream: Any = self.socket
        if url.scheme == "securechat":
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
            self.stream = SSL.Connection(context, self.socket)
            self.stream.set_connect_state()
            self.stream.do_handshake()
            key = self.stream.get_peer_certificate().get_pubkey()
            self.relay = sha256(crypto.dump_publickey(crypto.FILETYPE_ASN1, key)).digest()
            self.exporter = self.stream.export_keying_material(b"EXPORTER-Channel-Binding", 32)
            if url.fragment not in ("", self.relay.hex()):
                self.socket.close()
                raise PeerError("fingerprint", "the relay has another key than its address says")
        # By the kernel: with settimeout(), OpenSSL would see a socket that never waits.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        self.person = Person("nobody")
        self.captured, self.inbox = list[bytes](), deque[Message]()
        self.asked, self.answers = set[tuple[bytes, bytes]](), dict[Any, Any]()  # by name or id
        self.told, self.told_at = list[tuple[str, int, int]](), 0.0  # what was `Seen`, and when
        self.nonce = self._request("Greeting")

    def login(self, who: Person | str) -> None:
        """Log in as a person, a name standing for somebody new, and enter the rooms that they are in."""
        me = self.person = Person(who) if isinstance(who, str) else who
        signed = lp(self.relay, me.name.encode(), me.dk, self.nonce, self.exporter)
        proof = me.device.sign(b"securechat/1 login\0" + signed)
        for name in self._request("Welcome", "Hello", 3, me.certificate, me.prekey, proof):
            self._request(name, "Enter", name, 0, self._room(name).known)

    def enter(self, name: str) -> None:
        """Be a member of an open room; it is founded where there is none."""
        self.found(name, b"open")
        self._append(name, b"join", self.person.ik, b"member", self.person.certificate)

    def found(self, name: str, join: bytes = b"closed") -> None:
        """Found a room; one that is there is entered."""
        if self._request(name, "Enter", name, 0, self._room(name).known) == "no-such-room":
            detail = lp(self.person.certificate, name.encode(), os.urandom(16), lp(join, bytes(4)))
            self._append(name, b"create", self.person.ik, b"owner", detail)

    def direct(self, who: str) -> str:
        """Return the name of the room with one other; it is founded where there is none."""
        name = "@" + "+".join(sorted((who, self.person.name)))
        self.lookup(who)
        self.found(name)
        self.add(name, who)
        return name

    def add(self, name: str, who: str) -> None:
        """Bring somebody into a room."""
        certificate = self.lookup(who)
        self._append(name, b"add", read_certificate(certificate).ik, b"member", certificate)

    def remove(self, name: str, who: str) -> None:
        """Remove somebody from a room."""
        ik = next(member.ik for member in self._room(name).members.values() if member.name == who)
        self._append(name, b"remove", ik)

    def leave(self, name: str) -> None:
        """Leave a room."""
        self._append(name, b"leave", self.person.ik)

    def members(self, name: str) -> set[str]:
        """Return who is in a room, by its log."""
        return {member.name for member in self._room(name).members.values()}

    def lookup(self, who: str) -> bytes:
        """Return somebody's certificate, checked and pinned."""
        raw: bytes = self._request(who, "Lookup", who)
        ensure(read_certificate(raw).name == who, "another's certificate")
        self.person.pins[who].add(read_certificate(raw).ik)
        ensure(len(self.person.pins[who]) == 1, "changed", who, error=PeerError)
        return raw

    def rekey(self, name: str) -> None:
        """Begin a new session in a room."""
        room, sid, created = self._room(name), os.urandom(16), (time.time_ns() // 1_000_000).to_bytes(8)
        d = lp(b"securechat/1 session", room.hashes[0], room.epoch, self.person.dk, sid, created)
        room.own.append(Session(d, 0, room.departures, os.urandom(32), 0, sid=sid, prev=sha256(d).digest()))

    def say(self, name: str, text: str) -> int:
        """Say a text in a room, and return its number when the relay has taken it."""
        me, room, post_id = self.person, self._room(name), os.urandom(16)
        while True:
            ensure(me.ik in room.members, "not-a-member", name, error=PeerError)
            ensure(all(len(me.pins[who]) <= 1 for who in self.members(name)), "changed", name, error=PeerError)
            if room.epoch not in room.keys:
                self._request("SessionKey")
                continue
            if not room.own or room.own[-1].index >= 256 or room.own[-1].departures != room.departures:
                self.rekey(name)
            own = room.own[-1]
            new = [one.dk for one in room.members.values() if one.ik != me.ik and one.dk not in own.handed]
            if new:
                self._hand(room, own, new[0])
                continue
            body = msgpack.encode(["text", room.hashes[0], time.time_ns() // 1_000_000, post_id, own.voided, text])
            header = b"SC1\1" + room.epoch + own.sid + own.index.to_bytes(4) + own.prev
            key = message_key(own.chain, room.keys[room.epoch], own.sid, own.index)
            frame = seal_frame(key, header, os.urandom(16), body)
            own.chain, own.prev = hmac.digest(own.chain, b"\2", "sha256"), sha256(frame).digest()
            own.index, own.voided = own.index + 1, own.voided + 1  # given up, unless it is taken
            frame += me.device.sign(b"securechat/1 frame\0" + own.prev)
            answer = self._request(post_id, "Post", name, room.epoch, [(post_id, frame)])
            if answer != "stale-epoch":
                own.voided, room.known = 0, room.known + (answer == room.known + 1)  # lower ones may still come
                return int(answer)

    def receive(self, timeout: float) -> bool:
        """Handle one message of the relay; return False where none comes in time."""
        end = time.monotonic() + timeout
        while len(self.data) < (size := 4 + int.from_bytes(self.data[:4])):
            with suppress(SSL.WantReadError, BlockingIOError):
                more = self.stream.recv(65_536)
                ensure(more != b"", "the link was lost", error=ConnectionError)
                self.data += more
            self._see(1.0)
            if time.monotonic() > end:
                return False
        body, self.data = self.data[4:size], self.data[size:]
        self._handle(body)
        return True

    def next_message(self, timeout: float = 10.0) -> Message | None:
        """Return the next message of any room, or None where none comes in time."""
        end = time.monotonic() + timeout
        while not self.inbox and self.receive(end - time.monotonic()):
            pass
        return self.inbox.popleft() if self.inbox else None

    def quit(self) -> None:
        """Say goodbye, and close."""
        self._see(0.0)
        with suppress(PeerError):
            self._request("", "Goodbye", "quit", "")
        self.socket.close()

    def _handle(self, body: bytes) -> None:
        self.captured.append(body)
        match msgpack.decode(body):
            case ["Greeting", 3, bytes(answer), str()] | ["Welcome", str(), list(answer), list()]:
                self.answers["Welcome" if isinstance(answer, list) else "Greeting"] = answer
            case ["Refused" | "Goodbye", str(code), str(reason)]:
                raise PeerError(code, reason)
            case ["Found", str(name), bytes(certificate), bool()]:
                self.answers[name] = certificate or "unknown"
            case ["Ack", str(), list(items)] | ["Prekeys", list(items)]:
                self.answers.update(items)
            case ["Declined", str(name), list(ids), str(code)]:
                self.answers.update(dict.fromkeys(ids or [name], code))
            case ["Roster", str(name), int(first), list(entries), int(total), int()]:
                room = self._room(name)
                try:
                    for n, entry in enumerate(entries, first):
                        room.follow(n, entry)
                    ensure(total >= len(room.hashes), "its log is shorter than the one that was known")
                except BAD as error:
                    room.members.clear()  # nothing is sealed for it any more
                    raise PeerError("faulty", f"{room.name}: {error}") from error
                for member in room.members.values():
                    self.person.pins[member.name].add(member.ik)
                if total == len(room.hashes):
                    self.answers[room.name] = ""
            case ["SessionKey", str(name), bytes(epoch), bytes(key)]:
                self._room(name).keys[epoch] = self.answers["SessionKey"] = key
            case ["SealedKey", str(name), int(handed), list(items)]:
                self._room(name).handed = handed
                for _, blob in items:
                    with suppress(*BAD):  # nobody is told
                        self._open_key(self._room(name), blob)
            case ["Asked", str(name), bytes(device), bytes(sid)]:
                room = self._room(name)
                for own in ([own for own in room.own if own.sid == sid] or list(room.own))[-1:]:
                    self._hand(room, own, device)
            case ["Delivery", str(name), int(first), list(items)]:
                room = self._room(name)
                new = [(seq, *item) for seq, item in enumerate(items, first) if seq > room.known]
                room.held += [(seq, who, frame) for seq, who, _, frame in new if who != self.person.name]
                room.known = max(room.known, first + len(items) - 1)  # all lower ones came, or are our own
            case ["Gap", str(name), int(first), int(last), str(code)]:
                if code != "not-a-member" and last > self._room(name).known:
                    self.inbox.append((name, last, "", None, f"{code} since {first}"))
                self._room(name).known = max(self._room(name).known, last)
            case ["Ping"]:
                self._send("Pong")
        for room in list(self.person.rooms.values()):
            held, room.held = room.held, []
            for seq, sender, frame in held:
                text, problem = None, ""
                try:
                    text = self._open(room, sender, frame)
                except BAD as error:
                    problem = str(error) or "not authentic"
                if problem == "held" and len(room.held) < 256 and sum(one[1] == sender for one in room.held) < 64:
                    room.held.append((seq, sender, frame))
                elif text != "":
                    self.inbox.append((room.name, seq, sender, text, problem))

    def _send(self, *message: Any) -> None:
        self.stream.sendall(lp(msgpack.encode(message)))

    def _request(self, key: str | bytes, *message: Any) -> Any:
        self.answers.pop(key, None)
        if message:
            self._send(*message)
        while key not in self.answers:
            ensure(self.receive(self.timeout_s), "no answer", error=TimeoutError)
        answer = self.answers.pop(key)
        taken = answer in ("", "no-such-room", "stale-entry", "stale-epoch") or not isinstance(answer, str)
        ensure(taken, answer, str(key), error=PeerError)
        return answer

    def _see(self, pause_s: float) -> None:  # what is in our memory counts as stored
        mine = [room for room in self.person.rooms.values() if self.person.ik in room.members]
        news = [(room.name, room.known, room.handed) for room in mine]
        if news != self.told and time.monotonic() >= self.told_at + pause_s:
            self.told, self.told_at = news, time.monotonic()
            for at in range(0, len(news), 64):
                self._send("Seen", news[at : at + 64])

    def _room(self, name: str) -> Room:
        return self.person.rooms.setdefault(name, Room(name))

    def _append(self, name: str, op: bytes, ik: bytes, role: bytes = b"", detail: bytes = b"") -> None:
        me, room = self.person, self._room(name)
        while (ik in room.members) == (op in (b"remove", b"leave")):
            n, previous = len(room.hashes), (room.hashes or [bytes(32)])[-1]
            body = lp(n.to_bytes(4), previous, op, ik, role, (time.time_ns() // 1_000_000).to_bytes(8), detail)
            entry = lp(body, me.dk, me.device.sign(b"securechat/1 room\0" + body))
            if self._request(name, "Append", name, entry) == "stale-entry":  # somebody was faster
                self._request(name, "Enter", name, 0, room.known)

    def _hand(self, room: Room, own: Session, device: bytes) -> None:
        record, me, member = self._request(device, "Want", [device]), self.person, room.find(device)
        present = own is room.own[-1] and own.departures == room.departures
        if member is None or len(me.pins[member.name]) > 1 or not (present or device in own.handed):
            return
        index, chain = own.handed.setdefault(device, (own.index, own.chain))
        with suppress(*BAD):  # without a good prekey they are passed over, and will ask
            number, suite, public, begin, end, signature = unlp(record, 8, 6, None, 8, 8, 64)
            signer(device).verify(signature, b"securechat/1 prekey\0" + lp(number, suite, public, begin, end))
            first, last = int.from_bytes(begin), int.from_bytes(end)
            ensure(first - HOUR <= time.time_ns() // 1_000_000 < last <= first + 14 * DAY, "not of now")
            key: Any = x25519.X25519PublicKey.from_public_bytes(public[1184:] if suite == X_WING else public)
            if suite == X_WING:
                key = hpke.MLKEM768X25519PublicKey(mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184]), key)
            inner = lp(own.descriptor, index.to_bytes(4), chain, device, number)
            inner += me.device.sign(b"securechat/1 key\0" + inner)
            sealed = SUITES[suite].encrypt(inner, key, lp(b"securechat/1 seal", own.descriptor, device, number))
            self._send("Hand", room.name, [(device, lp(own.descriptor, number, sealed))])

    def _open_key(self, room: Room, blob: bytes) -> None:
        me = self.person
        d, number, sealed = unlp(blob, 164, 8, None)
        label, room_id, epoch, device, sid, _ = unlp(d, None, 32, 32, 32, 16, 8)
        begun, departures, members = room.epochs[epoch]
        ensure(label == b"securechat/1 session" and device in members and number == me.prekey_id, "not for us")
        signed = SUITES[me.suite].decrypt(sealed, me.private, lp(b"securechat/1 seal", d, me.dk, number))
        again, place, chain, *rest = unlp(signed[:-64], 164, 4, 32, 32, 8)
        ensure((again, rest, room_id) == (d, [me.dk, number], room.hashes[0]), "for something else")
        signer(device).verify(signed[-64:], b"securechat/1 key\0" + signed[:-64])
        # A second key would tell nothing new.
        room.theirs.setdefault((device, sid), Session(d, begun, departures, chain, int.from_bytes(place)))

    def _open(self, room: Room, sender: str, frame: bytes) -> str:
        # The ten steps of SC1-notes.md; no text stands for a message that was shown already.
        epoch, sid, index = frame[4:36], frame[36:52], int.from_bytes(frame[52:56])
        ensure(len(frame) in FRAME_SIZES and frame[:4] == b"SC1\1" and index < 2**31, "not authentic")  # 1
        ensure(epoch in room.epochs, "held")  # 2: the relay sends the log by itself
        number, departures, members = room.epochs[epoch]
        member = next((one for one in members.values() if one.name == sender), None)
        if member is None or self.person.dk not in members:  # 3
            raise ValueError("not a member")
        if (member.dk, sid) not in room.theirs and (member.dk, sid) not in self.asked:
            self.asked.add((member.dk, sid))
            self._send("Ask", room.name, member.dk, sid)
        ensure((member.dk, sid) in room.theirs and epoch in room.keys, "held")  # 4, 5
        session = room.theirs[member.dk, sid]
        ensure(session.departures == departures and number >= session.begun, "stale epoch")
        newest = index >= session.index
        ensure(number >= session.measure if newest else number <= session.measure, "stale epoch")  # 6
        ensure(index < session.index + 2000, "too far")
        ensure(newest or index in session.skipped, "replayed")  # 7, and 9: the key of what was taken is gone
        signer(member.dk).verify(frame[-64:], b"securechat/1 frame\0" + sha256(frame[:-64]).digest())  # 8
        chain, skipped = session.chain, dict(session.skipped)
        for k in range(session.index, index + 1):
            skipped[k], chain = chain, hmac.digest(chain, b"\2", "sha256")
        key = message_key(skipped.pop(index), room.keys[epoch], sid, index)
        decryptor = Cipher(algorithms.AES256(key[32:]), modes.CBC(frame[88:104])).decryptor()
        plaintext = decryptor.update(frame[104:-96]) + decryptor.finalize()
        body = plaintext[4 : 4 + int.from_bytes(plaintext[:4])]
        # 10: Sealing it again checks tag and padding at once. A right R may come where it does not fit.
        ensure(hmac.compare_digest(seal_frame(key, frame[:88], frame[88:104], body), frame[:-64]), "held")
        kind, room_id, _, post_id, _, text = BODY.decode(body)
        ensure(room_id == room.hashes[0], "not authentic")
        session.chain, session.skipped = chain, dict(list(skipped.items())[-1000:])
        session.index, session.measure = max(session.index, index + 1), max(session.measure, number)
        ensure(kind == "text" and isinstance(text, str) and len(text.encode()) <= 16_256, "unknown kind")
        known = (member.ik, post_id) in room.seen
        room.seen.add((member.ik, post_id))
        return "" if known else str(text)
