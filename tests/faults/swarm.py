"""Many plain links at once, with neither a thread nor a process for each: bad peers, and how each of them ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from securechat.wire.address import Address
from securechat.wire.framing import frame
from securechat.wire.messages import Goodbye, Greeting, Message, Refused, Welcome
from tests.relay.harness import Kind
from tests.relay.people import hello_now, person
from tests.wire.harness import PREFIX, from_relay

PATIENCE_S: Final = 30.0


@dataclass
class End:
    """How a link ended: the relay's last word if there was one, and how long after we were to blame."""

    code: str
    after_s: float


class Peer:
    """One plain link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, address: Address, source: str = "") -> Peer:
        """Connect, from an address of loopback where one is given."""
        if address.path:
            plain = socket.socket(socket.AF_UNIX)
            # Without blocking a full backlog would be an error, which asyncio takes for a connection.
            plain.connect(address.path)
            plain.setblocking(False)
            return cls(*await asyncio.open_unix_connection(sock=plain))
        local = (source, 0) if source else None
        return cls(*await asyncio.open_connection(address.host, address.port, local_addr=local))

    async def message(self) -> Message:
        """The next message; `IncompleteReadError` or `ConnectionError` where none comes."""
        (length,) = PREFIX.unpack(await self.reader.readexactly(PREFIX.size))
        return from_relay.decode(await self.reader.readexactly(length))

    async def until(self, kind: type[Kind]) -> Kind:
        """The next message of a kind; those before it are skipped."""
        while not isinstance(message := await self.message(), kind):
            pass
        return message

    def send(self, message: Message) -> None:
        """Send a message, sooner or later."""
        self.writer.write(frame(message))

    async def login(self, name: str) -> None:
        """Be greeted and welcomed, on a link without TLS."""
        greeting = await self.message()
        assert isinstance(greeting, Greeting)
        self.send(hello_now(person(name), greeting.nonce))
        await self.until(Welcome)

    async def end(self) -> End:
        """Read to the end, and close."""
        began, code = time.monotonic(), ""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await self.message()
                if isinstance(message, Refused | Goodbye):
                    code = str(message.code)
        self.close()
        return End(code, time.monotonic() - began)

    def close(self) -> None:
        """Close."""
        self.writer.close()


def run(
    work: Iterable[Callable[[], Awaitable[None]]], at_once: int, within_s: float, patience_s: float = PATIENCE_S
) -> None:
    """Do all of it, so many at once, none for longer than `patience_s`."""
    waiting = iter(work)

    async def worker() -> None:
        for each in waiting:
            await asyncio.wait_for(each(), patience_s)

    async def all_of() -> None:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(worker() for _ in range(at_once)))

    asyncio.run(all_of())
