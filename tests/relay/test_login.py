"""Logging in: what the relay says first, who gets a name, and what happens to everybody else."""

from __future__ import annotations

from securechat.e2e.identity import Person, new_person
from securechat.relay.limits import RelayLimits
from securechat.signed.certificates import certify, prove_login
from securechat.signed.encoding import lp, u64
from securechat.signed.prekeys import KEEP_MS, SKEW_MS
from securechat.signed.signing import SigningKey
from securechat.wire.codes import REASONS, Code
from securechat.wire.framing import frame
from securechat.wire.messages import (
    LAST_SEQ,
    VERSION,
    Append,
    Ask,
    Enter,
    Goodbye,
    Greeting,
    Hand,
    Hello,
    Limits,
    Lookup,
    Message,
    Ping,
    Pong,
    Post,
    Refused,
    Renew,
    Want,
    Welcome,
)
from tests.relay.harness import Client, RelayCase, only
from tests.relay.people import NOW_MS, hello, person, prekey

NEEDS_A_NAME: tuple[Message, ...] = (
    Renew(prekey(person("alice"))),
    Enter("#lobby", 0, LAST_SEQ),
    Append("#lobby", b"x"),
    Want([bytes(32)]),
    Lookup("alice"),
    Hand("#lobby", [(bytes(32), b"x")]),
    Ask("#lobby", bytes(32), bytes(16)),
    Post("#lobby", bytes(32), [(bytes(16), b"x")]),
)
"""What only those may say who are logged in."""


class GreetingTests(RelayCase):
    """The first messages."""

    def test_greeting(self) -> None:
        """The relay speaks first: its version, 32 random bytes, the message of the day."""
        relay = self.relay(motd="be kind")
        greetings = [only(Greeting, relay.connect().heard) for _ in range(2)]
        self.assertEqual({(VERSION, "be kind")}, {(each.version, each.motd) for each in greetings})
        self.assertNotEqual(greetings[0].nonce, greetings[1].nonce)

    def test_welcome(self) -> None:
        """A good login is welcomed with its name, its rooms and the limits."""
        relay = self.relay(RelayLimits(window=7, rooms=8, ping_s=9.0))
        client = relay.connect()
        client.login(person("alice"))
        self.assertEqual([Welcome("alice", [], Limits(7, 8, 9))], client.hears())
        self.assertEqual((1, 1), (relay.factory.clients, relay.factory.connections))

    def test_welcome_to_rooms(self) -> None:
        """A welcome lists the rooms that one is a member of, also those into which one was brought while away."""
        relay = self.relay()
        alice, bob = relay.login("alice", "bob")
        bob.does(Goodbye(Code.QUIT, ""))
        for room in ("#tea", "#cake"):
            alice.found(room, bob.me)
        alice.found("#other")
        again = relay.connect()
        again.login(bob.me)
        self.assertEqual(["#cake", "#tea"], only(Welcome, again.hears()).rooms)

    def test_ping_before_login(self) -> None:
        """A stranger's ping is answered."""
        self.assertEqual([Pong()], self.relay().connect().does(Ping()))

    def test_goodbye(self) -> None:
        """A goodbye is answered by one, and the link ends."""
        relay = self.relay()
        alice, stranger = relay.login("alice")[0], relay.connect()
        for client in (alice, stranger):
            self.assertEqual([Goodbye(Code.QUIT, REASONS[Code.QUIT])], client.does(Goodbye(Code.QUIT, "see you")))
            self.assertTrue(client.transport.half_closed)
        self.assertEqual(0, relay.factory.clients)


class RefusalTests(RelayCase):
    """Logins that are not taken; each ends the link with its code, and takes no name."""

    def setUp(self) -> None:
        """Alice and Mallory, of whom nobody has heard yet."""
        self.here = self.relay()
        self.alice, self.mallory = person("alice"), person("mallory")

    def assert_refused(self, code: Code, client: Client, sent: Message) -> None:
        """A login is refused with a code and its reason, and Alice can still log in."""
        self.assertEqual([Refused(code, REASONS[code])], client.does(sent))
        self.assertTrue(client.transport.half_closed)
        self.assertEqual(0, self.here.factory.clients)
        client.transport.lose()
        self.assertEqual(1, self.here.factory.closed[code])
        self.here.login("alice")

    def attack(self, made: Hello, code: Code = Code.BAD_CERTIFICATE, client: Client | None = None) -> None:
        """A login is refused."""
        self.assert_refused(code, client or self.here.connect(), made)

    def honest(self, client: Client) -> Hello:
        """How Alice would log in on this link."""
        return hello(self.alice, client.nonce())

    def test_version(self) -> None:
        """Another version is refused before anything else is looked at."""
        for version in (0, 1, VERSION + 1):
            client = self.relay().connect()
            client.send(Hello(version, b"x", b"x", bytes(64)))
            self.assertEqual(Code.VERSION, client.code())

    def test_another_nonce(self) -> None:
        """A proof over another nonce is refused: it was made for another link, or is an old one."""
        other = self.here.connect()
        self.attack(hello(self.alice, other.nonce()))

    def test_replayed(self) -> None:
        """What logged somebody in once logs nobody in again."""
        first = self.here.connect()
        sent = self.honest(first)
        only(Welcome, first.does(sent))
        first.transport.lose()
        self.attack(sent)

    def test_another_relay(self) -> None:
        """A proof for another relay's key, passed on by somebody in the middle, is refused."""
        client = self.here.connect()
        self.attack(hello(self.alice, client.nonce(), bytes(32), bytes(32)), client=client)

    def test_without_a_proof(self) -> None:
        """Another's certificate is worth nothing without its device's proof."""
        client = self.here.connect()
        for proof in (
            bytes(64),
            hello(self.mallory, client.nonce()).proof,
            prove_login(self.mallory.device, self.alice.certificate, b"", client.nonce(), b""),
            prove_login(self.alice.identity, self.alice.certificate, b"", client.nonce(), b""),
        ):
            client = self.here.connect()
            certificate = self.alice.certificate.packed
            self.attack_and_end(client, Hello(VERSION, certificate, prekey(self.alice), proof))

    def attack_and_end(self, client: Client, made: Hello) -> None:
        """A login is refused; the name stays free."""
        client.send(made)
        self.assertEqual(Code.BAD_CERTIFICATE, client.code())
        client.transport.lose()
        self.assertEqual(0, self.here.factory.clients)

    def test_certificates(self) -> None:
        """A certificate that is malformed, altered, or signed by another than its identity key is refused."""
        for wrong in certificates_gone_wrong(self.alice, self.mallory):
            client = self.here.connect()
            nonce = client.nonce()
            proof = hello(self.alice, nonce).proof
            self.attack_and_end(client, Hello(VERSION, wrong, prekey(self.alice), proof))

    def test_bad_names(self) -> None:
        """A certificate for what is no name is refused, however well it is signed."""
        for name in ("", "Alice", "al ice", "a+b", "#a", "a" * 33, "\u00e9"):
            device = SigningKey(bytes(31) + b"d")
            certificate = certify(self.alice.identity, name, device.public, NOW_MS)
            client = self.here.connect()
            proof = prove_login(device, certificate, b"", client.nonce(), b"")
            self.attack_and_end(client, Hello(VERSION, certificate.packed, prekey(self.alice), proof))

    def test_longest_name(self) -> None:
        """A name of 32 characters is taken."""
        self.here.login("a" * 32)

    def test_prekeys(self) -> None:
        """A prekey that is malformed, another's, over, or from the future is refused."""
        for wrong in (
            b"x",
            prekey(self.mallory),
            prekey(self.alice)[:-1] + b"x",
            prekey(self.alice, NOW_MS - KEEP_MS),
            prekey(self.alice, NOW_MS + SKEW_MS + 1),
        ):
            client = self.here.connect()
            honest = self.honest(client)
            self.attack_and_end(client, Hello(VERSION, honest.certificate, wrong, honest.proof))

    def test_prekeys_at_the_bounds(self) -> None:
        """A prekey in the last moment of its time, or ahead by the skew of clocks, is taken."""
        for made_ms in (NOW_MS - KEEP_MS + 1, NOW_MS + SKEW_MS):
            client = self.relay().connect()
            honest = self.honest(client)
            good = Hello(VERSION, honest.certificate, prekey(self.alice, made_ms), honest.proof)
            only(Welcome, client.does(good))

    def test_full(self) -> None:
        """With room for two the third is refused, keeps no name, and comes in when one of the two is gone."""
        relay = self.relay(RelayLimits(max_clients=2))
        alice, _ = relay.login("alice", "bob")
        third = relay.connect()
        third.login(person("carol"))
        self.assertEqual(Code.FULL, third.code())
        alice.transport.lose()
        relay.login_as(person("carol", 2))

    def test_names_are_full(self) -> None:
        """When as many names are owned as may be, a new one is refused and their owners still come in."""
        relay = self.relay(RelayLimits(names=2))
        alice, _ = relay.login("alice", "bob")
        alice.transport.lose()
        third = relay.connect()
        third.login(person("carol"))
        self.assertEqual(Code.FULL, third.code())
        relay.login("alice")
        self.assertEqual(100_000, RelayLimits().names)

    def test_order(self) -> None:
        """What needs a name is out of order before the login, and a second login after it."""
        for message in NEEDS_A_NAME:
            client = self.relay().connect()
            client.send(message, self.honest(client))
            self.assertEqual(Code.OUT_OF_ORDER, client.code(), message)
        (alice,) = self.here.login("alice")
        alice.send(hello(self.mallory, alice.nonce()))
        self.assertEqual(Code.OUT_OF_ORDER, alice.code())
        self.assertEqual(0, self.here.factory.clients)

    def test_nothing_after_the_end(self) -> None:
        """Of what follows a goodbye in the same chunk nothing is handled."""
        (alice,) = self.here.login("alice")
        alice.send(Goodbye(Code.QUIT, ""), *NEEDS_A_NAME)
        self.assertEqual(Code.QUIT, alice.code())

    def test_message_of_the_relay(self) -> None:
        """A client that speaks the relay's part is refused."""
        client = self.relay().connect()
        client.send(Welcome("alice", [], Limits(1, 1, 1)))
        self.assertEqual(Code.UNKNOWN_MESSAGE, client.code())

    def test_nothing_after_a_refusal(self) -> None:
        """A good login in the same chunk behind a bad one is not handled: a connection has one."""
        client = self.here.connect()
        client.send(hello(self.alice, bytes(32)), self.honest(client))
        self.assertEqual(Code.BAD_CERTIFICATE, client.code())
        self.assertEqual(0, self.here.factory.clients)


def certificates_gone_wrong(alice: Person, mallory: Person) -> list[bytes]:
    """Certificates in Alice's name that are not hers."""
    good = alice.certificate
    return [
        b"x",
        good.packed[:-1],
        good.packed + b"x",
        good.packed[:-1] + bytes([good.packed[-1] ^ 1]),
        lp(b"alice", good.identity, good.device, u64(good.created_ms + 1), good.signature),
        lp(b"alice", mallory.certificate.identity, good.device, u64(good.created_ms), good.signature),
        lp(b"alicf", good.identity, good.device, u64(good.created_ms), good.signature),
    ]


class NameTests(RelayCase):
    """Names, identities and devices."""

    def test_owned(self) -> None:
        """A name that somebody has had is refused to any other identity, whether or not its owner is here."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        for _ in range(2):
            thief = relay.connect()
            thief.login(person("alice", 1))
            self.assertEqual(Code.NAME_OWNED, thief.code())
            self.assertEqual(alice.transport.lost, alice.protocol.closing)
            alice.transport.lose()
        relay.login("alice")

    def test_twice_in_one_turn(self) -> None:
        """Of two who ask for a name in the same turn the first gets it."""
        relay = self.relay()
        first, second = relay.connect(), relay.connect()
        first.login(person("alice"))
        second.login(person("alice", 1))
        only(Welcome, first.hears())
        self.assertEqual(Code.NAME_OWNED, second.code())

    def test_replaced(self) -> None:
        """A second login of an identity is taken, and the older link is told that it was replaced."""
        relay = self.relay(RelayLimits(max_clients=1))
        (older,) = relay.login("alice")
        (newer,) = relay.login("alice")
        self.assertEqual([Goodbye(Code.REPLACED, REASONS[Code.REPLACED])], older.hears())
        self.assertEqual((1, False), (relay.factory.clients, newer.protocol.closing))
        older.transport.lose()
        self.assertEqual(1, relay.factory.clients)
        self.assertEqual(1, relay.factory.closed[Code.REPLACED])

    def test_one_name_each(self) -> None:
        """An identity that has a name gets no other one."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        second = certified(alice.me, "alice2", alice.me.device)
        client = relay.connect()
        client.login(second)
        self.assertEqual(Code.BAD_CERTIFICATE, client.code())
        self.assertFalse(alice.protocol.closing)

    def test_new_device(self) -> None:
        """An identity's new device takes the place of its old one, whose prekey is offered no more."""
        relay = self.relay()
        alice, bob = relay.login("alice", "bob")
        old, new = alice.me, certified(alice.me, "alice", SigningKey(bytes(31) + b"n"))
        relay.login_as(new)
        self.assertEqual(Code.REPLACED, alice.code())
        found = bob.does(Lookup("alice"), Want([old.device.public, new.device.public]))
        self.assertEqual(
            [(new.certificate.packed, True), [(old.device.public, b""), (new.device.public, prekey(new))]],
            [(found[0].certificate, found[0].online), found[1].items],  # type: ignore[union-attr]
        )

    def test_device_of_somebody_else(self) -> None:
        """A device that is somebody's is taken by no other identity, even with its key."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        shared = certified(new_person("mallory", NOW_MS), "mallory", alice.me.device)
        client = relay.connect()
        client.login(shared)
        self.assertEqual(Code.BAD_CERTIFICATE, client.code())
        self.assertFalse(alice.protocol.closing)


def certified(who: Person, name: str, device: SigningKey) -> Person:
    """The same identity under a name with a device."""
    return Person(who.identity, device, certify(who.identity, name, device.public, NOW_MS))


class HandshakeTests(RelayCase):
    """The time and the room that strangers have."""

    def test_too_late(self) -> None:
        """A stranger has handshake_s seconds, whatever it sends meanwhile."""
        limits = RelayLimits()
        relay = self.relay(limits)
        client = relay.connect()
        relay.clock.advance(limits.handshake_s - 0.1)
        client.raw(frame(Pong()) + b"\0")
        self.assertFalse(client.protocol.closing)
        relay.clock.advance(0.2)
        self.assertEqual(Code.TIMED_OUT, client.code())

    def test_in_time(self) -> None:
        """Whoever has logged in is not timed out."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        relay.clock.advance(RelayLimits().handshake_s + 1)
        self.assertFalse(alice.protocol.closing)

    def test_oldest_makes_room(self) -> None:
        """Over the bound the stranger that came first is cut off; clients do not count."""
        relay = self.relay(RelayLimits(handshakes=2))
        relay.login("alice")
        strangers = [relay.connect() for _ in range(2)]
        self.assertEqual([False, False], [each.transport.aborted for each in strangers])
        strangers.append(relay.connect())
        self.assertEqual([True, False, False], [each.transport.aborted for each in strangers])

    def test_many_in_one_turn(self) -> None:
        """The bound holds for connections that the reactor accepts in one turn."""
        relay = self.relay(RelayLimits(handshakes=2))
        strangers = [relay.try_connect() for _ in range(10)]
        self.assertEqual([True] * 8 + [False] * 2, [each.transport.aborted for each in strangers if each])
        relay.turn()
        self.assertEqual(2, relay.factory.connections)
