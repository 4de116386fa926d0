"""The client's link: login in order, and each way to be turned away."""

from __future__ import annotations

from errno import ENOENT

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError

from securechat.client.errors import Exit
from securechat.client.link import LOGIN_S, RENEW_S
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.framing import farewell, frame
from securechat.wire.messages import LAST_SEQ, Enter, Goodbye, Ping, Pong, Refused
from tests.client.link_harness import (
    FAREWELLS,
    GREETING,
    HELLO,
    NONCE,
    REFUSALS,
    WELCOME,
    LinkCase,
)

PASSING = {Code.FULL, Code.BUSY, Code.TOO_MANY_LOGINS, Code.TIMED_OUT, *FAREWELLS} - {
    Code.QUIT,
    Code.REPLACED,
    Code.BANNED,
}


class LoginTests(LinkCase):
    """Greeting, Hello, Welcome."""

    def test_order(self) -> None:
        """The relay speaks first; then comes our name, and nothing else before it or before the relay's answer."""
        self.open()
        self.clock.advance(1)
        self.assertEqual(self.said(), [])
        self.hears(GREETING)
        self.assertEqual(self.said(), [HELLO])
        self.assertEqual(self.listener.ups, [])
        self.hears(WELCOME)
        self.assertEqual(self.listener.ups, [(WELCOME, "securechat+tcp://relay.example:12345", "welcome")])
        self.assertEqual(len(self.said()), 1)

    def test_any_split(self) -> None:
        """The relay's bytes may come one by one."""
        self.open()
        for byte in frame(GREETING) + frame(WELCOME):
            self.hears_bytes(bytes([byte]))
        self.assertEqual(len(self.listener.ups), 1)

    def test_messages(self) -> None:
        """After the login messages go both ways."""
        self.log_in()
        roster = wire.Roster("#lobby", 0, [b"entry"], 1, 0)
        self.hears(roster, Ping())
        self.link.send(Enter("#lobby", 0, LAST_SEQ))
        self.clock.advance(0)
        self.assertEqual(self.listener.received_messages, [roster])
        self.assertEqual(self.said(), [Pong(), Enter("#lobby", 0, LAST_SEQ)])

    def test_what_a_login_is_for(self) -> None:
        """What is signed is the relay's nonce, and without TLS no key and no link."""
        self.log_in()
        self.assertEqual(self.login.shown, [(b"", NONCE, b"")])

    def test_renewed(self) -> None:
        """Once an hour the link looks whether a new prekey is due, and offers one that is."""
        self.log_in()
        renewal = wire.Renew(b"new")
        for due in ([], [renewal], []):
            self.login.renewals = list(due)
            for _ in range(int(RENEW_S) // 10):
                self.hears(Ping())
                self.clock.advance(10)
            self.assertEqual([each for each in self.said() if isinstance(each, wire.Renew)], due)
            self.transport.clear()

    def test_other_version(self) -> None:
        """A relay of another version hears nothing from us."""
        self.open()
        self.hears(wire.Greeting(wire.VERSION - 1, NONCE, ""))
        self.assertEqual(self.said(), [])
        self.assertEqual(self.error().status, Exit.PROTOCOL)
        self.assertIn("another version", str(self.error()))

    def test_out_of_order(self) -> None:
        """Whoever begins with something else than `Greeting`, or greets twice, is no relay and hears no name."""
        for first in (
            [WELCOME],
            [wire.Roster("#a", 0, [], 0, 0)],
            [wire.Ack("#a", [(bytes(16), 1)])],
            [GREETING] * 2,
        ):
            self.setUp()
            self.open()
            self.hears(*first)
            self.assertEqual(self.said()[-1], Goodbye(Code.FAILED, REASONS[Code.FAILED]))
            self.transport.lose()
            self.assertEqual(self.error().status, Exit.UNREACHABLE)
            self.assertIn("no securechat relay", str(self.error()))

    def test_greeted_again(self) -> None:
        """A relay that greets or welcomes again once we are in is refused, and the link is tried again."""
        for again in (GREETING, WELCOME):
            self.setUp()
            self.log_in()
            self.hears(again)
            self.assertEqual(self.said(), [Goodbye(Code.FAILED, REASONS[Code.FAILED])])
            self.transport.lose()
            self.assertEqual((len(self.listener.downs), self.errors), (1, []))

    def test_ping_before_login(self) -> None:
        """A ping before the login is answered, which says nothing of us."""
        self.open()
        self.hears(Ping())
        self.assertEqual(self.said(), [Pong()])


class RefusedTests(LinkCase):
    """The relay does not want us, or not any more."""

    def test_first_attempt(self) -> None:
        """Each code before the first login ends the program with one line of reason, and the documented status."""
        for code in [*REFUSALS, *FAREWELLS]:
            self.setUp()
            self.open()
            self.hears(GREETING, Goodbye(code, "") if code in FAREWELLS else Refused(code, "\x1b[31mgo away"))
            self.transport.lose()
            error = self.error()
            self.assertIn(REASONS[code], str(error))
            self.assertIn("relay.example:12345", str(error))
            self.assertNotIn("go away", str(error))
            expected = Exit.PROTOCOL
            names = (Code.NAME_OWNED, Code.BAD_NAME, Code.NAME_TOO_LONG, Code.TOO_MANY_LOGINS)
            if code in (Code.FULL, Code.REPLACED, Code.BANNED, *names):
                expected = Exit.NOT_PERMITTED
            elif code in (Code.BUSY, Code.TIMED_OUT, Code.SHUTDOWN, Code.FAILED):
                expected = Exit.UNREACHABLE
            self.assertEqual(error.status, expected, code)
            self.assertEqual((self.endpoint.attempts, self.listener.downs), (1, []))

    def test_before_greeting(self) -> None:
        """A refusal may be the first thing said; we answer with a goodbye and no name."""
        self.open()
        self.hears(Refused(Code.FULL, ""))
        self.assertEqual(self.said(), [farewell(Code.QUIT)])
        self.transport.lose()
        self.assertEqual(self.error().status, Exit.NOT_PERMITTED)

    def test_on_coming_back(self) -> None:
        """After a lost link reasons that pass are tried again, and the others end the program."""
        for code in [*REFUSALS, *FAREWELLS]:
            self.setUp()
            self.log_in()
            self.lose()
            self.open()
            self.hears(GREETING, Goodbye(code, "") if code in FAREWELLS else Refused(code, ""))
            self.transport.lose()
            if code in PASSING:
                self.assertEqual((len(self.listener.downs), self.errors), (2, []), code)
                self.assertIn(REASONS[code], self.listener.downs[-1][0])
            else:
                self.assertEqual(len(self.listener.downs), 1)
                self.assertIn(REASONS[code], str(self.error()))

    def test_later(self) -> None:
        """A refusal of what we sent ends the program: trying again would send it again."""
        for code in REFUSALS:
            self.setUp()
            self.log_in()
            self.hears(Refused(code, ""))
            self.transport.lose()
            self.assertEqual(self.error().status, Exit.PROTOCOL)
            self.assertIn(REASONS[code], str(self.error()))
            self.assertEqual(self.listener.downs, [])

    def test_replaced(self) -> None:
        """Whoever logged in again somewhere else is not pushed out in turn: the program ends."""
        self.log_in()
        self.hears(Goodbye(Code.REPLACED, ""))
        self.transport.lose()
        self.assertEqual((self.error().status, self.listener.downs), (Exit.NOT_PERMITTED, []))
        self.assertIn(REASONS[Code.REPLACED], str(self.error()))

    def test_banned(self) -> None:
        """Whom the operator does not want any more does not try again: the program ends, and says whom to ask."""
        self.log_in()
        self.hears(Goodbye(Code.BANNED, ""))
        self.transport.lose()
        self.assertEqual((self.error().status, self.listener.downs), (Exit.NOT_PERMITTED, []))
        self.assertIn(f"{REASONS[Code.BANNED]}; ask the operator", str(self.error()))

    def test_goodbye_later(self) -> None:
        """After any other goodbye the link is tried again, and its code is told as the reason."""
        for code in set(FAREWELLS) - {Code.REPLACED, Code.BANNED}:
            self.setUp()
            self.log_in()
            self.hears(Goodbye(code, "not this text"))
            self.assertEqual(self.said(), [farewell(Code.QUIT)])
            self.transport.lose()
            self.assertEqual(self.listener.downs, [(f"the relay says: {REASONS[code]}", 0.25)])
            self.assertEqual(self.errors, [])

    def test_nothing_is_handled_after_it(self) -> None:
        """What comes after a goodbye in the same chunk is not handled."""
        self.log_in()
        self.hears(farewell(Code.SHUTDOWN), wire.Roster("#a", 0, [], 0, 0))
        self.assertEqual(self.listener.received_messages, [])


class UnreachableTests(LinkCase):
    """The first attempt fails."""

    def test_no_connection(self) -> None:
        """Each way not to be connected is one line that says what to do, with status 69, and no second attempt."""
        for error, words in (
            (ConnectionRefusedError(), "nothing listens at relay.example:12345"),
            (DNSLookupError("no results"), "no host called relay.example"),
            (TimeoutError(), "does not answer"),
            (CancelledError(), "does not answer"),
            (ConnectError(ENOENT, "No such file"), "there is no socket relay.example:12345"),
            (OSError("Network\nis  unreachable"), "cannot reach relay.example:12345: Network is unreachable"),
        ):
            self.setUp()
            self.endpoint.fail(error)
            self.assertIn(words, str(self.error()))
            self.assertEqual(self.error().status, Exit.UNREACHABLE)
            self.clock.advance(100)
            self.assertEqual((self.endpoint.attempts, self.listener.downs), (1, []))

    def test_no_answer_to_connecting(self) -> None:
        """A connection that is not made in time is given up."""
        self.clock.advance(LOGIN_S)
        self.assertEqual(self.endpoint.cancelled, 1)
        self.assertIn("does not answer in time", str(self.error()))
        self.assertEqual(self.error().status, Exit.UNREACHABLE)

    def test_silence(self) -> None:
        """What says nothing is cut off in time and has heard nothing; its user is told of TLS."""
        self.open()
        self.clock.advance(LOGIN_S)
        self.clock.advance(0)
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.said(), [])
        self.assertIn("does not answer in time", str(self.error()))
        self.assertIn("it is securechat://relay.example:12345", str(self.error()))

    def test_silence_after_greeting(self) -> None:
        """A relay that greets and never welcomes is cut off in time."""
        self.open()
        self.clock.advance(LOGIN_S - 1)
        self.hears(GREETING)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertIn("does not answer in time", str(self.error()))

    def test_wrong_server(self) -> None:
        """What talks something else is no relay, and hears no name."""
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"\x15\x03\x03\x00\x02\x02\x46",
            bytes(9),
        ):
            self.setUp()
            self.open()
            self.hears_bytes(data)
            self.assertNotIn(b"alice", self.transport.value())
            self.transport.lose()
            self.assertIn("no securechat relay", str(self.error()))
            self.assertIn("if it speaks TLS", str(self.error()))
            self.assertEqual(self.error().status, Exit.UNREACHABLE)

    def test_closed_at_once(self) -> None:
        """A connection that is closed before anything was said is told with what it can mean."""
        self.open()
        self.transport.lose()
        self.assertIn("closed the connection", str(self.error()))
        self.assertEqual(self.error().status, Exit.UNREACHABLE)
