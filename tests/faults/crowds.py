"""Many clients of one relay, which say nothing or do not read, and the memory that they take."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from threading import Event, Thread

from securechat.wire.messages import Ack, Delivery, Post, SessionKey
from tests.faults import swarm
from tests.faults.programs import LONG_S, FaultCase, Relay
from tests.faults.swarm import Peer
from tests.relay.harness import post_id
from tests.relay.people import Chain, person
from tests.relay.process import Talker
from tests.relay.scraping import parsed

STATUS = ("--status", "tcp:0:interface=127.0.0.1")
ROOM = "#crowd"
TEXT = bytes(16_000)
RUN = 4


class CrowdCase(FaultCase):
    """A case with a crowd."""

    def numbers(self, relay: Relay) -> dict[str, float]:
        """The relay's metrics."""
        return parsed(self.page(relay, "/metrics")[1])

    def page(self, relay: Relay, page: str) -> tuple[int, bytes]:
        """A page of its status: the code, and what it says."""
        connection = HTTPConnection("127.0.0.1", relay.status_port(), timeout=LONG_S)
        connection.request("GET", page)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def crowd(self, relay: Relay, count: int) -> Callable[[], None]:
        """So many log in and say nothing more; what is given ends them."""
        enough = Event()
        came = []
        # As many as may log in at once without pushing each other out.
        coming = asyncio.Semaphore(50)

        def stay(number: int) -> Callable[[], object]:
            async def act() -> None:
                async with coming:
                    peer = await Peer.connect(relay.address)
                    await peer.login(f"member{number}")
                came.append(number)
                while not enough.is_set():
                    await asyncio.sleep(0.1)
                peer.close()

            return act

        work = [stay(number) for number in range(count)]
        there = Thread(target=swarm.run, args=(work, count, 5 * LONG_S, 5 * LONG_S), daemon=True)
        there.start()

        def end() -> None:
            enough.set()
            there.join(LONG_S)

        self.addCleanup(end)
        self.until(lambda: len(came) == count, 3 * LONG_S)
        return end

    def idle(self, count: int) -> float:
        """The bytes of memory for each of so many clients that are logged in, on links without TLS."""
        # The first ones pay for what all of them need once.
        relay = self.relay("--plaintext", "--max-clients", str(count + 100), *STATUS)
        self.crowd(relay, 100)()
        before = relay.resident_bytes()
        self.crowd(relay, count)
        each = (relay.resident_bytes() - before) / count
        self.assertEqual(count, self.numbers(relay)["securechat_clients"])
        sys.stderr.write(f"\n{count} idle clients: {each / 1024:.1f} KiB each\n")
        return each

    def idle_tls(self, count: int) -> float:
        """The same with TLS."""
        relay = self.relay("--max-clients", str(count + 50), *STATUS)
        warm = [Talker(self, relay.address) for _ in range(50)]
        for number, talker in enumerate(warm):
            talker.login(f"warm{number}")
        before = relay.resident_bytes()
        for number in range(count):
            talker = Talker(self, relay.address)
            talker.login(f"member{number}")
            warm.append(talker)
        each = (relay.resident_bytes() - before) / count
        sys.stderr.write(f"\n{count} idle clients with TLS: {each / 1024:.1f} KiB each\n")
        return each

    def stopped(self, count: int, *options: str, gone: int) -> tuple[int, float]:
        """So many members stop reading, one reads, and one talks until too much waits and some are dropped.

        Gives by how much memory has grown, and what waits.
        """
        relay = self.relay(
            "--plaintext", "--post-rate", "0", "--byte-rate", "0", "--append-burst", "1000", *STATUS, *options
        )
        speaker, reader = Talker(self, relay.address), Talker(self, relay.address)
        who, other = speaker.login("speaker"), reader.login("reader")
        chain = Chain(ROOM)
        speaker.send(chain.found(who), chain.add(who, other))
        epoch = b""
        for number in range(count):
            stopped = Talker(self, relay.address, receive_buffer=4096)
            stopped.login(f"stopped{number}")
            speaker.send(chain.add(who, person(f"stopped{number}")))
        while epoch != chain.known.epoch:
            epoch = speaker.until(SessionKey).epoch
        before = relay.resident_bytes()
        heard = 0
        for number in range(40):
            posts = [(post_id(number * RUN + each), TEXT) for each in range(RUN)]
            speaker.send(Post(ROOM, epoch, posts[:2]), Post(ROOM, epoch, posts[2:]))
            acked = 0
            while acked < RUN:
                acked += len(speaker.until(Ack).items)
            while heard < (number + 1) * RUN:
                heard += len(reader.until(Delivery).items)
        # A link is given some seconds to close.
        self.until(lambda: self.numbers(relay)['securechat_closed_total{code="slow"}'] >= gone, 10)
        grown = relay.resident_bytes() - before
        found = self.numbers(relay)
        sys.stderr.write(
            f"\n{count} that have stopped: grew by {grown / 2**20:.1f} MiB, "
            f"{found['securechat_outbox_bytes']:,.0f} bytes wait, {found['securechat_lagging_links']:.0f} lag\n"
        )
        relay.ends()
        return grown, found["securechat_outbox_bytes"]
