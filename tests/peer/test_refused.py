"""What the relay refuses, with the codes of docs/PROTOCOL.md: frames, fields, order, logins, floods."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence

from msgspec import msgpack

from tests.peer import harness, sc1
from tests.peer.sc1 import Keys
from tests.peer.state import Person, now_ms
from tests.peer.wire import PeerError, frame

ID = bytes(16)
EPOCH = bytes(32)


class RefusedTests(harness.PeerCase):
    """What is refused, with which code; and then the link ends."""

    def setUp(self) -> None:
        """There is a relay, and somebody to try as."""
        self.address = harness.plain_relay().addresses[0]
        self.person = self.new_person()

    def assert_refused(self, sent: Mapping[str, tuple[str, bytes]], login: bool = True) -> None:
        """Each of these, sent by a new client, is answered with one refusal, and what follows with nothing."""
        answers = {}
        for label, (_, data) in sent.items():
            plain = self.login(self.address, person=self.person) if login else self.connect(self.address)
            plain.link.sendall(data + frame(["Ping"]))
            answers[label] = [last[:2] for last in plain.wait_for_end()]
        self.assertEqual({label: [["Refused", code]] for label, (code, _) in sent.items()}, answers)

    def test_frames(self) -> None:
        """An empty frame and one that is too long are refused as soon as their length is there."""
        frames = {
            "empty": ("empty-frame", bytes(4)),
            "65,537": ("oversized-frame", struct.pack(">I", 65_537)),
            "2**32 - 1": ("oversized-frame", b"\xff" * 4),
            "text": ("oversized-frame", b"GET / HTTP/1.1\r\n\r\n"),
        }
        self.assert_refused(frames)
        self.assert_refused(frames, login=False)

    def test_not_messages(self) -> None:
        """A body that is not exactly one array that begins with a string is refused as no message."""
        bodies = {
            "nil": b"\xc0",
            "map": msgpack.encode({"Ping": 1}),
            "no name": b"\x90",
            "number for a name": b"\x91\x01",
            "bytes for a name": msgpack.encode([b"Ping"]),
            "bad UTF-8 for a name": b"\x91\xa2\xff\xff",
            "cut": b"\x92\xa5Enter",
            "two": b"\x91\xa4Ping" * 2,
            "reserved byte": b"\x92\xa5Enter\xc1",
            "too deep": b"\x92\xa5Enter" + b"\x91" * 60_000,
            "too many": b"\xdd\xff\xff\xff\xff\xa5Enter",
            "the longest frame": b"x" * 65_536,
        }
        framed = {label: ("not-a-message", struct.pack(">I", len(body)) + body) for label, body in bodies.items()}
        self.assert_refused(framed)

    def test_unknown_messages(self) -> None:
        """Messages that no client sends are refused as unknown, those of relays and of version 1 too."""
        names = ("Nope", "ping", "", "Greeting", "Welcome", "Delivery", "Roster", "SealedKey", "Leave", "__init__")
        self.assert_refused({name: ("unknown-message", frame([name, 1])) for name in names})

    def test_fields(self) -> None:
        """A field that is missing, too many, of a wrong type or out of bounds is refused."""
        item, key = [ID, b"sealed"], [EPOCH, b"blob"]
        messages: dict[str, list[object]] = {
            "missing": ["Enter", "#a"],
            "too many": ["Enter", "#a", 0, 0, 0],
            "too many of none": ["Ping", 1],
            "bytes for str": ["Enter", b"#a", 0, 0],
            "number for str": ["Enter", 1, 0, 0],
            "short room": ["Enter", "#", 0, 0],
            "long room": ["Append", "#" * 67, b"entry"],
            "negative": ["Enter", "#a", -1, 0],
            "float": ["Enter", "#a", 1.0, 0],
            "no entry": ["Append", "#a", b""],
            "4,097 of entry": ["Append", "#a", bytes(4_097)],
            "no device": ["Want", []],
            "65 devices": ["Want", [EPOCH] * 65],
            "short device": ["Want", [EPOCH[1:]]],
            "short sid": ["Ask", "#a", EPOCH, ID[1:]],
            "no blob": ["Hand", "#a", [[EPOCH, b""]]],
            "4,097 of blob": ["Hand", "#a", [[EPOCH, bytes(4_097)]]],
            "65 blobs": ["Hand", "#a", [key] * 65],
            "2,049 of prekey": ["Renew", bytes(2_049)],
            "no name": ["Lookup", ""],
            "str for bytes": ["Post", "#a", EPOCH, [["i" * 16, b"sealed"]]],
            "str for an array": ["Post", "#a", EPOCH, "items"],
            "short epoch": ["Post", "#a", EPOCH[1:], [item]],
            "long id": ["Post", "#a", EPOCH, [[ID + b"1", b"sealed"]]],
            "no items": ["Post", "#a", EPOCH, []],
            "1,025 items": ["Post", "#a", EPOCH, [item] * 1_025],
            "item of one": ["Post", "#a", EPOCH, [[ID]]],
            "item of three": ["Post", "#a", EPOCH, [[*item, 1]]],
            "map for an item": ["Post", "#a", EPOCH, [{"id": ID}]],
            "nothing sealed": ["Post", "#a", EPOCH, [[ID, b""]]],
            "16,601 sealed": ["Post", "#a", EPOCH, [[ID, bytes(16_601)]]],
            "negative after": ["Repost", "#a", EPOCH, -1, ID, b"sealed"],
            "short id again": ["Repost", "#a", EPOCH, 0, ID[1:], b"sealed"],
            "nothing sealed again": ["Repost", "#a", EPOCH, 0, ID, b""],
            "16,601 sealed again": ["Repost", "#a", EPOCH, 0, ID, bytes(16_601)],
            "unknown code": ["Goodbye", "nope", ""],
            "long reason": ["Goodbye", "quit", "x" * 201],
        }
        bad_utf8 = struct.pack(">I", 10) + b"\x93\xa5Enter\xa1\xff\x00"
        raw = {"bad UTF-8": ("bad-field", bad_utf8)}
        self.assert_refused({label: ("bad-field", frame(message)) for label, message in messages.items()} | raw)

    def test_order(self) -> None:
        """Before `Welcome` only `Hello`, a sign of life or a goodbye is in order, and afterwards no `Hello`."""
        early: tuple[Sequence[object], ...] = (
            ["Enter", "#a", 0, 0],
            ["Append", "#a", b"entry"],
            ["Post", "#a", EPOCH, [[ID, b"sealed"]]],
            ["Repost", "#a", EPOCH, 0, ID, b"sealed"],
            ["Want", [EPOCH]],
            ["Lookup", "alice"],
            ["Hand", "#a", [[EPOCH, b"blob"]]],
            ["Ask", "#a", EPOCH, ID],
            ["Renew", b"prekey"],
        )
        self.assert_refused({str(each[0]): ("out-of-order", frame(each)) for each in early}, login=False)
        self.assert_refused({"again": ("out-of-order", frame(["Hello", 3, b"c", b"p", bytes(64)]))})
        stranger = self.connect(self.address)
        stranger.ping()
        stranger.send("Pong")
        stranger.quit()

    def test_versions(self) -> None:
        """A `Hello` of another version is refused for that first; one with other fields as no `Hello`."""
        for version in (0, 1, 2, 4, 2**32 - 1):
            plain = self.connect(self.address)
            plain.send("Hello", version, b"c", b"p", bytes(64))
            self.assertEqual(["Refused", "version"], plain.wait_for_end()[-1][:2])
        wrong: list[object] = [2**32, -1, 2.0, True, "2", None]
        fields = {
            repr(version): ("bad-field", frame(["Hello", version, b"c", b"p", bytes(64)])) for version in wrong
        }
        old = {"that of version 1": ("bad-field", frame(["Hello", 1, "alice"]))}
        self.assert_refused(fields | old, login=False)

    def refused(self, keys: Keys, **wrong: bytes) -> str:
        """The code with which a login is refused."""
        plain = self.connect(self.address)
        plain.send(*plain.hello(keys, **wrong))
        answer = plain.wait_for_end()[-1]
        self.assertEqual("Refused", answer[0])
        return str(answer[1])

    def test_logins(self) -> None:
        """A login is refused where a bit of certificate, prekey or proof is another, or one is somebody else's."""
        keys, other = self.person.keys, self.new_person().keys
        right = self.connect(self.address).hello(keys)
        for at, field in ((2, "certificate"), (3, "prekey"), (4, "proof")):
            good = right[at]
            assert isinstance(good, bytes)
            for place in range(0, len(good), len(good) // 16):
                flipped = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
                self.assertEqual("bad-certificate", self.refused(keys, **{field: flipped}), (field, place))
            self.assertEqual("bad-certificate", self.refused(keys, **{field: bytes(len(good))}))
        foreign = {"certificate": other.certificate, "prekey": other.offer(now_ms())}
        for field, wrong in foreign.items():
            self.assertEqual("bad-certificate", self.refused(keys, **{field: wrong}))
        self.login(self.address, person=self.person)

    def test_old_prekeys(self) -> None:
        """A prekey that is over, has not begun, or is offered for too long is refused; a login with it, too."""
        keys, day = self.person.keys, sc1.DAY_MS
        for made in (now_ms() - 15 * day, now_ms() + day // 12):
            self.assertEqual("bad-certificate", self.refused(keys, prekey=keys.offer(made)))
        keys.offer(now_ms())
        plain = self.login(self.address, person=self.person)
        plain.send("Renew", keys.offer(now_ms() - 15 * day))
        self.assertEqual(["Refused", "bad-certificate"], plain.wait_for_end()[-1][:2])

    def test_names(self) -> None:
        """A bad name is refused, and so is a second name of one identity, or the device of another."""
        for name in ("A", "-a", "a b", "a+b", "ä", "a\0"):
            self.assertEqual("bad-certificate", self.refused(Keys(name)), name)
        seeds = os.urandom(32), os.urandom(32)
        first, renamed, moved = (
            Keys(self.person.keys.name, *seeds),
            Keys(self.person.keys.name + "2", *seeds),
            Keys(self.person.keys.name + "3", os.urandom(32), seeds[1]),
        )
        self.login(self.address, person=Person(first))
        self.assertEqual("bad-certificate", self.refused(renamed))
        self.assertEqual("bad-certificate", self.refused(moved))
        self.assertEqual("name-owned", self.refused(Keys(first.name)))

    def test_new_device(self) -> None:
        """A new device takes the place of the old one, but not in the rooms that the old one is in."""
        identity, room = os.urandom(32), self.new_room()
        name = self.person.keys.name
        self.login(self.address, room, person=Person(Keys(name, identity)))
        again = self.login(self.address, person=Person(Keys(name, identity)))
        self.assertEqual([room], again.welcome)
        again.ask(room)
        with self.assertRaisesRegex(PeerError, "bad-entry"):
            again.leave(room)

    def test_floods(self) -> None:
        """More posts than the window, or more requests or entries than the relay takes, are a flood."""
        room, items = self.new_room(), [[ID, b"sealed"]]
        plain = self.login(self.address, room)
        window, epoch = plain.window, plain.rooms[room].log.epoch
        half = items * (window // 2 + 1)
        again = frame(["Post", room, EPOCH, half]) + frame(["Post", room, epoch, half])
        self.assert_refused({"one post": ("flood", frame(["Post", room, epoch, items * (window + 1)]))})
        self.assert_refused({"posted again before the answer": ("flood", again)})
        requests: tuple[tuple[Sequence[object], int], ...] = (
            (["Ping"], 260),
            (["Pong"], 260),
            (["Lookup", "nobody"], 260),
            (["Ask", "#elsewhere", EPOCH, ID], 260),
            (["Append", "##", b"entry"], 30),
        )
        for request, count in requests:
            hasty = self.login(self.address)
            hasty.link.sendall(frame(request) * (count + 40))
            said = hasty.wait_for_end()
            self.assertEqual(["Refused", "flood"], said[-1][:2])
            self.assertLessEqual(len(said), count)

    def test_window(self) -> None:
        """A whole window at once is taken, one after the other."""
        plain = self.login(self.address, room := self.new_room())
        for _ in range(2):
            ids = [os.urandom(16) for _ in range(plain.window)]
            plain.post(room, [(post_id, b"sealed") for post_id in ids])
            self.until(plain, self._acked(plain.acked, ids[-1]))
        self.assertEqual(list(range(1, 513)), list(plain.acked.values()))

    def _acked(self, acked: Mapping[bytes, int], post_id: bytes) -> Callable[[], bool]:
        return lambda: post_id in acked

    def test_full(self) -> None:
        """A relay for two refuses the third, and takes the next one when one of the two has left."""
        relay = harness.Relay("--plaintext", "--max-clients", "2")
        self.addCleanup(relay.end)
        address = relay.addresses[0]
        first, _, third = self.login(address), self.login(address), self.connect(address)
        with self.assertRaisesRegex(PeerError, "full"):
            third.login(self.new_person())
        self.assertEqual([], third.wait_for_end())
        first.quit()
        second = self.login(address)
        relay.interrupt()
        self.assertEqual(["Goodbye", "shutdown"], second.wait_for_end()[-1][:2])
