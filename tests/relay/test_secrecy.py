"""What the relay logs: nothing of what people say, who they are, where they are or which keys they use."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from securechat.e2e.identity import Person
from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.messages import LAST_SEQ, Append, Ask, Enter, Hand, Lookup, Message, SessionKey, Want
from tests.relay.harness import RelayCase, of
from tests.relay.people import CLOSED, hello, person
from tests.wire.harness import framed


def public_keys(who: Person) -> list[bytes]:
    """What says who somebody is."""
    return [who.identity.public, who.device.public, who.certificate.packed]


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
        """After logins, entries, posts, refusals, floods and a failing handler none of it is in the log."""
        relay = self.relay(RelayLimits(outbox_frames=5, window=50), motd="unmistakable-motd")
        host = "203.0.113.77"
        alice, bob, carol = relay.room("#geheim", "alice-x1", "bob-x2", "carol-x3")
        stranger = relay.connect(host)
        stranger.login(person("alice-x1", 1))
        bad = relay.connect(host)
        bad.send(hello(person("nobody-x4"), bytes(32)))
        garbled = relay.connect(host)
        garbled.raw(framed(b"\x93\xa5Enter\xa7#geheim-garbled\x00"))
        (dora,) = relay.login("dora-x5")
        dora.does(
            Enter("#geheim", 0, LAST_SEQ),
            Enter("#geheim-not", 0, LAST_SEQ),
            dora.now("#geheim").policy(alice.me, CLOSED),
            Append("#geheim", b"no-entry"),
            Lookup("alice-x1"),
            Want([alice.me.device.public]),
        )
        alice.does(
            Hand("#geheim", [(bob.me.device.public, b"sealed-key"), (dora.me.device.public, b"sealed-key")]),
            Ask("#geheim", bob.me.device.public, b"sixteen-bytes-id"),
        )
        alice.add("#geheim", dora.me)
        alice.remove("#geheim", dora.me)
        relay.login("dora-x5")
        alice.post("#geheim", b"sealed-words")
        alice.post("#geheim", b"sealed-words", epoch=bytes(32))
        bob.stops_reading()
        for _ in range(8):
            alice.post("#geheim", b"sealed-words")
            alice.hears()
        carol.leave("#geheim")
        carol.join("#geheim")
        carol.send(*[Enter("#geheim", 0, LAST_SEQ)] * 300)

        def fail(member: object, post: Message) -> None:
            raise RuntimeError(f"{member} {post}")

        self.patch(relay.factory.rooms, "post", fail)
        alice.post("#geheim", b"sealed-words")
        self.assertEqual(
            [
                Code.FAILED,
                Code.SLOW,
                Code.FLOOD,
                Code.NAME_OWNED,
                Code.BAD_CERTIFICATE,
                Code.NOT_A_MESSAGE,
                Code.REPLACED,
            ],
            [each.code() for each in (alice, bob, carol, stranger, bad, garbled, dora)],
        )
        relay.factory.say_goodbye()
        self.assertGreater(self.events, 0)
        text = "\n".join(self.logged)
        peers: list[IAddress] = [each.transport.getPeer() for each in relay.connections]
        keys = of(SessionKey, [message for each in relay.connections for message in each.heard])
        self.assertTrue(keys)
        secrets = [
            "alice-x1",
            "bob-x2",
            "carol-x3",
            "nobody-x4",
            "dora-x5",
            "geheim",
            "sealed-",
            host,
            "unmistakable",
        ]
        secrets += ["no-entry", "sixteen-bytes"]
        secrets += [str(peer) for peer in peers]
        hidden = [each for key in keys for each in (key.key, key.epoch)]
        hidden += [each for client in (alice, bob, carol, dora) for each in public_keys(client.me)]
        secrets += [form for each in hidden for form in (repr(each), each.hex())]
        self.assertEqual([], [secret for secret in secrets if secret in text])
