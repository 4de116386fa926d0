"""The plain client against the vectors, and against our relay and our client, as processes.

`plain.py` was written from docs/PROTOCOL.md, docs/SC1-notes.md and the vectors by somebody who had seen nothing
else of this project, and taught version 3 by what that page says of it; these tests came with it, and those of who
was away are in `test_away.py`. What it leaves out: a window, marks, posts that outlive a link, and most limits.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from twisted.trial.unittest import SynchronousTestCase

from tests.peer import harness
from tests.peer import plain as code
from tests.peer.plain import X25519, X_WING, Message, PeerError, Person, PlainClient, Room

ROOT = Path(__file__).parents[2]


class Chat(harness.Program):
    """Our client under a name, by JSON lines."""

    def __init__(self, name: str, relay: str, room: str) -> None:
        home = tempfile.mkdtemp(dir=harness.scratch())
        self.seen: list[dict[str, Any]] = []
        command = [sys.executable, "-m", "securechat", "chat", name, "--engine", "cpu", "--relay", relay]
        super().__init__(*command, "--home", home, "--json", "--room", room)
        self.wait("key")

    def say(self, text: str, room: str = "#lobby") -> None:
        """Have it say something."""
        self.feed(json.dumps({"text": text, "room": room}).encode())

    def wait(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next event of a kind with these fields."""
        while True:
            event = json.loads(self.line())
            self.seen.append(event)
            if {"type": kind, **fields}.items() <= event.items():
                return dict(event)


class PlainTests(SynchronousTestCase):
    """What makes it a second opinion."""

    def test_independent(self) -> None:
        """It has five hundred lines at the most, and imports nothing of ours."""
        source = Path(code.__file__).read_text(encoding="utf-8")
        self.assertLessEqual(len(source.splitlines()), 500)
        imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
        others = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
        self.assertEqual(others, {"cryptography", "msgspec", "OpenSSL"})


class VectorTests(SynchronousTestCase):
    """What docs/vectors/sc1.json says."""

    def setUp(self) -> None:
        """Read the vectors, hexadecimal digits as bytes."""

        def raw(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: raw(item) for key, item in value.items()}
            if isinstance(value, list):
                return [raw(item) for item in value]
            try:
                return bytes.fromhex(value)
            except (TypeError, ValueError):
                return value

        data = json.loads((ROOT / "docs/vectors/sc1.json").read_text())
        self.data = raw(data)
        self.alice, self.bob, self.carol = self.data["people"]

    def test_certificates_and_log(self) -> None:
        """It reads certificates and log, and no entry that was changed, is out of its place or of another room."""
        for person in self.data["people"]:
            member = code.read_certificate(person["certificate"])
            self.assertEqual(member[:3], (person["name"], person["identity"], person["device"]))
        entries = self.data["room"]["entries"]
        room = Room("#den")
        for n, entry in enumerate(entries):
            room.follow(n, entry)
        self.assertEqual(room.hashes[0], self.data["room"]["room_id"])
        self.assertIn(self.data["room"]["epoch_of_the_messages"], room.epochs)
        for n, entry in enumerate(entries):
            other = Room("#den")
            for k, before in enumerate(entries[:n]):
                other.follow(k, before)
            for at in (5, len(entry) // 2, len(entry) - 1):
                with self.assertRaises(code.BAD):
                    other.follow(n, entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :])
            if n + 1 < len(entries):
                with self.assertRaises(code.BAD):
                    other.follow(n + 1, entries[n + 1])
        with self.assertRaises(code.BAD):
            Room("#other").follow(0, entries[0])

    def test_prekeys_and_blobs(self) -> None:
        """It opens the sealed keys of both suites, the messages behind them, and none of these twice."""
        session = self.data["session_of_alice"]
        for prekey, way in zip(self.data["prekeys_of_bob"], ("sealed_by_x25519", "sealed_by_x_wing"), strict=True):
            person = Person("bob", prekey["suite"])
            person.dk, person.prekey_id = self.bob["device"], prekey["record"][4:12]
            half = prekey["private"]
            if prekey["suite"] == X_WING:
                seeds = hashlib.shake_256(half).digest(96)
                lattice, half = mlkem.MLKEM768PrivateKey.from_seed_bytes(seeds[:64]), seeds[64:]
            person.private = x25519.X25519PrivateKey.from_private_bytes(half)
            if prekey["suite"] == X_WING:
                person.private = hpke.MLKEM768X25519PrivateKey(lattice, person.private)
            client = object.__new__(PlainClient)
            client.person, client.asked = person, set()
            room = Room("#den")
            for n, entry in enumerate(self.data["room"]["entries"]):
                room.follow(n, entry)
            client._open_key(room, session[way]["blob"])
            room.keys[self.data["room"]["epoch_of_the_messages"]] = session["session_key"]
            for message in session["messages"]:
                self.assertEqual(client._open(room, "alice", message["frame"]), message["text"])
            with self.assertRaisesRegex(ValueError, "replayed"):
                client._open(room, "alice", session["messages"][1]["frame"])

    def test_messages(self) -> None:
        """It derives the keys of the messages, and seals the same frames."""
        session = self.data["session_of_alice"]
        for message in session["messages"]:
            key = code.message_key(message["chain_key"], session["session_key"], session["sid"], message["index"])
            self.assertEqual(key, message["key"])
            plaintext = message["plaintext"]
            body = plaintext[4 : 4 + int.from_bytes(plaintext[:4])]
            sealed = code.seal_frame(key, message["header"], message["iv"], body)
            self.assertEqual(sealed, message["frame"][:-64])
            self.assertEqual(hashlib.sha256(sealed).digest(), message["digest"])

    def test_proof(self) -> None:
        """It reads the proof of a login."""
        login = self.data["login_of_alice"]
        signed = code.lp(login["fingerprint"], b"alice", self.alice["device"], login["nonce"], login["exporter"])
        code.signer(self.alice["device"]).verify(login["proof"], b"securechat/1 login\0" + signed)


class RealCase(SynchronousTestCase):
    """A test with plain clients, and a relay of its own."""

    def setUp(self) -> None:
        """Start a relay."""
        self.relay = self.start()

    def start(self, *options: str, listen: str = "tcp:0:interface=127.0.0.1") -> harness.Relay:
        """A relay of this test's own."""
        relay = harness.Relay(*options, listen=(listen,))
        self.addCleanup(relay.end)
        return relay

    def chat(self, name: str, room: str = "#lobby", address: str = "") -> Chat:
        """Our client."""
        chat = Chat(name, address or self.relay.addresses[0], room)
        self.addCleanup(chat.end)
        return chat

    def plain(self, who: str | Person, room: str = "#lobby", address: str = "") -> PlainClient:
        """The plain client, logged in and in a room."""
        client = PlainClient(address or self.relay.addresses[0])
        self.addCleanup(client.socket.close)
        client.login(who)
        if room:
            client.enter(room)
        return client

    def hears(self, client: PlainClient, text: str, sender: str, room: str = "#lobby") -> Message:
        """It hears this next."""
        message = client.next_message(10)
        assert message is not None, f"{text} was not heard"
        self.assertEqual((message[0], *message[2:]), (room, sender, text, ""))
        return message


class RealTests(RealCase):
    """Against real processes."""

    def both_ways(self, address: str, suite: bytes) -> None:
        """It and our client hear each other, and it goes away."""
        alice = self.chat("alice", address=address)
        peer = self.plain(Person("peer", suite), address=address)
        peer.say("#lobby", "hello, alice")
        alice.wait("message", sender="peer", text="hello, alice")
        alice.say("hello, peer ✓")
        self.hears(peer, "hello, peer ✓", "alice")
        peer.quit()
        alice.wait("gone", name="peer")

    def test_tls_x_wing(self) -> None:
        """Over TLS, offering X-Wing."""
        self.both_ways(self.relay.addresses[0], X_WING)

    def test_tls_x25519(self) -> None:
        """Over TLS, offering X25519."""
        self.both_ways(self.relay.addresses[0], X25519)

    def test_tcp(self) -> None:
        """Over TCP."""
        (address,) = self.start("--plaintext").addresses
        self.assertTrue(address.startswith("securechat+tcp:"))
        self.both_ways(address, X_WING)

    def test_unix(self) -> None:
        """Over a Unix socket."""
        (address,) = self.start(listen=f"unix:{harness.scratch() / 'plain.sock'}").addresses
        self.both_ways(address, X25519)

    def test_two_plain_of_two_suites(self) -> None:
        """Two of it, each with another suite, hear each other."""
        one, two = self.plain(Person("one", X25519)), self.plain(Person("two", X_WING))
        for client, other, name in ((one, two, "one"), (two, one, "two")):
            client.say("#lobby", "from " + name)
            self.hears(other, "from " + name, name)

    def test_fingerprint(self) -> None:
        """It says nothing to a relay with another key than the address says, and needs none in it."""
        address, _ = self.relay.addresses[0].split("#")
        with self.assertRaisesRegex(PeerError, "fingerprint"):
            PlainClient(address + "#" + "0" * 64)
        self.plain("peer", "", address).quit()

    def test_name_owned(self) -> None:
        """A name that another identity has is refused."""
        self.plain("peer", "")
        with self.assertRaises(PeerError) as raised:
            self.plain("peer", "")
        self.assertEqual(raised.exception.args[0], "name-owned")

    def test_direct(self) -> None:
        """A room of two works, whichever side founds it, and there is none with somebody unknown."""
        alice, peer = self.chat("alice"), self.plain("peer", "")
        room = peer.direct("alice")
        self.assertEqual((room, peer.members(room)), ("@alice+peer", {"alice", "peer"}))
        peer.say(room, "between us")
        alice.wait("message", room=room, sender="peer", text="between us")
        alice.say("indeed", room)
        self.hears(peer, "indeed", "alice", room)
        bob = self.chat("bob")
        bob.say("from bob", "@bob+peer")
        self.hears(peer, "from bob", "bob", "@bob+peer")
        with self.assertRaises(PeerError):
            peer.direct("nobody-here")

    def test_closed_room(self) -> None:
        """It founds a closed room, adds and removes our client, who reads nothing more; strangers are refused."""
        alice, peer = self.chat("alice"), self.plain("peer", "")
        peer.found("#den")
        peer.say("#den", "alone")
        peer.add("#den", "alice")
        alice.wait("entered", room="#den")
        peer.say("#den", "welcome")
        self.assertEqual(alice.wait("message", room="#den")["text"], "welcome")
        alice.say("thanks", "#den")
        self.hears(peer, "thanks", "alice", "#den")
        other = self.plain("other", "")
        with self.assertRaises(PeerError) as raised:
            other.enter("#den")
        self.assertEqual(raised.exception.args[0], "not-permitted")
        peer.add("#den", "other")
        peer.remove("#den", "alice")
        self.assertEqual(peer.members("#den"), {"peer", "other"})
        peer.say("#den", "without alice")
        self.hears(other, "without alice", "peer", "#den")
        peer.enter("#lobby")
        peer.say("#lobby", "to everybody")
        alice.wait("message", text="to everybody")
        self.assertNotIn("without alice", json.dumps(alice.seen))

    def test_two_of_theirs_and_a_latecomer(self) -> None:
        """Two of our clients and it talk; who joins later reads nothing older, given all of the wire."""
        alice, bob, peer = self.chat("alice"), self.chat("bob"), self.plain("peer")
        for k in range(3):
            for name, chat in (("alice", alice), ("bob", bob)):
                chat.say(f"{name} {k}")
                chat.wait("sent")
                self.hears(peer, f"{name} {k}", name)
            peer.say("#lobby", f"peer {k}")
            for chat in (alice, bob):
                chat.wait("message", sender="peer", text=f"peer {k}")
        third, carol = self.plain("third"), self.chat("carol")
        for body in peer.captured:
            if msgspec.msgpack.decode(body)[0] in ("Delivery", "SealedKey", "SessionKey"):
                third.person.rooms["#lobby"].known = 0  # or it would drop what it knows to be old
                third._handle(body)
        self.assertFalse([message for message in third.inbox if message[3] is not None])
        self.assertEqual({message[4] for message in third.inbox} | {"not a member"}, {"not a member"})
        third.inbox.clear()
        peer.receive(2)
        peer.say("#lobby", "to all")
        carol.wait("message", sender="peer")
        self.assertEqual([item["text"] for item in carol.seen if item["type"] == "message"], ["to all"])
        self.hears(third, "to all", "peer")
        alice.say("me too")
        self.hears(third, "me too", "alice")

    def test_removed_reads_nothing(self) -> None:
        """Who was removed opens nothing of what a member captured since, its R included."""
        alice, one, two = self.chat("alice"), self.plain("one", ""), self.plain("two", "")
        one.found("#den")
        for name in ("alice", "two"):
            one.add("#den", name)
        alice.wait("entered", room="#den")
        one.say("#den", "before")
        self.hears(two, "before", "one", "#den")
        alice.wait("message", text="before")
        alice.say("before too", "#den")
        self.hears(one, "before too", "alice", "#den")
        self.hears(two, "before too", "alice", "#den")
        start = len(one.captured)
        one.remove("#den", "two")
        one.say("#den", "secret")
        alice.wait("message", text="secret")
        alice.say("secret too", "#den")
        self.hears(one, "secret too", "alice", "#den")
        while two.receive(0.5):
            pass
        self.assertNotIn("two", two.members("#den"))
        sessions = set(two.person.rooms["#den"].theirs)
        names = []
        for body in one.captured[start:]:
            names.append(msgspec.msgpack.decode(body)[0])
            if names[-1] != "Prekeys":
                two._handle(body)
        self.assertLessEqual({"Delivery", "SealedKey", "SessionKey", "Roster"}, set(names))
        self.assertEqual([message[3:] for message in two.inbox], [(None, "not a member")])
        room, log = two.person.rooms["#den"], one.person.rooms["#den"]
        self.assertEqual(set(room.theirs), sessions)
        self.assertIn(log.epoch, room.keys)  # R it has by now; but no key of any session
        frame = msgspec.msgpack.decode(next(b for b in one.captured[start:] if b"Delivery" in b[:12]))[3][0][2]
        member = log.find("alice")
        assert member is not None
        for session in room.theirs.values():
            chain = session.chain
            for index in range(10):
                key = code.message_key(chain, room.keys[log.epoch], frame[36:52], index)
                tag = hmac.digest(key[:32], frame[:-96] + (8 * 88).to_bytes(8), "sha512")[:32]
                self.assertNotEqual(tag, frame[-96:-64])
                chain = hmac.digest(chain, b"\2", "sha256")
        self.assertNotIn((member.dk, frame[36:52]), room.theirs)

    def test_300_both_ways(self) -> None:
        """Three hundred messages arrive in order, either way."""
        alice, peer = self.chat("alice"), self.plain("peer")
        for k in range(300):
            peer.say("#lobby", f"peer {k}")
        for k in range(300):
            self.assertEqual(alice.wait("message", sender="peer")["text"], f"peer {k}")
        for k in range(300):
            alice.say(f"alice {k}")
        for k in range(300):
            self.hears(peer, f"alice {k}", "alice")
        self.assertFalse([item for item in alice.seen if item["type"] not in ("message", "sent") and "gap" in item])

    def test_stale_epoch_join(self) -> None:
        """What is sealed while somebody joins is sealed again, and heard once."""
        self._stale(lambda peer, alice: self.chat("bob"), ["alice", "bob"])

    def test_stale_epoch_leave(self) -> None:
        """What is sealed while somebody leaves is sealed again, and heard once."""
        bob = self.plain("bob")
        self._stale(lambda peer, alice: bob.leave("#lobby"), ["alice"])

    def _stale(self, change: Any, names: list[str]) -> None:
        """The members change while it speaks."""
        alice, peer = self.chat("alice"), self.plain("peer")
        peer.say("#lobby", "first")
        alice.wait("message", text="first")
        change(peer, alice)
        for k in range(5):
            peer.say("#lobby", f"late {k}")
        peer.say("#lobby", "last")
        self.assertLessEqual(set(names), peer.members("#lobby"))
        self.assertTrue([b for b in peer.captured if b"stale-epoch" in b])
        texts = [alice.wait("message")["text"] for _ in range(6)]
        self.assertEqual(texts, [*(f"late {k}" for k in range(5)), "last"])
        self.assertFalse([item for item in alice.seen if item["type"] in ("missing", "gap", "problem")])
        alice.say("heard")
        self.hears(peer, "heard", "alice")

    def test_again(self) -> None:
        """It goes away and comes back under the same keys, and is told what it missed."""
        alice, peer = self.chat("alice"), self.plain("peer")
        peer.say("#lobby", "one")
        alice.wait("message", text="one")
        peer.quit()
        alice.wait("gone", name="peer")
        alice.say("missed")
        alice.wait("sent")
        again = self.plain(peer.person, "")
        again.say("#lobby", "two")
        alice.wait("message", text="two")
        alice.say("three")
        self.hears(again, "missed", "alice")
        self.hears(again, "three", "alice")

    def test_rekey(self) -> None:
        """Our client follows it into a new session."""
        alice, peer = self.chat("alice"), self.plain("peer")
        peer.say("#lobby", "one")
        peer.rekey("#lobby")
        peer.say("#lobby", "two")
        for text in ("one", "two"):
            alice.wait("message", text=text)
        sids = [own.sid for own in peer.person.rooms["#lobby"].own]
        self.assertEqual(len(set(sids)), 2)

    def test_asking_a_plain_client(self) -> None:
        """It asks another of it for a lost key, and reads on."""
        peer, other = self.plain("peer"), self.plain("other")
        for text in ("one", "two"):
            other.say("#lobby", text)
            self.hears(peer, text, "other")
        peer.person.rooms["#lobby"].theirs.clear()
        other.say("#lobby", "three")
        while not peer.person.rooms["#lobby"].held:
            self.assertTrue(peer.receive(5))
        while other.receive(0.5):
            pass
        self.hears(peer, "three", "other")

    def test_asking_their_client(self) -> None:
        """It asks our client for a lost key, and the message that waited is opened."""
        alice, peer = self.chat("alice"), self.plain("peer")
        alice.say("one")
        self.hears(peer, "one", "alice")
        peer.person.rooms["#lobby"].theirs.clear()
        alice.say("two")
        self.hears(peer, "two", "alice")

    def test_asked_by_their_client(self) -> None:
        """Our client, passed over at first, asks it for its key, and the message that waited is opened."""
        alice = self.chat("alice")
        person = Person("peer")
        peer = self.plain(person)
        with mock.patch.object(code, "signer", side_effect=ValueError("passed over")):
            peer.say("#lobby", "one")
        self.assertIsNone(peer.next_message(2))
        self.assertEqual(alice.wait("message")["text"], "one")

    def test_order_of_frames(self) -> None:
        """Frames out of order open; what came before, was changed, or is a second one under its index does not."""
        one, two = self.plain("one"), self.plain("two")
        while one.receive(0.5) or two.receive(0.5):
            pass
        right = two._open
        frames: list[bytes] = []

        def keep(_room: Room, _sender: str, frame: bytes) -> str:
            frames.append(frame)
            return ""

        with mock.patch.object(two, "_open", keep):
            for k in range(5):
                one.say("#lobby", f"text {k}")
            own = one.person.rooms["#lobby"].own[-1]
            own.index -= 1  # a fork: another frame under index 4
            one.say("#lobby", "text 4 again")
            while len(frames) < 6:
                self.assertTrue(two.receive(5))
        room = two.person.rooms["#lobby"]
        shown = []
        for index, change in ((0, 0), (2, 0), (2, 0), (3, 1), (3, 0), (1, 0), (1, 0), (4, 0), (5, 0), (4, 300)):
            frame = bytearray(frames[index])
            if change:
                frame[change] ^= 1
            try:
                shown.append(right(room, "one", bytes(frame)))
            except code.BAD as error:
                shown.append(str(error) or "not authentic")
        self.assertEqual(
            shown,
            [
                "text 0",
                "text 2",
                "replayed",
                "not authentic",
                "text 3",
                "text 1",
                "replayed",
                "text 4",
                "replayed",
                "replayed",
            ],
        )
        one.say("#lobby", "text 5")
        held = []

        def spoil(room: Room, sender: str, frame: bytes) -> str:
            held.append(right(room, sender, frame[:-1] + bytes([frame[-1] ^ 1])))
            return ""

        with mock.patch.object(two, "_open", spoil):
            message = two.next_message(5)
        self.assertEqual((message and message[3:], held), ((None, "not authentic"), []))

    def test_wrong_r(self) -> None:
        """With a wrong R nothing opens, and when the right one comes what was held does."""
        one, two = self.plain("one"), self.plain("two")
        room = two.person.rooms["#lobby"]
        while room.epoch not in room.keys:
            two.receive(5)
        right = room.keys[room.epoch]
        room.keys[room.epoch] = bytes(32)
        one.say("#lobby", "opens later")
        self.assertIsNone(two.next_message(2))
        self.assertEqual(len(room.held), 1)
        two._handle(msgspec.msgpack.encode(["SessionKey", "#lobby", room.epoch, right]))
        self.hears(two, "opens later", "one")

    def test_changed_key(self) -> None:
        """It seals nothing to a name with another key than before."""
        one, two = self.plain("one"), self.plain("two")
        while one.receive(0.5):
            pass
        one.person.pins["two"].add(bytes(32))
        one.found("#den")
        for call in (lambda: one.say("#lobby", "not for two"), lambda: one.add("#den", "two")):
            with self.assertRaises(PeerError) as raised:
                call()
            self.assertEqual(raised.exception.args[0], "changed")
        while two.receive(0.5):
            pass
        self.assertFalse([b for b in two.captured if msgspec.msgpack.decode(b)[0] in ("Delivery", "SealedKey")])

    def test_asked_by_a_changed_key(self) -> None:
        """Nor does it when such a name asks."""
        one, two = self.plain("one"), self.plain("two")
        one.say("#lobby", "hello")
        self.hears(two, "hello", "one")
        one.person.pins["two"].add(bytes(32))
        sid = one.person.rooms["#lobby"].own[-1].sid
        sent = len([b for b in two.captured if b"SealedKey" in b[:12]])
        two._send("Ask", "#lobby", one.person.dk, sid)
        while one.receive(0.5):
            pass
        while two.receive(0.5):
            pass
        self.assertEqual(len([b for b in two.captured if b"SealedKey" in b[:12]]), sent)

    def test_faulty_room(self) -> None:
        """An entry that does not hold is told, and nothing is said there any more."""
        one, two = self.plain("one"), self.plain("two")
        roster = next(b for b in reversed(one.captured) if b"Roster" in b[:10])
        _, name, _, entries, total, last = msgspec.msgpack.decode(roster)
        bad = entries[-1][:-1] + bytes([entries[-1][-1] ^ 1])
        with self.assertRaisesRegex(PeerError, "faulty"):
            two._handle(msgspec.msgpack.encode(["Roster", name, total, [bad], total + 1, last]))
        with self.assertRaises(PeerError):
            two.say("#lobby", "no")
