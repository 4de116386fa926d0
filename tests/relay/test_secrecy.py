"""What the relay logs: nothing of what people say, who they are, where they are or which keys they use."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.messages import VERSION, Enter, Hello, Leave, Message, SessionKey
from tests.relay.harness import RelayCase, of
from tests.wire.harness import framed


class SecrecyTests(RelayCase):
    """A conversation with all kinds of errors, under an observer that keeps everything."""

    def setUp(self) -> None:
        """Keep what is logged at info and above, as text with tracebacks."""
        self.logged: list[str] = []
        self.events = 0

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_level", LogLevel.info) >= LogLevel.info:
                self.events += 1
                self.logged.append(eventAsText(event, includeTraceback=True) + repr(event.get("log_failure")))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def test_conversation(self) -> None:
        """After logins, posts, refusals, floods, slow readers and a failing handler none of it is in the log."""
        relay = self.relay(RelayLimits(outbox_frames=5, window=50), motd="unmistakable-motd")
        host = "203.0.113.77"
        alice, bob, carol = relay.room("#geheim", "alice-x1", "bob-x2", "carol-x3")
        stranger = relay.connect(host)
        stranger.send(Hello(VERSION, "alice-x1"))
        bad = relay.connect(host)
        bad.send(Hello(VERSION, "NOBODY-x4"))
        garbled = relay.connect(host)
        garbled.raw(framed(b"\x92\xa5Enter\xa7#geheim-garbled"))
        alice.post("#geheim", b"sealed-words")
        alice.post("#geheim", b"sealed-words", epoch=bytes(32))
        bob.stops_reading()
        for _ in range(8):
            alice.post("#geheim", b"sealed-words")
            alice.hears()
        carol.does(Leave("#geheim"), Enter("#geheim"))
        carol.send(*[Leave("#geheim")] * 300)

        def fail(member: object, post: Message) -> None:
            raise RuntimeError(f"{member} {post}")

        self.patch(relay.factory.rooms, "post", fail)
        alice.post("#geheim", b"sealed-words")
        self.assertEqual(
            [Code.FAILED, Code.SLOW, Code.FLOOD, Code.NAME_TAKEN, Code.BAD_NAME, Code.NOT_A_MESSAGE],
            [each.code() for each in (alice, bob, carol, stranger, bad, garbled)],
        )
        relay.factory.say_goodbye()
        self.assertGreater(self.events, 0)
        text = "\n".join(self.logged)
        peers: list[IAddress] = [each.transport.getPeer() for each in relay.connections]
        keys = of(SessionKey, [message for each in relay.connections for message in each.heard])
        self.assertTrue(keys)
        secrets = ["alice-x1", "bob-x2", "carol-x3", "NOBODY-x4", "geheim", "sealed-words", host, "unmistakable"]
        secrets += [str(peer) for peer in peers]
        secrets += [form for key in keys for form in (repr(key.key), key.key.hex(), repr(key.epoch))]
        self.assertEqual([], [secret for secret in secrets if secret in text])
