"""What is forged is shown neither by our client nor by the plain one, and both hear the next honest message."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from msgspec import msgpack
from twisted.trial.unittest import SynchronousTestCase

from tests.peer import harness, sc1, sessions
from tests.peer.log import Log, LogError, entry
from tests.peer.sc1 import Keys, RefusedError, lp, sign
from tests.peer.sessions import Receiving, Sending, open_blob, read_frame
from tests.peer.state import now_ms

COLOURFUL: Final = "\x1b[31mred\x1b[0m\x07\rover\nours: forged \N{RIGHT-TO-LEFT OVERRIDE}txet\x9b2J"
"""A text that would paint, ring, overwrite, pretend and turn around on a terminal that believed it."""

ROOM: Final = "#den"
NOW: Final = 1_800_000_000_000
R: Final = bytes(range(32))


def flipped(data: bytes, at: int) -> bytes:
    """The same with one bit changed in one byte."""
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def wrongly_padded(session: Sending, epoch: bytes, session_key: bytes, last: int) -> bytes:
    """The next frame of a session, everything right but the padding, which ends with this byte."""
    key, session.chain_key = sessions.chain(session.chain_key)
    mac_key, encryption_key = sessions.message_keys(session_key, key, session.sid, session.index)
    encryptor = Cipher(algorithms.AES256(encryption_key), modes.CBC(bytes(16))).encryptor()
    header = b"SC1\1" + epoch + session.sid + session.index.to_bytes(4, "big") + session.prev
    untagged = header + bytes(16) + encryptor.update(bytes(143) + bytes([last]))
    tagged = untagged + sessions.tag_of(mac_key, untagged)
    session.index, session.prev = session.index + 1, sha256(tagged).digest()
    return tagged + sign(session.keys.device_key, "frame", session.prev)


class OurClientTests(harness.PeerCase):
    """What a member seals wrongly our client never shows as a message, and it hears the next honest one."""

    def setUp(self) -> None:
        """Our client and a plain one are in a room of their own, and have each other's keys."""
        self.address = harness.plain_relay().addresses[0]
        self.ours = harness.ours_in_lobby(self.address)
        self.room = self.new_room()
        self.plain = self.login(self.address, self.room)
        self.ours.say(self.room, "ready")
        self.assert_heard(self.plain, self.room, self.ours.name, "ready")
        self.say(self.plain, self.room, "ready, too")
        self.ours.expect("message", room=self.room, text="ready, too")

    def sealed(self, plaintext: bytes | None = None) -> bytes:
        """The next frame of the plain client's session; it is given up, and the one after it says so."""
        known = self.plain.rooms[self.room]
        log, session = known.log, known.sending
        assert session is not None
        session.void.add(session.index)
        content = sessions.content(log.room_id, now_ms(), bytes(16), 0, "forged")
        return session.seal(log.epoch, known.keys[log.epoch], content if plaintext is None else plaintext)

    def post(self, *forged: bytes) -> None:
        """Post these, a window at a time."""
        for at in range(0, len(forged), 128):
            run = [(os.urandom(16), sealed) for sealed in forged[at : at + 128]]
            self.plain.post(self.room, run)
            self.until(self.plain, self._acked([post_id for post_id, _ in run]))

    def _acked(self, ids: list[bytes]) -> Callable[[], bool]:
        return lambda: all(post_id in self.plain.acked for post_id in ids)

    def assert_not_shown(self, *forged: bytes) -> list[harness.Event]:
        """None of these shows as a message, an honest one after them does; the events of the others."""
        first = max(self.plain.acked.values())
        self.post(*forged)
        self.say(self.plain, self.room, "honest")
        events = self.ours.until("message", text="honest", room=self.room)
        self.assertNotIn("forged", json.dumps(events))
        self.assertEqual(["honest"], [each["text"] for each in events if each["type"] == "message"])
        told = [each for each in events if each["type"] in ("unreadable", "held")]
        self.assertEqual(list(range(first + 1, first + 1 + len(forged))), sorted(each["seq"] for each in told))
        return told

    def test_bits(self) -> None:
        """A message with one bit changed, in any byte of it, is not shown."""
        honest = self.sealed()
        self.assert_not_shown(*(flipped(honest, at) for at in range(0, len(honest), 3)))

    def test_lengths(self) -> None:
        """A message that was cut, or has something behind it, is not shown."""
        honest = self.sealed()
        cut = [honest[:length] for length in range(1, len(honest), 7)]
        told = self.assert_not_shown(*cut, honest + b"\0", honest + bytes(128), bytes(16_600))
        self.assertEqual({"unreadable"}, {each["type"] for each in told})

    def test_plain(self) -> None:
        """What is not sealed at all, or as in version 1, is not shown."""
        text = msgpack.encode(["text", "forged"])
        told = self.assert_not_shown(text, text.ljust(344, b"\0"), b"SC0\1" + bytes(36) + text.ljust(304, b"\0"))
        self.assertEqual({"unreadable"}, {each["type"] for each in told})

    def test_contents(self) -> None:
        """Authentic content that is no text of this room, or wrongly padded, is not shown."""
        room_id = self.plain.rooms[self.room].log.room_id
        right: list[object] = ["text", room_id, NOW, bytes(16), 0, "forged"]
        wrong: dict[int, list[object]] = {
            0: ["picture", "", 1, None],
            1: [bytes(32), room_id[1:], "room"],
            2: [-1, 2**63, 1.0, None],
            3: [bytes(15), "", None],
            4: [-1, 2**31, None],
            5: ["", b"forged", "x" * 16_257, None],
        }
        bodies = [[*right[:at], value, *right[at + 1 :]] for at, values in wrong.items() for value in values]
        packed = [msgpack.encode(body) for body in (*bodies, right[:5], [*right, 1], [], "forged", {}, 1)]
        plaintexts = [sessions.padded(each) for each in packed if len(each) <= 16_380]
        good = sessions.padded(msgpack.encode(right))
        plaintexts += [good[:-1] + b"\1", good.ljust(256, b"\0"), b"\xff" * 128, bytes(128), good[:4] + bytes(124)]
        told = self.assert_not_shown(*map(self.sealed, plaintexts))
        self.assertEqual({"unreadable"}, {each["type"] for each in told})

    def test_padding(self) -> None:
        """An authentic ciphertext with wrong PKCS#7 padding is not shown."""
        forged = [self.unpadded(last) for last in (0, 2, 17, 255)]
        told = self.assert_not_shown(*forged)
        self.assertEqual({"unreadable"}, {each["type"] for each in told})

    def unpadded(self, last: int) -> bytes:
        """The next frame, with a last byte of the plaintext that is no padding."""
        known = self.plain.rooms[self.room]
        assert known.sending is not None
        known.sending.void.add(known.sending.index)
        return wrongly_padded(known.sending, known.log.epoch, known.keys[known.log.epoch], last)

    def test_replayed(self) -> None:
        """A message that comes a second time, under another id, is shown once."""
        frames: list[bytes] = []
        post = self.plain.post

        def tap(room: str, items: list[tuple[bytes, bytes]], epoch: bytes | None = None) -> None:
            frames.extend(sealed for _, sealed in items)
            post(room, items, epoch)

        self.plain.post = tap  # type: ignore[method-assign, assignment]
        self.say(self.plain, self.room, "once")
        self.plain.post = post  # type: ignore[method-assign]
        self.ours.expect("message", room=self.room, text="once")
        told = self.assert_not_shown(*frames, *frames)
        self.assertEqual({"unreadable"}, {each["type"] for each in told})

    def test_in_another_name(self) -> None:
        """A frame of somebody's session, posted by another member, is never shown as either's."""
        third = self.login(self.address, self.room)
        self.meet(self.plain, self.room, self.ours.name, third.name)
        self.say(third, self.room, "hello")
        self.ours.expect("message", room=self.room, text="hello")
        stolen = self.sealed()
        third.post(self.room, [(os.urandom(16), stolen)])
        third.wait_for("Ack")
        self.say(self.plain, self.room, "honest")
        events = self.ours.until("message", text="honest", room=self.room)
        self.assertNotIn("forged", json.dumps(events))

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
        self.meet(plain, room, lines.name)
        self.say(plain, room, COLOURFUL, "honest")
        first, second = lines.line().decode().removesuffix("\n"), lines.line().decode().removesuffix("\n")
        self.assertTrue(first.startswith(f"{plain.name}: "))
        self.assertTrue(first.isprintable(), first)
        self.assertEqual(f"{plain.name}: honest", second)


class PlainClientTests(SynchronousTestCase):
    """The plain client refuses what the document says, each check by itself."""

    def setUp(self) -> None:
        """Alice has founded a room with bob in it, and handed bob her session's key."""
        self.alice, self.bob, self.carol = (Keys(name, now_ms=NOW) for name in ("alice", "bob", "carol"))
        self.log = Log(ROOM)
        detail = lp(self.alice.certificate, ROOM.encode(), bytes(16), lp(b"closed", bytes(4)))
        self.take(self.alice, "create", self.alice, "owner", detail)
        self.take(self.alice, "add", self.bob, "member", self.bob.certificate)
        self.record = self.bob.offer(NOW)
        self.sending = Sending(self.alice, self.log, NOW)
        self.blob = self.sending.seal_to(self.bob.device, self.record, NOW)
        self.receiving = self.opened(self.blob)

    def take(self, by: Keys, op: str, subject: Keys, role: str = "", detail: bytes = b"") -> None:
        """Let the log go on."""
        number, last = len(self.log.entries), self.log.last
        self.log.take(entry(by.device_key, number, last, op, subject.identity, role, NOW, detail))

    def opened(self, blob: bytes) -> Receiving:
        """The session that is in a blob for bob."""
        found = open_blob(blob, self.log, self.bob)
        assert found is not None
        return found

    def seal(self, text: str = "hello", epoch: bytes = b"", voided: int = 0, room_id: bytes = b"") -> bytes:
        """Alice's next frame."""
        content = sessions.content(room_id or self.log.room_id, NOW, bytes(16), voided, text)
        return self.sending.seal(epoch or self.log.epoch, R, content)

    def hear(self, frame: bytes, key: bytes = R, now: int = NOW) -> tuple[str, tuple[int, int] | None]:
        """What bob hears: a text and what is missing before it."""
        return self.receiving.open(read_frame(frame), key, self.log, now)[1:]

    def assert_refused(self, problem: str, frame: bytes, key: bytes = R, now: int = NOW) -> None:
        """Bob refuses a frame for this reason."""
        with self.assertRaisesRegex(RefusedError, f"^{problem}$"):
            self.hear(frame, key, now)

    def test_bits(self) -> None:
        """A changed bit in any byte, or a wrong session key, is refused, and the frame itself is heard."""
        honest = self.seal()
        for at in (*range(4), *range(36, len(honest))):
            with self.assertRaises(RefusedError):
                self.hear(flipped(honest, at))
        self.assert_refused("not authentic", honest, key=bytes(32))
        self.assertEqual(("hello", None), self.hear(honest))

    def test_replays(self) -> None:
        """A frame is heard once, in whatever order frames come, and what is missing is told."""
        frames = [self.seal(str(number)) for number in range(4)]
        self.assertEqual(("0", None), self.hear(frames[0]))
        self.assertEqual(("3", (1, 2)), self.hear(frames[3]))
        self.assertEqual(("1", None), self.hear(frames[1]))
        for at in (0, 1, 3):
            self.assert_refused("replayed", frames[at])
        self.assertEqual(("2", None), self.hear(frames[2]))

    def test_voided(self) -> None:
        """Frames that their sender gave up are not missing, and cannot be heard any more."""
        first, given_up, again = self.seal("0"), self.seal("1"), self.seal("1 again", voided=1)
        self.assertEqual(("0", None), self.hear(first))
        self.assertEqual(("1 again", None), self.hear(again))
        self.assert_refused("key gone", given_up)

    def test_far(self) -> None:
        """A frame 2,000 ahead or 1,024 behind is refused, and a skipped key is gone after a week."""
        frames = [self.seal() for _ in range(2_002)]
        self.hear(frames[0])
        self.assert_refused("too far", frames[2_001])
        self.hear(frames[2_000])
        self.assert_refused("replayed", frames[976])
        self.assert_refused("key gone", frames[977])
        self.hear(frames[1_990])
        self.hear(frames[2_001], now=NOW + 7 * sc1.DAY_MS)
        self.assert_refused("key gone", frames[1_991])

    def test_forked(self) -> None:
        """Two frames under one index are a fork: the second is refused."""
        again = Sending(self.alice, self.log, NOW, self.sending.sid, self.sending.chain_key)
        self.hear(self.seal("one"))
        self.sending = again
        self.assert_refused("forked", self.seal("other"))

    def test_epochs(self) -> None:
        """A session goes on while the room grows, never back, and ends when somebody leaves."""
        old = self.log.epoch
        self.take(self.alice, "add", self.carol, "member", self.carol.certificate)
        self.assertFalse(self.sending.is_spent(self.log, NOW))
        self.assertEqual(("hello", None), self.hear(self.seal()))
        self.assert_refused("stale epoch", self.seal(epoch=old))
        self.take(self.alice, "remove", self.carol)
        self.assertTrue(self.sending.is_spent(self.log, NOW))
        self.assert_refused("stale epoch", self.seal())

    def test_other_room(self) -> None:
        """A frame whose body names another room is refused."""
        self.assert_refused("not authentic", self.seal(room_id=bytes(32)))

    def test_padding(self) -> None:
        """A frame whose padding is wrong though its tag is right is refused."""
        for last in (0, 2, 17, 255):
            self.assert_refused("not authentic", wrongly_padded(self.sending, self.log.epoch, R, last))

    def test_blobs(self) -> None:
        """A sealed key with a changed bit, to another prekey, or passed on to somebody else, is refused."""
        for at in range(0, len(self.blob), 5):
            try:
                found = open_blob(flipped(self.blob, at), self.log, self.bob)
            except RefusedError:
                continue
            # A changed epoch is one that the log has not yet: the blob waits, and opens nothing.
            self.assertIsNone(found)
            self.assertIn(at, range(64, 104))
        self.carol.prekeys |= self.bob.prekeys
        with self.assertRaises(RefusedError):
            open_blob(self.blob, self.log, self.carol)
        self.bob.prekeys.clear()
        with self.assertRaises(RefusedError):
            open_blob(self.blob, self.log, self.bob)

    def test_padding_inside(self) -> None:
        """A plaintext that is not the shortest, or not filled up with zeros, is refused though its tag is right."""
        good = sessions.content(self.log.room_id, NOW, bytes(16), 0, "hello")
        for plaintext in (good[:-1] + b"\1", good.ljust(256, b"\0"), b"\xff" * 128):
            self.assert_refused("not authentic", self.sending.seal(self.log.epoch, R, plaintext))

    def test_inside_of_a_blob(self) -> None:
        """A sealed key that opens, and inside is of another session, device, prekey or signer, is refused."""
        prekey_id, suite, public = sc1.read_prekey(self.record, self.bob.device, NOW)
        sending, other = self.sending, Sending(self.alice, self.log, NOW)
        info = lp(b"securechat/1 seal", sending.descriptor, self.bob.device, prekey_id)
        inside = (
            (sending.inner(self.bob.device, prekey_id), self.bob),
            (other.inner(self.bob.device, prekey_id), self.alice),
            (sending.inner(self.carol.device, prekey_id), self.alice),
            (sending.inner(self.bob.device, bytes(8)), self.alice),
            (lp(sending.descriptor, b"\x80\0\0\0", R, self.bob.device, prekey_id), self.alice),
        )
        for inner, by in inside:
            sealed = sc1.hpke_seal(suite, public, info, inner + sign(by.device_key, "key", inner))
            with self.assertRaises(RefusedError):
                open_blob(lp(sending.descriptor, prekey_id, sealed), self.log, self.bob)

    def test_strangers_key(self) -> None:
        """A key of a device that was no member in the epoch that it names is refused."""
        stranger = Sending(self.carol, self.log, NOW)
        with self.assertRaises(RefusedError):
            open_blob(stranger.seal_to(self.bob.device, self.record, NOW), self.log, self.bob)

    def test_log(self) -> None:
        """A log takes no entry with a changed bit, of another room, or out of its place, and one it knows again."""
        for known in self.log.entries:
            self.log.take(known)
        leave = entry(self.bob.device_key, 2, self.log.last, "leave", self.bob.identity, "", NOW, b"")
        for at in range(len(leave)):
            with self.assertRaises(LogError):
                self.log.take(flipped(leave, at))
        with self.assertRaises(LogError):
            Log("#other").take(self.log.entries[0])
        with self.assertRaises(LogError):
            Log(ROOM).take(self.log.entries[1])
        for number, previous in ((3, self.log.last), (1, self.log.last), (2, self.log.room_id), (2, bytes(32))):
            with self.assertRaises(LogError):
                self.log.take(
                    entry(self.bob.device_key, number, previous, "leave", self.bob.identity, "", NOW, b"")
                )
        self.log.take(leave)
        self.assertEqual(["alice"], [each.name for each in self.log.members.values()])

    def test_rights(self) -> None:
        """A log takes nothing that its author has no right to."""
        carol = self.carol.identity, "member", self.carol.certificate
        wrong: tuple[tuple[Keys, str, bytes, str, bytes], ...] = (
            (self.bob, "add", *carol),
            (self.carol, "join", *carol),
            (self.carol, "add", *carol),
            (self.bob, "remove", self.alice.identity, "", b""),
            (self.alice, "remove", self.alice.identity, "", b""),
            (self.bob, "role", self.bob.identity, "owner", b""),
            (self.bob, "policy", self.bob.identity, "", lp(b"open", bytes(4))),
            (self.alice, "leave", self.bob.identity, "", b""),
            (self.alice, "add", self.bob.identity, "member", self.bob.certificate),
            (self.alice, "add", self.carol.identity, "admin", self.carol.certificate),
            (self.alice, "add", self.carol.identity, "member", self.bob.certificate),
            (self.alice, "add", self.carol.identity, "member", Keys("dora").certificate),
            (self.alice, "remove", self.carol.identity, "", b""),
            (self.alice, "role", self.carol.identity, "admin", b""),
            (self.alice, "policy", self.alice.identity, "", lp(b"ajar", bytes(4))),
        )
        for by, op, subject, role, detail in wrong:
            with self.assertRaises(LogError):
                self.log.take(entry(by.device_key, 2, self.log.last, op, subject, role, NOW, detail))
        self.assertEqual(2, len(self.log.entries))
