"""A first look: a relay and two clients in one process, over real sockets, told step by step.

Every sentence that is printed was checked; the first one that is not true ends the demo with exit status 1. What
the relay saw is taken from the relay's own log of messages, through the seam that keeps it.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import urandom
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.python.failure import Failure

from securechat.client.conversation import Conversation
from securechat.client.errors import ClientError
from securechat.client.events import Entered, Event, Joined, Keyed, Left, Link, Message, Sent
from securechat.client.home import Pins
from securechat.client.link import Link as ClientLink
from securechat.client.login import Login
from securechat.client.people import key_id
from securechat.crypto import aead
from securechat.crypto.engine import Engine
from securechat.crypto.engines import EngineUnavailable, choose
from securechat.crypto.worker import CryptoWorker
from securechat.e2e.chain import message_key, read_frame
from securechat.e2e.identity import Person as Keys
from securechat.e2e.identity import new_person
from securechat.e2e.keystore import Secrets
from securechat.e2e.prekeys import PrekeyRing
from securechat.relay.building import build_relay
from securechat.relay.log import MemoryLog, Outcome, Run
from securechat.relay.options import Options
from securechat.signed.entries import Op, Role, entry_is_signed, read_entry, sign_entry
from securechat.signed.rights import RosterError
from securechat.signed.roster import Roster as SignedLog
from securechat.wire.address import Address
from securechat.wire.messages import FromClient, FromRelay, Hand, Post, Roster, SessionKey
from securechat.wire.names import LOBBY

ROOM = LOBBY
STEP_S = 10.0
MEASURE_S = 1.0
ITEM_BYTES = 200
BATCH = 256

E = TypeVar("E", bound=Event)


class DemoError(Exception):
    """Something that the demo says would not have been true."""


class WatchedLog(MemoryLog):
    """The relay's log, which remembers what the relay saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def append(self, runs: Sequence[Run], kept: Callable[[Sequence[list[Outcome]]], None]) -> None:
        """Keep a batch, and remember its sealed bytes."""
        self.seen.extend(sealed for run in runs for _, sealed in run.items)
        super().append(runs, kept)


class Person:
    """A client without a screen: its events are waited for one by one."""

    def __init__(self, name: str, reactor: Any, worker: CryptoWorker, address: Address, home: Path) -> None:
        self.name = name
        self.error: ClientError | None = None
        self._reactor = reactor
        self._events: list[Event] = []
        self._woken: Deferred[None] | None = None
        endpoint = HostnameEndpoint(reactor, address.host, address.port)
        person = new_person(name, _now_ms())
        self.key = key_id(person.identity.public)
        secrets = Secrets(person, PrekeyRing(person.device))
        login = Login(secrets, _now_ms, lambda: None)
        self.said: list[FromClient] = []
        """What went to the relay."""
        self.heard: list[FromRelay] = []
        """What came from it."""
        self.link = ClientLink(endpoint, address, login, reactor, Pins(home / name), self._gave_up)
        self.conversation = Conversation(secrets, worker, self._send, self._tell, _now_ms, later=reactor.callLater)
        self.link_up, self.link_down = self.conversation.link_up, self.conversation.link_down
        self.link.start(self)

    def received(self, message: FromRelay) -> None:
        """A message of the relay passes."""
        self.heard.append(message)
        self.conversation.received(message)

    def _send(self, message: FromClient) -> None:
        self.said.append(message)
        self.link.send(message)

    async def next(self, kind: type[E]) -> E:
        """The next event of a kind; others before it are passed over."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, kind):
                    return event
            if self.error is not None:
                raise DemoError(str(self.error))
            await self._wake()

    async def refusal(self) -> ClientError:
        """Why the relay did not take us."""
        while self.error is None:
            if self._events:
                raise DemoError(f"the relay took {self.name}")
            await self._wake()
        return self.error

    async def _wake(self) -> None:
        self._woken = Deferred()
        await self._woken.addTimeout(STEP_S, self._reactor)

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._wake_up()

    def _gave_up(self, error: ClientError) -> None:
        self.error = error
        self._wake_up()

    def _wake_up(self) -> None:
        woken, self._woken = self._woken, None
        if woken is not None:
            woken.callback(None)


def run_demo(engine_name: str = "auto") -> int:
    """Show everything, the clients on the engine of that name; the exit status."""
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    status = 1
    try:
        engine = choose(engine_name)
    except EngineUnavailable as wrong:
        print(f"securechat: {wrong}", file=sys.stderr)
        return status

    def done(result: object) -> None:
        nonlocal status
        if isinstance(result, Failure):
            wrong = str(result.value) or type(result.value).__name__
            print(f"\nsecurechat: the demo failed: {wrong}", file=sys.stderr)
        else:
            status = 0
        reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(_demo(reactor, engine)).addBoth(done)

    reactor.callWhenRunning(begin)
    reactor.run()
    return status


async def _demo(reactor: Any, engine: Engine) -> None:
    directory = Path(tempfile.mkdtemp(prefix="securechat-demo-"))
    worker = CryptoWorker(engine, reactor)
    worker.startService()
    try:
        await _with_relay(reactor, worker, directory)
        await _measure(worker)
    finally:
        await worker.stopService()
        shutil.rmtree(directory)


async def _with_relay(reactor: Any, worker: CryptoWorker, directory: Path) -> None:
    options = Options()
    options.parseOptions(
        ["--listen", "tcp:0:interface=127.0.0.1", "--data", str(directory / "relay"), "--max-clients", "2"]
    )
    log = WatchedLog()
    service, relay = build_relay(reactor, options, log)
    service.privilegedStartService()
    service.startService()
    try:
        address = relay.addresses[0]
        _say("1. A relay starts, as `twistd -n securechat --max-clients 2` would start it.")
        _tell("address", str(address))
        _tell("", "the part behind # is the fingerprint of its key; clients expect that key and no other")
        await _talk(reactor, worker, directory, address, log)
    finally:
        await _as_deferred(service.stopService())


async def _talk(reactor: Any, worker: CryptoWorker, directory: Path, address: Address, log: WatchedLog) -> None:
    alice = Person("alice", reactor, worker, address, directory)
    people = [alice]
    try:
        _check((await alice.next(Link)).up, "alice is connected")
        other = Person("alice", reactor, worker, address, directory / "elsewhere")
        people.append(other)
        _check("belongs to somebody else" in str(await other.refusal()), "the name is alice's for good")
        bob = Person("bob", reactor, worker, address, directory)
        people.append(bob)
        _check((await bob.next(Link)).up, "bob is connected")
        _say("2. Two clients make keys, connect over TLS 1.3, and log in by a signature for this link only.")
        _tell("alice's key", alice.key)
        _tell("bob's key", bob.key)
        _tell("", "these names belong to these keys now: a second alice, with other keys, was refused")

        alice.conversation.enter(ROOM)
        first = await alice.next(Keyed)
        bob.conversation.enter(ROOM)
        members = (await bob.next(Entered)).members
        _check(members == ["alice", "bob"], "both are in the room")
        _check((await alice.next(Joined)).name == "bob", "alice hears of bob")
        keys = await alice.next(Keyed), await bob.next(Keyed)
        _check(keys[0].bytes == keys[1].bytes == 32, "the session key has 32 bytes")
        _check(keys[0].fingerprint == keys[1].fingerprint, "both have the same session key")
        _check(first.fingerprint != keys[0].fingerprint, "the key is new since bob came")
        _say(f"3. Alice founds {ROOM} and bob joins it: entries of a log that they sign, and the relay only keeps.")
        _show_log([entry for each in alice.heard if isinstance(each, Roster) for entry in each.entries])
        _tell("first lock", f"alice alone: session key of {first.bytes} bytes, fingerprint {first.fingerprint}")
        _tell("", f"both: session key of {keys[0].bytes} bytes, fingerprint {keys[0].fingerprint}")
        _tell("", "the relay draws it anew whenever the members change, so it knows this one lock of two")

        _say("4. They talk. Each hands out a key of their own before, sealed past the relay: the second lock.")
        await _exchange(alice, bob, "Hello Bob, this is for the two of us.", log)
        await _exchange(bob, alice, "Hello Alice. Every message has an IV of its own.", log)

        carol = Person("carol", reactor, worker, address, directory)
        people.append(carol)
        refused = await carol.refusal()
        _say("5. A third client knocks; this relay was told to take two.")
        _tell("carol", str(refused))
        _check("as many clients" in str(refused), "carol was refused because the relay is full")

        alice.conversation.leave(ROOM)
        _check((await bob.next(Left)).name == "alice", "bob hears that alice left")
        changed = await bob.next(Keyed)
        _check(changed.fingerprint != keys[0].fingerprint, "the key is new since alice left")
        _say("6. Alice leaves the room by an entry that she signs, and at once there is a key that she has not.")
        _tell("bob alone", f"key of {changed.bytes} bytes, fingerprint {changed.fingerprint}")
    finally:
        for person in people:
            await person.link.stop()


async def _exchange(sender: Person, reader: Person, text: str, log: WatchedLog) -> None:
    sender.conversation.say(ROOM, text)
    seq = (await sender.next(Sent)).seq
    message = await reader.next(Message)
    sealed = log.seen[-1]
    _check(message.text == text and message.sender == sender.name, f"{reader.name} reads what {sender.name} said")
    _check(message.seq == seq, "both know the message by the same number")
    _check(text.encode() not in sealed, "the relay saw no text")
    kinds = [type(each) for each in sender.said]
    _check(kinds.index(Hand) < kinds.index(Post), "the sender's key was handed before the message")
    (blob,) = [blob for each in sender.said if isinstance(each, Hand) for _, blob in each.items]
    _check(opens_nothing(sealed, sender.heard), "with all that it has the relay cannot open the message")
    _tell("relay passed", f"a sealed key, {blob[-12:].hex()} at its end ({len(blob)} bytes)")
    _tell(f"{sender.name} says", text)
    _tell("relay saw", f"{sealed[:20].hex()}…{sealed[-12:].hex()} ({len(sealed)} bytes)")
    _tell("relay tries", "every session key that it drew for the room, and nothing opens")
    _tell(f"{reader.name} reads", message.text)


def _show_log(entries: Sequence[bytes]) -> None:
    """Show the entries of a room's log, and that the relay cannot change or add one."""
    log = SignedLog(entries[0], ROOM)
    log.follow(entries[1:])
    for packed in entries:
        entry = read_entry(packed)
        who = next(each.name for each in log.members.values() if each.device == entry.actor)
        _check(entry_is_signed(entry), "each entry is signed by its author's device")
        _tell(f"entry {entry.number}", f"{entry.op} by {who}, {len(packed)} bytes, {entry.digest.hex()[:16]}…")
    relay = new_person("relay", _now_ms())
    for what, forged in (
        ("alters", entries[-1][:-1] + bytes([entries[-1][-1] ^ 1])),
        ("adds", forged_entry(log, relay)),
    ):
        try:
            SignedLog(entries[0], ROOM).follow([*entries[1 : None if what == "adds" else -1], forged])
        except RosterError as refused:
            _tell(f"relay {what}", f"an entry, and everybody refuses it: {refused.fault}")
        else:
            raise DemoError(f"the relay {what} an entry, and it was taken")


def forged_entry(log: SignedLog, relay: Keys) -> bytes:
    """An entry by which a relay would bring itself in, in the owner's name."""
    owner = next(iter(log.members.values()))
    unsigned = sign_entry(
        relay.device,
        len(log),
        log.last,
        Op.ADD,
        relay.identity.public,
        Role.MEMBER,
        _now_ms(),
        relay.certificate.packed,
    )
    return replace(unsigned, actor=owner.device).packed


def opens_nothing(sealed: bytes, heard: Sequence[FromRelay]) -> bool:
    """Whether no key that a relay can make of its session keys, as told to a member, opens a message."""
    frame = read_frame(sealed)
    for told in heard:
        if isinstance(told, SessionKey):
            for seed in (told.key, bytes(32)):
                key = message_key(told.key, seed, frame.header.sid, frame.header.index)
                for each in (key, told.key * 2):
                    try:
                        aead.open(each, frame.associated, frame.sealed)
                    except aead.OpenError:
                        continue
                    return False
    return True


async def _measure(worker: CryptoWorker) -> None:
    """Seal for two seconds: one call a message, then in batches through the worker."""
    key = urandom(64)
    texts = [urandom(ITEM_BYTES) for _ in range(BATCH)]

    singly = 0
    began = time.perf_counter()
    while time.perf_counter() - began < MEASURE_S:
        for text in texts:
            aead.seal(key, b"", text)
        singly += BATCH
    single_rate = singly / (time.perf_counter() - began)

    batched = 0
    began = time.perf_counter()
    while time.perf_counter() - began < MEASURE_S:
        # Two requests in flight: one is sealed while the next one is made.
        results = [worker.seal_many([(key, b"", text) for text in texts]) for _ in range(2)]
        for result in results:
            batched += len(await result)
    batch_rate = batched / (time.perf_counter() - began)

    _say(f"7. The engine in use is {worker.engine}. Two seconds of sealing messages of {ITEM_BYTES} bytes:")
    _tell("one by one", f"{single_rate:>10,.0f} messages/s")
    _tell("in batches", f"{batch_rate:>10,.0f} messages/s, {batch_rate / single_rate:.1f} times as many")
    _check(batched > 0 and worker.stats.failed_batches == 0, "every batch was sealed")
    _say("All of this was checked as it was told. Now try it yourself: README.md has the commands.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _check(true: bool, claim: str) -> None:
    if not true:
        raise DemoError(f"this is not so: {claim}")


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _tell(what: str, text: str) -> None:
    print(f"   {what:>14}  {text}", flush=True)


async def _as_deferred(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
