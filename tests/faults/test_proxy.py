"""The proxy itself: each fault, between two plain sockets."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.address import Address
from tests.faults.programs import Proxy, connected

WAIT_S = 20.0


class ProxyTests(SynchronousTestCase):
    """A listener behind a proxy."""

    def link(self, seed: int = 0, **down: Any) -> tuple[socket.socket, socket.socket]:
        """Both ends of a link with faults on the way to the client: the client's, and the far one."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(WAIT_S)
            self.proxy = Proxy(Address("127.0.0.1", listener.getsockname()[1], tls=False), seed)
            self.addCleanup(self.proxy.clean_up)
            self.proxy.now(down=down)
            near = connected(self.proxy.address, timeout_s=WAIT_S)
            self.addCleanup(near.close)
            far, _ = listener.accept()
            self.addCleanup(far.close)
            far.settimeout(WAIT_S)
        return near, far

    def all_of(self, end: socket.socket) -> bytes:
        """What comes until the end of it."""
        data = b""
        while piece := end.recv(65_536):
            data += piece
        return data

    def test_nothing(self) -> None:
        """Without faults all passes both ways in order, more than is held on the way, and ends as it ended."""
        near, far = self.link()
        data = bytes(range(256)) * 20_000
        for one, other in ((near, far), (far, near)):
            one.setblocking(False)
            sent, came = 0, b""
            while len(came) < len(data):
                with contextlib.suppress(BlockingIOError):
                    sent += one.send(data[sent:]) if sent < len(data) else 0
                came += other.recv(65_536)
            one.settimeout(WAIT_S)
            self.assertEqual(data, came)
        near.shutdown(socket.SHUT_WR)
        self.assertEqual(b"", far.recv(1))
        far.sendall(b"still")
        far.close()
        self.assertEqual(b"still", self.all_of(near))

    def test_latency(self) -> None:
        """What comes comes later, by the latency at least, in order; the other way is not touched."""
        near, far = self.link(latency_s=0.3, jitter_s=0.2)
        began = time.monotonic()
        near.sendall(b"up")
        self.assertEqual(b"up", far.recv(9))
        self.assertLess(time.monotonic() - began, 0.3)
        for number in range(50):
            far.sendall(b"%d " % number)
        far.close()
        self.assertEqual(b"".join(b"%d " % number for number in range(50)), self.all_of(near))
        self.assertGreater(time.monotonic() - began, 0.3)

    def test_trickle(self) -> None:
        """Bytes come at their rate, from the first on."""
        near, far = self.link(bytes_per_s=1_000)
        began = time.monotonic()
        far.sendall(bytes(1_000))
        far.close()
        self.assertLess(len(near.recv(65_536)), 200)
        self.assertGreater(len(self.all_of(near)), 700)
        self.assertGreater(time.monotonic() - began, 0.8)

    def test_split(self) -> None:
        """Data comes in the pieces that were asked for."""
        near, far = self.link(split=1, latency_s=0.05)
        far.sendall(b"abcdefgh" * 100)
        pieces = [near.recv(65_536) for _ in range(20)]
        self.assertGreater(sum(len(piece) < 50 for piece in pieces), 15)

    def test_blackhole(self) -> None:
        """In a black hole nothing comes, not even the end; after it all that was sent does."""
        near, far = self.link(blackhole=True)
        far.sendall(b"lost?")
        far.close()
        near.settimeout(0.3)
        self.assertRaises(TimeoutError, near.recv, 1)
        near.settimeout(WAIT_S)
        self.proxy.now()
        self.assertEqual(b"lost?", self.all_of(near))

    def test_reset(self) -> None:
        """A reset ends both ends at once, and not in good order; one by chance as well."""
        near, far = self.link()
        near.sendall(b"x")
        far.recv(1)
        self.assertEqual(1, self.proxy.does("reset"))
        self.assertRaises(ConnectionResetError, near.recv, 1)
        self.assertRaises(ConnectionResetError, far.recv, 1)
        near, far = self.link(reset=1.0)
        far.sendall(b"x")
        self.assertRaises(ConnectionResetError, near.recv, 1)

    def test_half_close(self) -> None:
        """One direction ends, and the other goes on."""
        near, far = self.link()
        near.sendall(b"x")
        far.recv(1)
        self.proxy.does("close-up")
        self.assertEqual(b"", far.recv(1))
        far.sendall(b"on")
        self.assertEqual(b"on", near.recv(9))

    def test_corrupt(self) -> None:
        """One bit is another one, and with the same seed the same one."""
        seen = []
        for _ in range(2):
            near, far = self.link(seed=7, corrupt=1.0)
            far.sendall(bytes(1_000))
            far.close()
            seen.append(self.all_of(near))
        self.assertEqual(1, sum(byte.bit_count() for byte in seen[0]))
        self.assertEqual(seen[0], seen[1])

    def test_duplicate(self) -> None:
        """What comes comes twice."""
        near, far = self.link(duplicate=1.0)
        far.sendall(b"again")
        far.close()
        self.assertEqual(b"againagain", self.all_of(near))
