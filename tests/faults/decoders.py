"""Everything in `wire`, `signed` and `e2e` that takes bytes of others, or of a disk, for the fuzzer.

`python -m tests.faults.decoders SECONDS [SEED]` fuzzes all of it in a process of its own, so that one that crashes
is noticed, and prints what came out as JSON. A finding has its input; the seed gives the same inputs but for what
sealing draws.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from securechat.e2e.chain import read_frame, read_header
from securechat.e2e.content import unpack
from securechat.e2e.errors import E2EError
from securechat.e2e.identity import read_person
from securechat.e2e.keystore import KeyStore, Place, Secrets, open_store, read_secrets
from securechat.e2e.outcomes import Arrived
from securechat.e2e.prekeys import read_ring
from securechat.e2e.receiver import read_session
from securechat.e2e.room import guarded_name, unguarded
from securechat.e2e.safety import read_pins
from securechat.e2e.sealing import open_key, read_blob, read_descriptor
from securechat.signed.certificates import name_in, read_certificate
from securechat.signed.encoding import lp, read_name, split_list
from securechat.signed.entries import Founding, Policy, read_entry, read_founding, read_policy
from securechat.signed.errors import SignedError
from securechat.signed.prekeys import read_prekey
from securechat.signed.roster import Roster
from securechat.signed.suites import Suite, read_suite
from securechat.wire.address import AddressError, parse
from securechat.wire.framing import decode_refusal, names_of
from securechat.wire.messages import FromClient, FromRelay
from tests.e2e.scene import NOW, Scene, finish
from tests.faults.fuzzer import Decoder, fuzz
from tests.faults.mutators import GOOD
from tests.wire.harness import connected, framed, from_client, from_relay

FROM_RELAY: Final[tuple[list[Any], ...]] = (
    ["Greeting", 3, b"n" * 32, "welcome"],
    ["Welcome", "alice", ["#tea", "@alice+bob"], [256, 200, 15]],
    ["Refused", "flood", "too much"],
    ["Roster", "#tea", 0, [b"e" * 200, b"f" * 200], 2, 17],
    ["Present", "#tea", ["alice", "bob"]],
    ["SessionKey", "#tea", b"e" * 32, b"k" * 32],
    ["Presence", "#tea", "bob", True],
    ["Prekeys", [[b"d" * 32, b"p" * 100], [b"e" * 32, b""]]],
    ["Found", "bob", b"c" * 100, False],
    ["SealedKey", "#tea", 3, [["bob", b"b" * 300]]],
    ["Asked", "#tea", b"d" * 32, b"s" * 16],
    ["Ack", "#tea", [[b"i" * 16, 1], [b"j" * 16, 2]]],
    ["Delivery", "#tea", 1, [["bob", 1_700_000_000_000, b"x" * 344]]],
    ["Gap", "#tea", 1, 5, "expired"],
    ["Declined", "#tea", [b"i" * 16], "stale-epoch"],
    ["Ping"],
    ["Pong"],
    ["Goodbye", "shutdown", ""],
)
"""What every message of a relay looks like."""
ADDRESSES: Final = (
    b"securechat://chat.example.org:7300/#" + b"0a" * 32,
    b"securechat+tcp://[::1]:7300",
    b"securechat+unix:///run/chat.sock",
)
UNDECODED: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What `framing` takes for a refusal."""
NOT_TAKEN: Final = (SignedError, E2EError)
ROOM_ID: Final = bytes(32)


def wire() -> list[Decoder]:
    """Messages, the streams that they come in, and addresses."""
    of_client = [msgspec.msgpack.encode(each) for each in GOOD]
    of_relay = [msgspec.msgpack.encode(each) for each in FROM_RELAY]

    def stream(data: bytes) -> None:
        """A link is given some pieces of a stream; whatever they are it raises nothing."""
        clock, link, transport = connected()
        random = Random(len(data))
        at = 0
        while at < len(data):
            size = random.choice((1, 3, 100, 70_000))
            link.dataReceived(data[at : at + size])
            at += size
        transport.lose()
        clock.advance(0)

    return [
        Decoder("from_client", from_client.decode, [*of_client], UNDECODED),
        Decoder("from_relay", from_relay.decode, [*of_relay], UNDECODED),
        Decoder(
            "decode_refusal", lambda data: decode_refusal(data, names_of(FromClient | FromRelay)), [*of_client]
        ),
        Decoder(
            "stream", stream, [framed(one) + framed(two) for one, two in zip(of_client, of_relay, strict=False)]
        ),
        Decoder("address", lambda data: parse(data.decode("latin-1")), [*ADDRESSES], (AddressError,)),
    ]


def e2e() -> list[Decoder]:
    """What members sign, seal and store."""
    scene = Scene("alice", "bob")
    frame = scene.say("alice")
    alice, bob = scene.people["alice"], scene.people["bob"]
    blob = scene.hands[0][2]
    scene.hear("bob", "alice", frame)
    session = next(iter(scene.rooms["bob"]._inbox._sessions[alice.device].values()))
    founding = Founding(alice.person.certificate, "#den", bytes(16), Policy(history_days=7))
    roster = scene.rooms["bob"].roster
    packed = scene.rooms["bob"].packed
    secrets = Secrets(
        bob.person, bob.ring, bob.pins, {roster.room_id: packed}, {"#den": Place(roster.room_id, 5, 7)}
    )
    store = KeyStore(secrets, b"place").write()
    body = scene.body("hello", room_id=ROOM_ID)
    prekey = bob.prekey()

    def opens(data: bytes) -> object:
        return open_key(read_blob(data), roster.room_id, bob.device, bob.ring.private)

    def follows(data: bytes) -> object:
        log = Roster(scene.log[0])
        return log.follow([data])

    def receives(data: bytes) -> object:
        return finish(scene.rooms["bob"].receive([Arrived(1, "alice", data)], scene.now))

    plain: list[tuple[Callable[[bytes], object], bytes]] = [
        (name_in, alice.person.certificate.packed),
        (read_certificate, alice.person.certificate.packed),
        (read_person, alice.person.packed),
        (read_entry, scene.log[1]),
        (read_founding, founding.packed),
        (read_policy, Policy().packed),
        (read_suite, Suite.X25519.value),
        (read_name, b"alice"),
        (read_descriptor, read_blob(blob).descriptor.packed),
        (read_blob, blob),
        (read_header, frame[:88]),
        (read_frame, frame),
        (read_session, session.packed),
        (read_pins, alice.pins.packed),
        (read_secrets, secrets.packed),
        (guarded_name, packed),
        (unguarded, packed),
    ]
    return [
        *(Decoder(take.__name__, take, [sample], NOT_TAKEN) for take, sample in plain),
        Decoder("split_list", lambda data: split_list(data, (0, 40), 20), [lp(b"ab", b"", b"c")], NOT_TAKEN),
        Decoder("read_prekey", lambda data: read_prekey(data, bob.device, NOW), [prekey.packed], NOT_TAKEN),
        Decoder("read_ring", lambda data: read_ring(data, bob.person.device), [bob.ring.packed], NOT_TAKEN),
        Decoder("unpack", lambda data: unpack(data, ROOM_ID), [body], NOT_TAKEN),
        Decoder("open_store", lambda data: open_store(data, b"place"), [store], NOT_TAKEN),
        Decoder("open_key", opens, [blob], NOT_TAKEN),
        Decoder("Roster", Roster, [scene.log[0]], NOT_TAKEN),
        Decoder("follow", follows, [scene.log[1]], NOT_TAKEN),
        Decoder("receive", receives, [frame]),
        Decoder("restore", scene.rooms["bob"].restore, [packed], NOT_TAKEN),
        Decoder("sealed_key", lambda data: scene.rooms["bob"].sealed_key(1, "alice", data), [blob]),
    ]


def main(seconds: str, seed: str = "0") -> None:
    """Fuzz everything."""
    findings = fuzz([*wire(), *e2e()], float(seconds), int(seed))
    print(json.dumps({**vars(findings), "memory": peak_bytes()}))


def peak_bytes() -> int:
    """The most memory that this process has had; what `getrusage` says counts that of its parent as well."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
