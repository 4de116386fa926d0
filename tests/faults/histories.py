"""A relay with a week of history, and members who come back to much of it."""

from __future__ import annotations

import time
from os import urandom
from pathlib import Path
from signal import SIGTERM
from typing import Final

from securechat.relay.directory import Owner
from securechat.relay.place import STORE_FILE
from securechat.relay.records import EntryTaken, KeyDrawn, MessageTaken, OwnerChanged, Record
from securechat.relay.storage_key import load_or_make
from securechat.relay.tags import post_tag
from securechat.wire.messages import Delivery, Enter, Roster
from tests.faults.ends import FAST, EndCase
from tests.faults.programs import LOBBY, MIB, Relay
from tests.relay.keeping import open_store
from tests.relay.people import Chain, person, prekey
from tests.relay.process import Talker, fresh_directory

ROOMS: Final = 50
MEMBERS: Final = 20
DAYS: Final = 7
BATCH: Final = 1_000
SEALED: Final = 424
"""Bytes of a short message: header, the smallest bucket, tag, signature."""


def fill(directory: Path, messages: int) -> None:
    """Make the store of a relay in whose rooms so many messages were said in a week."""
    path = directory / STORE_FILE
    key = load_or_make(directory, None, path)
    store = open_store(path, key)
    now_ms = time.time_ns() // 1_000_000
    people = [person(f"member{number}") for number in range(MEMBERS)]
    records: list[Record] = [
        OwnerChanged(
            Owner(
                each.name,
                each.identity.public,
                each.device.public,
                each.certificate.packed,
                prekey(each, now_ms),
                now_ms + 3_600_000,
            )
        )
        for each in people
    ]
    each_room = messages // ROOMS
    for number in range(ROOMS):
        room = f"#room{number}"
        chain = Chain(room)
        entries = [chain.found(people[0]).entry, *(chain.add(people[0], each).entry for each in people[1:])]
        records += [EntryTaken(room, place, entry) for place, entry in enumerate(entries)]
        epoch = chain.known.epoch
        records.append(KeyDrawn(room, epoch, urandom(32), 1))
        for seq in range(1, each_room + 1):
            post_id = urandom(16)
            said_ms = now_ms - (each_room - seq) * DAYS * 86_400_000 // each_room
            tag = post_tag(key, room, people[seq % MEMBERS].name, post_id)
            sender = people[seq % MEMBERS].name
            records.append(MessageTaken(room, seq, tag, sender, post_id, epoch, said_ms, bytes(SEALED)))
            if len(records) >= BATCH:
                store.commit(records)
                records = []
    store.commit(records)
    store.close()


class HistoryCase(EndCase):
    """Much that was said."""

    def week(self, messages: int) -> None:
        """A relay with a week of messages serves soon, and gives all of a room to who comes back, in order."""
        directory = fresh_directory(self) / "data"
        directory.mkdir(mode=0o700)
        fill(directory, messages)
        size = (directory / "relay.db").stat().st_size
        self.data = directory
        took = []
        for _ in range(3):
            began = time.monotonic()
            relay = Relay(self, "--data", str(directory), *FAST, listen=f"tcp:{self.port}:interface=127.0.0.1")
            talker = Talker(self, relay.address)
            talker.login("member1")
            took.append(time.monotonic() - began)
            talker.socket.close()
            relay.terminate()
            relay.wait()
        relay = Relay(self, "--data", str(directory), *FAST, listen=f"tcp:{self.port}:interface=127.0.0.1")
        talker = Talker(self, relay.address)
        talker.login("member1")
        began = time.monotonic()
        talker.send(Enter("#room0", 0, 0))
        last = talker.until(Roster).last_seq
        self.assertEqual(messages // ROOMS, last)
        known = 0
        for message in talker.messages():
            if isinstance(message, Delivery):
                self.assertEqual(known + 1, message.first_seq)
                known += len(message.items)
            if known == last:
                break
        read_s = time.monotonic() - began
        relay.ends()
        served = f"first login {sorted(took)[1]:.2f} s after the start of the program, {max(took):.2f} s at most"
        self.measured(
            f"{messages} messages in {ROOMS} rooms, {size / MIB:.0f} MiB: {served} (median of 3); "
            f"{last} of one room read again in {read_s:.2f} s"
        )
        self.assertLess(min(took), 10)

    def returns(self, count: int) -> None:
        """A client that comes back gets everything that it missed, in order, once, and nothing odd is told."""
        relay = self.relay(*FAST)
        alice, bob = self.clients(relay.address, "alice", "bob")
        self.all_hear("before", alice, bob)
        bob.signals(SIGTERM)
        bob.ends()
        began = time.monotonic()
        for number in range(count):
            alice.says(f"missed {number}")
        alice.gets("sent", 600.0, id=f"missed {count - 1}")
        said_s = time.monotonic() - began
        began = time.monotonic()
        bob = self.starting("bob", relay.address)
        bob.gets("entered", room=LOBBY)
        entered = time.monotonic()
        bob.gets("message", 600.0, text=f"missed {count - 1}")
        opened_s = time.monotonic() - entered
        texts = [event["text"] for event in bob.events() if event["type"] == "message"]
        self.assertEqual([f"missed {number}" for number in range(count)], texts)
        odd = [event for event in bob.events() if event["type"] in ("missed", "gap", "held", "unreadable", "error")]
        self.assertEqual([], odd)
        self.measured(
            f"{count} messages said one by one in {said_s:.1f} s; who comes back has them all "
            f"{time.monotonic() - began:.2f} s after the start of the program, the last one {opened_s:.2f} s after "
            "it was heard to have entered"
        )
        relay.ends()
