"""What sealing and opening cost: one message alone, and many at once (SC1 §6 to §8)."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Final

from _rooms import (
    NOW_MS,
    Burst,
    Speaker,
    WrongResultError,
    burst,
    opened,
    people,
    plaintext_of,
    room_of,
    text_of,
)
from _table import Way, Work
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from securechat.bench.loop import loop_open, loop_seal
from securechat.bench.measure import Timer, timer
from securechat.bench.units import size_name
from securechat.crypto.aead import KEY_BYTES
from securechat.crypto.engine import Engine
from securechat.e2e.chain import frame_is_signed, message_key, message_seed, next_chain_key, read_frame
from securechat.e2e.outcomes import Outcome
from securechat.e2e.sender import SESSION_MESSAGES

PLAIN: Final = "cryptography"
OURS: Final = "securechat"
"""By what something was done, where no engine takes part."""
DELIVERY_ITEMS: Final = 125
"""So many short messages of short names fit one frame of the wire, which is what a client gets at once."""
SHORT: Final = 100
"""Characters of what people mostly write."""
_ASSOCIATED: Final = bytes(32)


class Plain:
    """The same text with one key for ever: AES-CBC and HMAC, one Ed25519 signature where one is wanted."""

    def __init__(self, size: int) -> None:
        """Make a key pair, a key, and one message."""
        self._text = text_of(size).encode()
        self._keys = [os.urandom(KEY_BYTES)]
        self.private = Ed25519PrivateKey.generate()
        self._public = self.private.public_key().public_bytes_raw()
        self._sealed = self.seal()
        self._signature = self.private.sign(self._sealed)

    def seal(self) -> bytes:
        """Seal it."""
        return loop_seal(self._keys, [_ASSOCIATED], [self._text])[0]

    def verify(self) -> None:
        """Check the signature; raises where it is bad."""
        Ed25519PublicKey.from_public_bytes(self._public).verify(self._signature, self._sealed)

    def open(self) -> None:
        """Check the signature and open it; both raise where it is not authentic."""
        self.verify()
        loop_open(self._keys, [_ASSOCIATED], [self._sealed])


def chain_step() -> None:
    """What the key of one message takes: two HMACs and an HKDF."""
    chain_key = bytes(32)
    message_key(chain_key, message_seed(chain_key), chain_key[:16], 1)
    next_chain_key(chain_key)


def seal_timer(speaker: Speaker, engine: Engine, text: str, first: int = 0, end: int = 4) -> Timer:
    """Time messages being sealed, one after another; of the four steps those from `first` up to `end`."""

    def timed(times: int) -> float:
        seconds, frame = 0.0, b""
        for _ in range(times):
            speaker.make_ready()
            room = speaker.room
            at = [perf_counter()]
            plaintext = plaintext_of(room, text)
            at.append(perf_counter())
            job = room.begin(plaintext, NOW_MS)
            at.append(perf_counter())
            [sealed] = engine.seal_list([job.key], [job.header], [job.plaintext])
            at.append(perf_counter())
            frame = room.finish(job, sealed)
            at.append(perf_counter())
            seconds += at[end] - at[first]
        speaker.check(frame, text, engine)
        return seconds / times

    return timed


def open_timer(found: Burst, engine: Engine, first: int = 0, end: int = 3) -> Timer:
    """Time messages being received alone, one after another; of the three steps those from `first` up to `end`."""

    def timed(times: int) -> float:
        seconds = 0.0
        for number in range(times):
            place = number % len(found.arrived)
            if not place:
                found.rewind()
            at = [perf_counter()]
            batch = found.listener.receive([found.arrived[place]], NOW_MS)
            at.append(perf_counter())
            [(key, header, sealed)] = batch.jobs
            texts = engine.open_list([key], [header], [sealed])
            at.append(perf_counter())
            outcomes = batch.finish(texts)
            at.append(perf_counter())
            seconds += at[end] - at[first]
            found.check(outcomes, place)
        return seconds / times

    return timed


def one_message(engines: dict[str, Engine], sizes: Sequence[int]) -> Iterator[Work]:
    """Seal one, and open one."""
    best, engine = next(iter(engines.items()))
    for size in sizes:
        text, plain = text_of(size), Plain(size)
        listener, someone = people(2)
        log = room_of([listener, someone]).packed
        speaker = Speaker(someone, listener, listener.enter(log), log)
        heard = burst(1, SESSION_MESSAGES, text, engine)
        shown = f"{size} characters" if size < 1024 else size_name(size)
        yield Work(
            "One message sealed",
            shown,
            [
                Way("plain: AES-CBC and HMAC under one key", PLAIN, timer(plain.seal)),
                *(
                    Way("**sealed in a session**", name, seal_timer(speaker, each, text))
                    for name, each in engines.items()
                ),
                Way("of it: the body packed", best, seal_timer(speaker, engine, text, 0, 1)),
                Way("of it: state, chain and HKDF", best, seal_timer(speaker, engine, text, 1, 2)),
                Way("of it: AES-CBC and HMAC", best, seal_timer(speaker, engine, text, 2, 3)),
                Way("of it: digest and signature", best, seal_timer(speaker, engine, text, 3, 4)),
                Way("chain and HKDF alone", PLAIN, timer(chain_step)),
                Way("an Ed25519 signature alone", PLAIN, timer(partial(plain.private.sign, bytes(51)))),
            ],
        )
        yield Work(
            "One message opened that came alone",
            shown,
            [
                Way("plain: Ed25519 verified, HMAC and AES-CBC", PLAIN, timer(plain.open)),
                *(Way("**opened in a session**", name, open_timer(heard, each)) for name, each in engines.items()),
                Way("of it: checks, signature, chain and HKDF", best, open_timer(heard, engine, 0, 1)),
                Way("of it: HMAC and AES-CBC", best, open_timer(heard, engine, 1, 2)),
                Way("of it: the body read", best, open_timer(heard, engine, 2, 3)),
                Way("an Ed25519 signature verified alone", PLAIN, timer(plain.verify)),
            ],
        )


class Hearing:
    """The ways in which a burst can be heard."""

    def __init__(self, found: Burst, engine: Engine) -> None:
        """Take what came, and what opens it."""
        self._found = found
        self._engine = engine
        frames = [read_frame(each.data) for each in found.arrived]
        sessions = {frame.header.sid for frame in frames}
        # As many as a run is spared: of each session's frames one is verified as it is.
        self._spared = list(zip(frames, found.devices, strict=True))[len(sessions) :]

    def timer(self, most: int, *, verify_all: bool = False) -> Timer:
        """Time all of it, received so many at a time; with every signature verified, or those that must be."""

        def timed(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                self._found.rewind()
                begun = perf_counter()
                outcomes = self._hear(most)
                good = not verify_all or all(frame_is_signed(frame, device) for frame, device in self._spared)
                seconds += perf_counter() - begun
                self._found.check(outcomes)
                if not good or len(outcomes) != len(self._found.arrived):
                    raise WrongResultError("a signature is bad, or messages are missing")
            return seconds / times

        return timed

    def _hear(self, most: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        arrived, listener = self._found.arrived, self._found.listener
        for at in range(0, len(arrived), most):
            outcomes += opened(listener.receive(arrived[at : at + most], NOW_MS), self._engine)
        return outcomes


def bursts(engines: dict[str, Engine], cases: Sequence[tuple[int, int]]) -> Iterator[Work]:
    """Hear many at once: of so many senders, so many in all."""
    best, engine = next(iter(engines.items()))
    for senders, count in cases:
        hearing = Hearing(burst(senders, count, text_of(SHORT), engine), engine)
        whom = "one sender" if senders == 1 else f"{senders} senders in turn"
        ways = [
            Way("one after another, each verified", best, hearing.timer(1), count),
            Way("one run, but each signature verified", best, hearing.timer(count, verify_all=True), count),
            Way("**one run**, one signature a session verified", best, hearing.timer(count), count),
        ]
        if count > DELIVERY_ITEMS:
            by_wire = hearing.timer(DELIVERY_ITEMS)
            ways.append(Way(f"as the wire brings them, {DELIVERY_ITEMS} at a time", best, by_wire, count))
        yield Work(f"A burst of messages of {SHORT} characters, each", f"{count:,}, {whom}", ways)
