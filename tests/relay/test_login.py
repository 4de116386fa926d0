"""Logging in: what the relay says first, who gets a name, and what happens to everybody else."""

from __future__ import annotations

from securechat.relay.limits import RelayLimits
from securechat.wire.codes import REASONS, Code
from securechat.wire.framing import frame
from securechat.wire.messages import (
    VERSION,
    Enter,
    Goodbye,
    Greeting,
    Hello,
    Leave,
    Limits,
    Ping,
    Pong,
    Post,
    Refused,
    Welcome,
)
from tests.relay.harness import RelayCase, of, only


class GreetingTests(RelayCase):
    """The first messages."""

    def test_greeting(self) -> None:
        """The relay speaks first: its version, 32 random bytes, the message of the day."""
        relay = self.relay(motd="be kind")
        greetings = [only(Greeting, relay.connect().heard) for _ in range(2)]
        self.assertEqual({(VERSION, "be kind")}, {(each.version, each.motd) for each in greetings})
        self.assertNotEqual(greetings[0].nonce, greetings[1].nonce)

    def test_welcome(self) -> None:
        """A good login is welcomed with its name and the limits."""
        relay = self.relay(RelayLimits(window=7, rooms=8, ping_s=9.0))
        client = relay.connect()
        self.assertEqual([Welcome("alice", Limits(7, 8, 9))], client.does(Hello(VERSION, "alice")))
        self.assertEqual((1, 1), (relay.factory.clients, relay.factory.connections))

    def test_ping_before_login(self) -> None:
        """A stranger's ping is answered."""
        self.assertEqual([Pong()], self.relay().connect().does(Ping()))

    def test_goodbye(self) -> None:
        """A goodbye is answered by one, the link ends and the name is free at once."""
        relay = self.relay()
        alice, stranger = relay.login("alice")[0], relay.connect()
        for client in (alice, stranger):
            self.assertEqual([Goodbye(Code.QUIT, REASONS[Code.QUIT])], client.does(Goodbye(Code.QUIT, "see you")))
            self.assertTrue(client.transport.half_closed)
        relay.login("alice")


class RefusalTests(RelayCase):
    """Logins that are not taken; each ends the link with its code."""

    def refused(self, hello: Hello, *others: str, limits: RelayLimits | None = None) -> Code:
        """The code for a login while others are here, who notice nothing."""
        relay = self.relay(limits)
        here = relay.login(*others)
        client = relay.connect()
        (answer,) = client.does(hello)
        assert isinstance(answer, Refused)
        self.assertEqual(REASONS[answer.code], answer.reason)
        self.assertTrue(client.transport.half_closed)
        self.assertEqual([], [each for each in here if each.protocol.closing])
        self.assertEqual(len(others), relay.factory.clients)
        client.transport.lose()
        self.assertEqual(1, relay.factory.closed[answer.code])
        return answer.code

    def test_version(self) -> None:
        """Another version is refused."""
        for version in (0, VERSION + 1):
            self.assertEqual(Code.VERSION, self.refused(Hello(version, "alice")))

    def test_bad_name(self) -> None:
        """A name that is no handle is refused."""
        for name in ("", "Alice", "al ice", "a+b", "#a"):
            self.assertEqual(Code.BAD_NAME, self.refused(Hello(VERSION, name)))

    def test_name_too_long(self) -> None:
        """A name of 33 characters is refused, one of 32 is taken."""
        self.assertEqual(Code.NAME_TOO_LONG, self.refused(Hello(VERSION, "a" * 33)))
        self.relay().login("a" * 32)

    def test_taken(self) -> None:
        """A name that somebody uses is refused."""
        self.assertEqual(Code.NAME_TAKEN, self.refused(Hello(VERSION, "alice"), "alice"))

    def test_taken_twice_in_one_turn(self) -> None:
        """Of two who ask for a name in the same turn the first gets it."""
        relay = self.relay()
        first, second = relay.connect(), relay.connect()
        for client in (first, second):
            client.send(Hello(VERSION, "alice"))
        only(Welcome, first.hears())
        self.assertEqual(Code.NAME_TAKEN, second.code())

    def test_full(self) -> None:
        """With room for two the third is refused, until one of the two is gone."""
        limits = RelayLimits(max_clients=2)
        self.assertEqual(Code.FULL, self.refused(Hello(VERSION, "carol"), "alice", "bob", limits=limits))
        relay = self.relay(limits)
        relay.login("alice", "bob")[0].transport.lose()
        relay.login("carol")

    def test_name_is_free_after_any_end(self) -> None:
        """A name is free as soon as its link closes, before its peer has followed."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        alice.raw(bytes(4))
        self.assertFalse(alice.transport.lost)
        relay.login("alice")

    def test_order(self) -> None:
        """What needs a name is out of order before the login, and a second login after it."""
        for message in (
            Enter("#lobby"),
            Leave("#lobby"),
            Post("#lobby", bytes(32), [(bytes(16), b"x")]),
        ):
            client = self.relay().connect()
            client.send(message, Hello(VERSION, "alice"))
            self.assertEqual(Code.OUT_OF_ORDER, client.code())
        relay = self.relay()
        (alice,) = relay.login("alice")
        alice.send(Hello(VERSION, "bob"))
        self.assertEqual(Code.OUT_OF_ORDER, alice.code())
        self.assertEqual(0, relay.factory.clients)

    def test_message_of_the_relay(self) -> None:
        """A client that speaks the relay's part is refused."""
        client = self.relay().connect()
        client.send(Welcome("alice", Limits(1, 1, 1)))
        self.assertEqual(Code.UNKNOWN_MESSAGE, client.code())

    def test_nothing_after_a_refusal(self) -> None:
        """A good login in the same chunk behind a bad one is not handled."""
        relay = self.relay()
        client = relay.connect()
        client.send(Hello(VERSION, "ALICE"), Hello(VERSION, "alice"))
        self.assertEqual(Code.BAD_NAME, client.code())
        self.assertEqual(0, relay.factory.clients)


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


class GhostTests(RelayCase):
    """Names held by links that died unnoticed."""

    def test_ghost_is_replaced(self) -> None:
        """A holder that gives no sign of life in ghost_s seconds loses the name to the next attempt."""
        limits = RelayLimits()
        relay = self.relay(limits)
        (ghost,) = relay.login("alice")
        heir = relay.connect()
        heir.send(Hello(VERSION, "alice"))
        self.assertEqual(Code.NAME_TAKEN, heir.code())
        self.assertEqual([Ping()], ghost.hears())
        relay.clock.advance(limits.ghost_s)
        self.assertEqual(Code.SILENT, ghost.code())
        relay.login("alice")

    def test_holder_that_lives(self) -> None:
        """A holder that answers keeps its name, however often somebody asks."""
        limits = RelayLimits()
        relay = self.relay(limits)
        (alice,) = relay.login("alice")
        for _ in range(3):
            thief = relay.connect()
            thief.send(Hello(VERSION, "alice"))
            self.assertEqual(Code.NAME_TAKEN, thief.code())
            self.assertEqual(1, len(of(Ping, alice.hears())))
            alice.send(Pong())
            relay.clock.advance(limits.ghost_s + 1)
        self.assertFalse(alice.protocol.closing)
