"""What the documents say in so many bytes, and the vectors: read, and made, by the plain client alone."""

from __future__ import annotations

import ast
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.peer import sc1, sessions, wire
from tests.peer.log import Log, entry
from tests.peer.sc1 import Keys, lp
from tests.peer.sessions import Sending
from tests.peer.wire import frame

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
CLIENT: Final = [
    Path(__file__).with_name(f"{name}.py")
    for name in ("client", "numbers", "state", "wire", "link", "log", "sc1", "sessions")
]
CLIENT_LINES: Final = 500
"""The most that the plain client has in one file."""


class PlainTests(SynchronousTestCase):
    """That the plain client is what it says."""

    def test_imports(self) -> None:
        """It imports nothing of ours."""
        for path in CLIENT:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                self.assertFalse([name for name in names if name.partition(".")[0] == "securechat"], path.name)

    def test_size(self) -> None:
        """None of its files is longer than somebody reads at a sitting."""
        self.assertEqual([], [path.name for path in CLIENT if path.read_text().count("\n") > CLIENT_LINES])


class DocumentTests(SynchronousTestCase):
    """docs/PROTOCOL.md."""

    def setUp(self) -> None:
        """Read it."""
        self.text = (DOCS / "PROTOCOL.md").read_text(encoding="utf-8")
        examples = self.text.partition("## Worked examples")[2].partition("## Limits")[0]
        # A line that goes on has no label; lengths and spaces are for people.
        blocks = re.sub(r"\n {12,}(?=[0-9a-f])", " ", examples)
        rows = re.findall(r"^    +(\w[\w ]*?)  +([0-9a-f ]+)$", blocks, re.M)
        self.given: dict[str, bytes] = {}
        for label, digits in rows:
            self.given.setdefault(label, bytes.fromhex(digits))
        self.vectors = json.loads((DOCS / "vectors" / "sc1.json").read_text())

    def test_example(self) -> None:
        """The example of a frame is what the plain client sends."""
        found = re.search(r'`Append\("#a", 0x0102\)` is `([0-9a-f ]+)`', self.text)
        assert found
        self.assertEqual(bytes.fromhex(found[1]), frame(["Append", "#a", b"\1\2"]))

    def test_certificate(self) -> None:
        """The example of a certificate is what alice's identity key makes, item by item."""
        items = [self.given[label] for label in ("name", "IK", "DK", "created", "signature")]
        seeds = [bytes.fromhex(self.vectors["people"][0][f"{kind}_seed"]) for kind in ("identity", "device")]
        keys = Keys("alice", seeds[0], seeds[1], 1_800_000_000_000)
        self.assertEqual(keys.certificate, b"".join(items))
        sc1.check(keys.identity, "device", self.given["signed"][20:], items[-1][4:])
        self.assertEqual((keys.identity, keys.device), (self.given["IK of alice"], self.given["DK of alice"]))
        self.assertEqual(b"securechat/1 device\0", self.given["signed"][:20])

    def test_login(self) -> None:
        """The example of a proof is alice's device's."""
        parts = [self.given[label] for label in ("fingerprint", "nonce", "exporter", "proof")]
        bound = lp(parts[0], b"alice", self.given["DK of alice"], *parts[1:3])
        sc1.check(self.given["DK of alice"], "login", bound, parts[3])

    def test_entry(self) -> None:
        """The example of an entry is the third of the log among the vectors."""
        body = self.text.partition("**An entry**")[2].partition("**A session**")[0]
        digits = "".join(re.findall(r"(?<=  )[0-9a-f ]{8,}$", body, re.M)).replace(" ", "")
        self.assertEqual(self.vectors["room"]["entries"][2], "00000071" + digits)

    def test_message(self) -> None:
        """The example of a message is what the plain client makes of it, step by step."""
        given, first = self.given, self.vectors["session_of_alice"]["messages"][0]
        key, _ = sessions.chain(given["CK_0"])
        self.assertEqual(given["MK_0"], key)
        keys = sessions.message_keys(given["R"], key, given["sid"], 0)
        self.assertEqual((given["MAC key"], given["encryption key"]), keys)
        self.assertEqual(first["plaintext"], sessions.padded(given["body"]).hex())
        untagged = (
            given["header"] + given["iv"] + sessions.encrypt(keys[1], given["iv"], sessions.padded(given["body"]))
        )
        self.assertEqual(given["tag"], sessions.tag_of(keys[0], untagged))
        self.assertEqual(given["d_0"], sha256(untagged + given["tag"]).digest())
        self.assertTrue(bytes.fromhex(first["frame"]).startswith(untagged + given["tag"]))

    def test_safety_number(self) -> None:
        """The example of a safety number is that of the vectors."""
        found = re.search(r"\*\*A safety number\*\*, of alice and bob: ([0-9 ]+)\.", self.text)
        assert found
        self.assertEqual(self.vectors["safety_number_of_alice_and_bob"], found[1].replace(" ", ""))

    def test_codes(self) -> None:
        """The plain client knows the codes of the document's table, each for the message that it comes in."""
        for kind, known in (("Refused", wire.REFUSED), ("Declined", wire.DECLINED), ("Goodbye", wire.GOODBYE)):
            rows = re.findall(rf"^\| (`[^|]+) \| `{kind}` \|", self.text, re.M)
            codes = {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}
            self.assertEqual(set(known.pattern.split("|")), codes)

    def test_messages(self) -> None:
        """The plain client knows every message of the document's first table, with as many fields."""
        table = self.text.partition("### From the relay")[2].partition("### From the client")[0]
        rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.M)
        plain = {name: re.sub(r"\[.*\]|\(.*?\)", "", fields) for name, fields in rows}
        plain["Welcome"] = "name, rooms, limits"
        plain["Roster"] = "room, first, entries, total, last_seq"
        counts = {name: len(re.findall(r"\w[^,]*", fields)) for name, fields in plain.items()}
        self.assertEqual({str(name): len(shapes) for name, *shapes in wire.FROM_RELAY}, counts)

    def test_links(self) -> None:
        """Every link inside the documents leads to a heading, and every link to a file to one that is there."""
        pages = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
        for name in ("PROTOCOL.md", "SC1-notes.md", "SECURITY.md"):
            for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", pages[name]):
                self.assertTrue((DOCS / (target or name)).exists(), (name, target))
                if anchor:
                    headings = re.findall(r"^#+ (.+)$", pages[target.rpartition("/")[2] or name], re.M)
                    slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
                    self.assertIn(anchor, slugs, (name, target))


def decoded(value: Any, key: str = "") -> Any:
    """The vectors with bytes for hexadecimal digits."""
    if isinstance(value, dict):
        return {name: decoded(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [decoded(each, key) for each in value]
    is_text = key in ("name", "text", "operations", "safety_number_of_alice_and_bob")
    return bytes.fromhex(value) if isinstance(value, str) and not is_text else value


class VectorTests(SynchronousTestCase):
    """docs/vectors/sc1.json, every value of it: the plain client makes it or reads it."""

    def setUp(self) -> None:
        """Read the file; make the people in it."""
        self.file = decoded(json.loads((DOCS / "vectors" / "sc1.json").read_text()))
        people = self.file["people"]
        self.alice, self.bob, self.carol = (
            Keys(each["name"], each["identity_seed"], each["device_seed"], each["created"]) for each in people
        )
        for each in self.file["prekeys_of_bob"]:
            self.bob.prekeys[each["record"][4:12]] = each["suite"], each["private"]
        self.session = self.file["session_of_alice"]

    def log(self, count: int) -> Log:
        """The first entries of the room."""
        log = Log(self.file["room"]["name"])
        for packed in self.file["room"]["entries"][:count]:
            log.take(packed)
        return log

    def test_people(self) -> None:
        """Seeds give public keys and certificates."""
        for keys, given in zip((self.alice, self.bob, self.carol), self.file["people"], strict=True):
            made = keys.identity, keys.device, keys.certificate
            self.assertEqual((given["identity"], given["device"], given["certificate"]), made)
            self.assertEqual((keys.name, *made[:2]), sc1.read_certificate(given["certificate"]))

    def test_prekeys(self) -> None:
        """Private halves give public ones, and records hold while they are current."""
        for each in self.file["prekeys_of_bob"]:
            self.assertEqual(each["public"], sc1.public_of(each["suite"], each["private"]))
            read = sc1.read_prekey(each["record"], self.bob.device, 1_800_000_000_000)
            self.assertEqual((each["record"][4:12], each["suite"], each["public"]), read)
            for device, now in (
                (self.alice.device, 0),
                (self.bob.device, -3_600_001),
                (self.bob.device, 14 * sc1.DAY_MS),
            ):
                with self.assertRaises(sc1.RefusedError):
                    sc1.read_prekey(each["record"], device, 1_800_000_000_000 + now)

    def test_login(self) -> None:
        """The device's key gives the proof."""
        login = self.file["login_of_alice"]
        bound = login["fingerprint"], b"alice", self.alice.device, login["nonce"], login["exporter"]
        self.assertEqual(login["proof"], sc1.sign(self.alice.device_key, "login", lp(*bound)))

    def test_room(self) -> None:
        """Device keys give the entries, the log takes them, and they give room and epoch."""
        log, given = Log(self.file["room"]["name"]), self.file["room"]
        devices = {each.device: each.device_key for each in (self.alice, self.bob, self.carol)}
        for number, packed in enumerate(given["entries"]):
            body, actor, _ = sc1.split(packed, (107, 420), 32, 64)
            _, _, op, subject, role, time, detail = sc1.split(body, 4, 32, (3, 6), 32, (0, 6), 8, (0, 304))
            self.assertEqual(given["operations"][number], op.decode())
            ms = int.from_bytes(time, "big")
            again = entry(devices[actor], number, log.last, op.decode(), subject, role.decode(), ms, detail)
            self.assertEqual(packed, again)
            log.take(packed)
        self.assertEqual((given["room_id"], True), (log.room_id, log.is_open))
        self.assertEqual(["alice", "bob"], sorted(each.name for each in log.members.values()))
        self.assertEqual(["owner", "admin"], [each.role for each in log.members.values()])
        self.assertEqual(given["epoch_of_the_messages"], self.log(2).epoch)

    def test_sealed_keys(self) -> None:
        """Bob opens both blobs, by X25519 and by X-Wing, and nobody else does."""
        log, first = self.log(2), self.session["messages"][0]
        sealed = self.session["sealed_by_x25519"]
        for blob in (sealed["blob"], self.session["sealed_by_x_wing"]["blob"]):
            found = sessions.open_blob(blob, log, self.bob)
            assert found is not None
            self.assertEqual((0, first["chain_key"]), (found.index, found.chain_key))
            self.assertEqual((self.session["descriptor"], self.session["sid"]), (found.descriptor, found.sid))
            with self.assertRaises(sc1.RefusedError):
                sessions.open_blob(blob, log, self.carol)
            self.assertIsNone(sessions.open_blob(blob, self.log(1), self.bob))

    def sending(self) -> Sending:
        """Alice's session."""
        chain_key = self.session["messages"][0]["chain_key"]
        return Sending(self.alice, self.log(2), self.session["created"], self.session["sid"], chain_key)

    def test_inner(self) -> None:
        """Alice's session has this descriptor, and this inside the blob, signed like this."""
        sending, sealed = self.sending(), self.session["sealed_by_x25519"]
        self.assertEqual(self.session["descriptor"], sending.descriptor)
        prekey_id = self.file["prekeys_of_bob"][0]["record"][4:12]
        self.assertEqual(sealed["inner"], sending.inner(self.bob.device, prekey_id))
        self.assertEqual(sealed["signature"], sc1.sign(self.alice.device_key, "key", sealed["inner"]))
        info = lp(b"securechat/1 seal", sending.descriptor, self.bob.device, prekey_id)
        self.assertEqual(sealed["info"], info)
        ephemeral = sc1.public_of(sc1.X25519, sealed["ephemeral"])
        self.assertEqual(ephemeral, sc1.split(sealed["blob"], 164, 8, 372)[2][:32])

    def test_messages(self) -> None:
        """Alice's session gives each frame to the byte, and bob's opens it."""
        sending, log = self.sending(), self.log(2)
        receiving = sessions.open_blob(self.session["sealed_by_x_wing"]["blob"], log, self.bob)
        assert receiving is not None
        for index, given in enumerate(self.session["messages"]):
            self.assertEqual((index, given["chain_key"]), (sending.index, sending.chain_key))
            key, _ = sessions.chain(sending.chain_key)
            keys = sessions.message_keys(self.session["session_key"], key, self.session["sid"], index)
            self.assertEqual((given["seed"], given["key"]), (key, b"".join(keys)))
            plaintext = sessions.content(log.room_id, given["time"], given["message_id"], 0, given["text"])
            self.assertEqual(given["plaintext"], plaintext)
            made = sending.seal(log.epoch, self.session["session_key"], plaintext, given["iv"])
            self.assertEqual(given["frame"], made)
            self.assertEqual((given["header"], given["digest"]), (made[:88], sending.prev))
            opened = receiving.open(sessions.read_frame(made), self.session["session_key"], log, 0)
            self.assertEqual((given["message_id"], given["text"], None), opened)

    def test_safety_number(self) -> None:
        """Two names and identity keys, in either order, give the 60 digits."""
        people = [(each.name, each.identity) for each in (self.bob, self.alice)]
        self.assertEqual(self.file["safety_number_of_alice_and_bob"], sc1.safety_number(*people))
