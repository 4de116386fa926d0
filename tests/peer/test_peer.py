"""The document against the world: a client written from docs/PROTOCOL.md alone, with our relay and our client.

The plain client is `tests/peer/client.py`; the relay and our client are processes. What the plain client does wrong
here, it does on purpose.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from msgspec import msgpack
from twisted.trial.unittest import SynchronousTestCase

from tests.peer import client as peer
from tests.peer import harness
from tests.peer.client import BrokenError, PeerError, PlainClient, content_of, frame, seal

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "PROTOCOL.md"
COLOURFUL: Final = "\x1b[31mred\x1b[0m\x07\rover\nours: forged \N{RIGHT-TO-LEFT OVERRIDE}txet\x9b2J"
"""A text that would paint, ring, overwrite, pretend and turn around on a terminal that believed it."""

ID: Final = bytes(16)
EPOCH: Final = bytes(32)


class TLSTests(harness.TalkContract):
    """Over TLS, as between machines."""

    def address(self) -> str:
        """A relay with TLS."""
        return harness.secure_relay().addresses[0]

    def test_wrong_fingerprint(self) -> None:
        """The plain client says nothing to a relay with another key than the address says."""
        address, _, fingerprint = self.address().partition("#")
        with self.assertRaises(BrokenError):
            PlainClient(f"{address}#{int(fingerprint, 16) ^ 1:064x}", harness.PATIENCE_S)
        self.connect(address).ping()

    def test_old_tls(self) -> None:
        """The relay speaks nothing older than TLS 1.3."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        place = urlsplit(self.address()).netloc
        with peer.connect(f"securechat+tcp://{place}", harness.PATIENCE_S) as link, self.assertRaises(ssl.SSLError):
            context.wrap_socket(link)


class TCPTests(harness.TalkContract):
    """Over TCP on loopback."""

    def address(self) -> str:
        """A relay without TLS."""
        return harness.plain_relay().addresses[0]

    def test_tls_at_a_plain_port(self) -> None:
        """Who speaks TLS to a port without it is told that the frame is too long."""
        plain = self.connect(self.address())
        plain.link.sendall(bytes.fromhex("160301020001"))
        self.assertEqual([["Refused", "oversized-frame"]], [last[:2] for last in plain.wait_for_end()])


class UnixTests(harness.TalkContract):
    """Over a Unix socket."""

    def address(self) -> str:
        """A relay at a Unix socket."""
        return harness.secure_relay().addresses[1]


class ForgedTests(harness.PeerCase):
    """What a member seals wrongly our client never shows as a message, and it hears the next honest one."""

    def setUp(self) -> None:
        """Our client and a plain one are in a room of their own."""
        self.address = harness.plain_relay().addresses[0]
        self.ours = harness.ours_in_lobby(self.address)
        self.room = self.new_room()
        self.plain = self.login(self.address, self.room)
        self.ours.say(self.room, "ready")
        self.assert_heard(self.plain, self.room, self.ours.name, "ready")

    def sealed(self, content: bytes, **others: Any) -> bytes:
        """Content sealed as it should be, but for what is given."""
        epoch, key = self.plain.keys[self.room]
        right = {"key": key, "epoch": epoch, "room": self.room, "sender": self.plain.name}
        return seal(content, **(right | others))

    def assert_unreadable(self, *forged: bytes) -> None:
        """Each of these shows as unreadable, none as a message, and an honest one after them as what it is."""
        self.plain.post(self.room, [(os.urandom(16), sealed) for sealed in forged])
        said = self.plain.say(self.room, "honest")
        self.plain.settle()
        last = self.plain.acked[said]
        events = self.ours.until("message", text="honest", room=self.room)
        shown = [(event["type"], event["seq"]) for event in events if event.get("sender") == self.plain.name]
        unreadable = [("unreadable", seq) for seq in range(last - len(forged), last)]
        self.assertEqual([*unreadable, ("message", last)], shown)
        self.assertNotIn("forged", json.dumps(events))

    def test_bits(self) -> None:
        """A message with one bit changed, in any byte of header, iv, ciphertext or tag, is unreadable."""
        honest = int.from_bytes(self.sealed(content_of("forged")), "big")
        bits = [8 * place + place % 8 for place in range(100)]
        self.assert_unreadable(*((honest ^ 1 << bit).to_bytes(100, "big") for bit in bits))

    def test_lengths(self) -> None:
        """A message that was cut, or has something behind it, is unreadable."""
        honest = self.sealed(content_of("forged"))
        cut = [honest[:length] for length in range(1, len(honest))]
        self.assert_unreadable(*cut, honest + b"\0", honest + bytes(16), bytes(16_600))

    def test_other_places(self) -> None:
        """A message that was sealed for another room or in another name is unreadable."""
        content = content_of("forged")
        rooms = [self.sealed(content, room=room) for room in ("#lobby", "", self.room + "0", self.room.upper())]
        names = [self.sealed(content, sender=name) for name in (self.ours.name, "", self.plain.name + "0")]
        self.assert_unreadable(*rooms, *names)

    def test_old_keys(self) -> None:
        """A message sealed with the key of an epoch that is over is unreadable, whichever epoch it names."""
        content = content_of("forged")
        epoch, key = self.plain.keys[self.room]
        self.login(self.address, self.room)
        self.plain.wait_for("SessionKey")
        self.assertNotEqual(epoch, self.plain.keys[self.room][0])
        self.assert_unreadable(self.sealed(content, epoch=epoch, key=key), self.sealed(content, key=key))

    def test_contents(self) -> None:
        """Authentic content that is no text, or of a kind that nobody knows, is unreadable."""
        arrays: list[object] = [["picture", "forged"], ["Text", "forged"], ["text"], ["text", "forged", 1], []]
        fields: list[object] = [["text", b"forged"], ["text", 1], ["text", None], ["text", ["forged"]]]
        others: list[object] = [[["text"], "forged"], "forged", {"text": "forged"}, 1, None]
        packed = map(msgpack.encode, arrays + fields + others)
        raw = [b"", b"\xc1", content_of("forged") + b"\0", b"\x92\xa4text\xa2\xff\xff", b"\x91" * 9_000]
        self.assert_unreadable(*map(self.sealed, [*packed, *raw]))

    def test_text_bounds(self) -> None:
        """An authentic text with more bytes than the document allows, or with none, is unreadable."""
        self.assert_unreadable(*(self.sealed(content_of(text)) for text in ("", "x" * 16_257, "é" * 8_129)))

    def test_padding(self) -> None:
        """An authentic ciphertext with wrong padding is unreadable."""
        epoch, key = self.plain.keys[self.room]
        mac_key, encryption_key = peer.keys_of(key, epoch)
        forged = []
        for last in (0, 2, 17, 255):
            plaintext = content_of("forged").ljust(15, b"\x01") + bytes([last])
            encryptor = Cipher(algorithms.AES256(encryption_key), modes.CBC(bytes(16))).encryptor()
            untagged = b"SC0\x01" + epoch + bytes(16) + encryptor.update(plaintext)
            forged.append(untagged + peer.tag_of(mac_key, self.room, self.plain.name, untagged))
        self.assert_unreadable(*forged)

    def test_json_lines(self) -> None:
        """Text with escape codes comes out of our client's JSON as it was said, and every line is printable."""
        self.say(self.plain, self.room, COLOURFUL)
        line = b""
        while self.plain.name.encode() not in line or b'"type":"message"' not in line:
            line = self.ours.line()
        self.assertEqual(COLOURFUL, json.loads(line)["text"])
        self.assertTrue(line.decode().removesuffix("\n").isprintable(), line)

    def test_plain_lines(self) -> None:
        """Without JSON it is one line of its sender's, and nothing in it moves, hides or turns anything."""
        plain = self.login(self.address, room := self.new_room())
        lines = harness.Ours(self.address, "--room", room)
        self.addCleanup(lines.end)
        plain.wait_for("SessionKey")
        self.say(plain, room, COLOURFUL, "honest")
        first, second = lines.line().decode().removesuffix("\n"), lines.line().decode().removesuffix("\n")
        self.assertTrue(first.startswith(f"{plain.name}: "))
        self.assertTrue(first.isprintable(), first)
        self.assertEqual(f"{plain.name}: honest", second)


class PostTests(harness.PeerCase):
    """How posts are numbered, repeated and answered."""

    def setUp(self) -> None:
        """Two plain clients are in a room of their own."""
        self.address = harness.plain_relay().addresses[0]
        self.room = self.new_room()
        self.plain = self.login(self.address, self.room)
        self.other = self.login(self.address, self.room)
        self.plain.wait_for("SessionKey")

    def test_repeated(self) -> None:
        """An id that was taken is acknowledged with its first number, on any link and for any epoch."""
        post_id = self.plain.say(self.room, "once")
        self.plain.settle()
        self.assert_heard(self.other, self.room, self.plain.name, "once")
        epoch, key = self.plain.keys[self.room]
        again = (post_id, seal(content_of("twice"), key, epoch, self.room, self.plain.name))
        self.plain.post(self.room, [again, again])
        self.assertEqual([[post_id, 1], [post_id, 1]], self.plain.wait_for("Ack")[2])
        name = self.plain.name
        self.plain.link.close()
        self.other.wait_for("SessionKey")
        back = self.connect(self.address)
        back.login(name)
        back.enter(self.room)
        back.post(self.room, [again], EPOCH)
        self.assertEqual([[post_id, 1]], back.wait_for("Ack")[2])
        self.say(back, self.room, "next")
        self.assert_heard(self.other, self.room, name, "next")
        self.assertEqual(2, self.other.last_seqs[self.room])

    def test_whose_id(self) -> None:
        """The same id means something else in another room, and from another sender."""
        second = self.new_room()
        self.plain.enter(second)
        for plain, room in ((self.plain, self.room), (self.plain, second), (self.other, self.room)):
            plain.post(room, [(ID, b"sealed")])
            plain.wait_for("Ack")
        self.assertEqual({ID: 1}, self.plain.acked)
        self.assertEqual({ID: 2}, self.other.acked)

    def test_memory_ends(self) -> None:
        """With its last member a room's numbers and ids are gone."""
        self.plain.post(self.room, [(os.urandom(16), b"sealed"), (ID, b"sealed")])
        self.plain.wait_for("Ack")
        self.assertEqual(2, self.plain.acked[ID])
        self.plain.leave(self.room)
        self.other.leave(self.room)
        self.plain.enter(self.room)
        self.assertEqual(0, self.plain.last_seqs[self.room])
        self.plain.post(self.room, [(ID, b"sealed")])
        self.plain.wait_for("Ack")
        self.assertEqual(1, self.plain.acked[ID])

    def test_before_goodbye(self) -> None:
        """Posts right before a goodbye, or before what is refused, are delivered though nothing answers them."""
        for last in (frame(["Goodbye", "quit", ""]), bytes(4)):
            hasty = self.login(self.address, self.room)
            epoch, key = hasty.keys[self.room]
            sealed = seal(content_of("bye"), key, epoch, self.room, hasty.name)
            hasty.link.sendall(frame(["Post", self.room, epoch, [[ID, sealed]]]) + last)
            self.assertIn(hasty.wait_for_end()[-1][0], ("Goodbye", "Refused"))
            self.assert_heard(self.other, self.room, hasty.name, "bye")

    def test_half_closed(self) -> None:
        """A client that closes its direction has left: the others are told, and the relay closes too."""
        self.plain.link.shutdown(socket.SHUT_WR)
        self.assertEqual([], self.plain.wait_for_end())
        self.assertEqual(["Presence", self.room, self.plain.name, False], self.other.receive())

    def test_enter_again(self) -> None:
        """An `Enter` for a room that one is in is answered with its roster and the key that one has."""
        before = self.plain.keys[self.room]
        self.plain.send("Enter", self.room)
        members = [self.plain.name, self.other.name]
        self.assertEqual(["Roster", self.room, members, 0], self.plain.receive())
        self.assertEqual(["SessionKey", self.room, *before], self.plain.receive())

    def test_declined(self) -> None:
        """What cannot be carried out is declined with the documented code, and the link stays."""
        name, other = self.plain.name, self.other.name
        no_rooms = ("##", "lobby", "#Up", "#a b", "#\x1b[31m", "#" + "a" * 33, "@" + name)
        asked: dict[str, tuple[Any, ...]] = {
            **{f"enter {room!r}": ("Enter", room) for room in no_rooms},
            "enter with oneself": ("Enter", f"@{name}+{name}"),
            "enter in the wrong order": ("Enter", f"@{max(name, other)}+{min(name, other)}"),
            "enter the room of others": ("Enter", "@alice+bob"),
            "post from outside": ("Post", "#elsewhere", EPOCH, [[ID, b"sealed"]]),
            "post to no room": ("Post", "@b+a", EPOCH, [[ID, b"sealed"]]),
            "leave from outside": ("Leave", "#elsewhere"),
            "post for another epoch": ("Post", self.room, EPOCH, [[ID, b"sealed"], [bytes(15) + b"1", b"sealed"]]),
        }
        codes = {"enter the room of others": "not-permitted", "post for another epoch": "stale-epoch"}
        for label, (kind, room, *rest) in asked.items():
            self.plain.send(kind, room, *rest)
            ids = [post_id for post_id, _ in rest[1]] if rest else []
            code = codes.get(label, "bad-room" if kind == "Enter" else "not-a-member")
            self.assertEqual(["Declined", room, ids, code], self.plain.receive(), label)
        self.plain.ping()

    def test_too_many_rooms(self) -> None:
        """As many rooms as `Welcome` says can be entered, and no more, also not at somebody else's wish."""
        plain = self.login(self.address)
        for number in range(plain.rooms):
            plain.enter(f"#{plain.name}.{number}")
        with self.assertRaisesRegex(PeerError, "too-many-rooms"):
            plain.enter(self.room)
        direct = f"@{plain.name}+zoe"
        zoe = self.connect(self.address)
        zoe.login("zoe")
        zoe.enter(direct)
        self.assertEqual(["zoe"], zoe.members[direct])

    def test_fetched_again(self) -> None:
        """Whoever has left a direct room, or was not there, is fetched by the other one's next `Enter`."""
        pair = sorted((self.plain.name, self.other.name))
        direct = "@" + "+".join(pair)
        self.plain.enter(direct)
        self.other.wait_for("SessionKey")
        self.other.leave(direct)
        self.plain.wait_for("SessionKey")
        self.assertEqual([self.plain.name], self.plain.members[direct])
        self.plain.enter(direct)
        self.other.wait_for("SessionKey")
        self.assertEqual(pair, sorted(self.plain.members[direct]))
        self.assertEqual(self.plain.keys[direct], self.other.keys[direct])


class RefusedTests(harness.PeerCase):
    """What is refused, with which code; and then the link ends."""

    def setUp(self) -> None:
        """There is a relay."""
        self.address = harness.plain_relay().addresses[0]

    def assert_refused(self, sent: Mapping[str, tuple[str, bytes]], login: bool = True) -> None:
        """Each of these, sent by a new client, is answered with one refusal, and what follows with nothing."""
        answers = {}
        for label, (_, data) in sent.items():
            plain = self.login(self.address) if login else self.connect(self.address)
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
        """Messages that no client sends are refused as unknown, those of relays too."""
        names = ("Nope", "ping", "", "Greeting", "Welcome", "Refused", "Delivery", "Ack", "SessionKey", "__init__")
        self.assert_refused({name: ("unknown-message", frame([name, 1])) for name in names})

    def test_fields(self) -> None:
        """A field that is missing, too many, of a wrong type or out of bounds is refused."""
        item = [ID, b"sealed"]
        messages: dict[str, list[object]] = {
            "missing": ["Enter"],
            "too many": ["Enter", "#a", "#b"],
            "too many of none": ["Ping", 1],
            "bytes for str": ["Enter", b"#a"],
            "number for str": ["Enter", 1],
            "short room": ["Enter", "#"],
            "long room": ["Leave", "#" * 67],
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
            "unknown code": ["Goodbye", "nope", ""],
            "long reason": ["Goodbye", "quit", "x" * 201],
        }
        bad_utf8 = struct.pack(">I", 9) + b"\x92\xa5Enter\xa1\xff"
        surrogate = struct.pack(">I", 12) + b"\x92\xa5Enter\xa4#\xed\xa0\x80"
        raw = {"bad UTF-8": ("bad-field", bad_utf8), "surrogate": ("bad-field", surrogate)}
        self.assert_refused({label: ("bad-field", frame(message)) for label, message in messages.items()} | raw)

    def test_order(self) -> None:
        """Before `Welcome` only `Hello`, a sign of life or a goodbye is in order, and afterwards no `Hello`."""
        post = frame(["Post", "#a", EPOCH, [[ID, b"sealed"]]])
        early = {"enter": frame(["Enter", "#a"]), "leave": frame(["Leave", "#a"]), "post": post}
        self.assert_refused({label: ("out-of-order", data) for label, data in early.items()}, login=False)
        self.assert_refused({"again": ("out-of-order", frame(["Hello", 1, "again"]))})
        stranger = self.connect(self.address)
        stranger.ping()
        stranger.send("Pong")
        stranger.quit()

    def test_logins(self) -> None:
        """A login is refused for its version first, then for its name, then because somebody has that."""
        taken = self.login(self.address).name
        names = dict.fromkeys(("", "A", "-a", ".a", "a b", "a+b", "a\n", "ä", "a\0", "\x1b[31m"), "bad-name")
        names |= {
            "a" * 33: "name-too-long",
            "A" * 256: "name-too-long",
            "a" * 257: "bad-field",
            taken: "name-taken",
        }
        self.assert_refused({name: (code, frame(["Hello", 1, name])) for name, code in names.items()}, login=False)
        versions = {str(version): ("version", frame(["Hello", version, "A"])) for version in (0, 2, 2**32 - 1)}
        wrong: list[object] = [2**32, -1, 1.0, True, "1", None]
        fields = {repr(version): ("bad-field", frame(["Hello", version, "a"])) for version in wrong}
        more = {"fields of another version": ("bad-field", frame(["Hello", 2, "a", bytes(32)]))}
        self.assert_refused(versions | fields | more, login=False)

    def test_floods(self) -> None:
        """More posts than the window, or more requests than the relay takes, are a flood."""
        room, items = self.new_room(), [[ID, b"sealed"]]
        plain = self.login(self.address, room)
        window, epoch = plain.window, plain.keys[room][0]
        plain.link.close()
        half = items * (window // 2 + 1)
        again = frame(["Post", room, EPOCH, half]) + frame(["Post", room, epoch, half])
        self.assert_refused({"one post": ("flood", frame(["Post", room, epoch, items * (window + 1)]))})
        self.assert_refused({"posted again before the answer": ("flood", again)})
        for request in (["Ping"], ["Pong"], ["Leave", "#elsewhere"]):
            hasty = self.login(self.address)
            hasty.link.sendall(frame(request) * 300)
            said = hasty.wait_for_end()
            self.assertEqual(["Refused", "flood"], said[-1][:2])
            self.assertLessEqual(len(said), 260)

    def test_window(self) -> None:
        """A whole window at once is taken, one after the other."""
        room = self.new_room()
        plain = self.login(self.address, room)
        for _ in range(2):
            ids = [os.urandom(16) for _ in range(plain.window)]
            plain.post(room, [(post_id, b"sealed") for post_id in ids])
            while ids[-1] not in plain.acked:
                plain.receive()
        self.assertEqual(list(range(1, 513)), list(plain.acked.values()))

    def test_full(self) -> None:
        """A relay for two refuses the third, and takes the next one when one of the two has left."""
        relay = harness.Relay("--plaintext", "--max-clients", "2")
        self.addCleanup(relay.end)
        address = relay.addresses[0]
        first, _, third = self.login(address), self.login(address), self.connect(address)
        with self.assertRaisesRegex(PeerError, "full"):
            third.login("third")
        self.assertEqual([], third.wait_for_end())
        first.quit()
        second = self.login(address)
        relay.interrupt()
        self.assertEqual(["Goodbye", "shutdown"], second.wait_for_end()[-1][:2])


class DocumentTests(SynchronousTestCase):
    """What the document says in so many bytes."""

    def setUp(self) -> None:
        """Read it."""
        self.text = DOCUMENT.read_text(encoding="utf-8")

    def test_hello(self) -> None:
        """The example of a `Hello` is what the plain client sends."""
        found = re.search(r'`Hello\(1, "alice"\)` is `([0-9a-f ]+)`', self.text)
        assert found
        self.assertEqual(bytes.fromhex(found[1]), frame(["Hello", 1, "alice"]))

    def test_sealed(self) -> None:
        """The example of a sealed message is what the plain client makes of it, step by step."""
        rows = re.findall(r"^    ([\w ]+?)  +([0-9a-f ]+)$", self.text.partition("**Example**")[2], re.M)
        given = {label: bytes.fromhex(data) for label, data in rows}
        key, epoch, iv = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 80))
        self.assertEqual((given["MAC key"], given["encryption key"]), peer.keys_of(key, epoch))
        self.assertEqual(given["content"], content_of("hello"))
        sealed = seal(given["content"], key, epoch, "#lobby", "alice", iv)
        self.assertEqual(b"SC0\x01" + epoch + iv + given["ciphertext"] + given["tag"], sealed)
        self.assertEqual(given["content"], peer.unseal(sealed, key, epoch, "#lobby", "alice"))

    def test_codes(self) -> None:
        """The plain client knows the codes of the document's table, each for the message that it comes in."""
        for kind, known in (("Refused", peer.REFUSED), ("Declined", peer.DECLINED), ("Goodbye", peer.GOODBYE)):
            rows = re.findall(rf"^\| (`[^|]+) \| `{kind}` \|", self.text, re.M)
            codes = {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}
            self.assertEqual(set(known.pattern.split("|")), codes)

    def test_messages(self) -> None:
        """The plain client knows every message of the document's first table, with as many fields."""
        table = self.text.partition("### From the relay")[2].partition("### From the client")[0]
        rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.M)
        plain = {name: re.sub(r"\[.*?\]|\(.*?\)", "", fields) for name, fields in rows}
        counts = {name: len(re.findall(r"\w[^,]*", fields)) for name, fields in plain.items()}
        self.assertEqual({str(name): len(shapes) for name, *shapes in peer.FROM_RELAY}, counts)
