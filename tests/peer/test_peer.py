"""The documents against the world: a client that keeps to them, with our relay and our client.

The plain client is `tests/peer/client.py`; the relay and our client are processes. What the plain client does wrong
here, it does on purpose.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.peer import harness, link, log
from tests.peer.client import PlainClient
from tests.peer.link import WrongKeyError
from tests.peer.sc1 import X25519, lp
from tests.peer.state import now_ms
from tests.peer.wire import PeerError

ID = bytes(16)
EPOCH = bytes(32)


class TLSTests(harness.TalkContract):
    """Over TLS, as between machines."""

    def address(self) -> str:
        """A relay with TLS."""
        return harness.secure_relay().addresses[0]

    def test_wrong_fingerprint(self) -> None:
        """The plain client says nothing to a relay with another key than the address says."""
        address, _, fingerprint = self.address().partition("#")
        with self.assertRaises(WrongKeyError):
            PlainClient(f"{address}#{int(fingerprint, 16) ^ 1:064x}", harness.PATIENCE_S)
        self.connect(address).ping()

    def test_old_tls(self) -> None:
        """The relay speaks nothing older than TLS 1.3."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        place = urlsplit(self.address()).netloc
        plain = link.connect(f"securechat+tcp://{place}", harness.PATIENCE_S)
        assert isinstance(plain, socket.socket)
        with plain, self.assertRaises(ssl.SSLError):
            context.wrap_socket(plain)

    def test_relayed_login(self) -> None:
        """A login that was signed for another link, another relay or no TLS at all is refused."""
        person, other = self.new_person(), self.connect(self.address())
        assert isinstance(other.link, link.SecureLink)
        bound = ({"exporter": other.link.exporter}, {"nonce": other.greeting[2]}, {"fingerprint": EPOCH})
        for wrong in (*bound, {"exporter": b"", "fingerprint": b""}):
            plain = self.connect(self.address())
            plain.send(*plain.hello(person.keys, **wrong))
            self.assertEqual(["Refused", "bad-certificate"], plain.receive()[:2])
        other.login(person)


class TCPTests(harness.TalkContract):
    """Over TCP on loopback."""

    def address(self) -> str:
        """A relay without TLS."""
        return harness.plain_relay().addresses[0]

    def test_tls_at_a_plain_port(self) -> None:
        """Who speaks TLS to a port without it is told that the frame is too long."""
        plain = self.connect(self.address())
        plain.link.sendall(bytes.fromhex("160301020001"))
        self.assertEqual([["Refused", "oversized-frame"]], [last[:2] for last in plain.wait_for_end()])


class UnixTests(harness.TalkContract):
    """Over a Unix socket."""

    def address(self) -> str:
        """A relay at a Unix socket."""
        return harness.secure_relay().addresses[1]


class RoomTests(harness.PeerCase):
    """Plain clients among themselves: rooms, and who hears what in them."""

    def setUp(self) -> None:
        """Two plain clients are in an open room of their own."""
        self.address = harness.plain_relay().addresses[0]
        self.room = self.new_room()
        self.plain = self.login(self.address, self.room)
        self.other = self.login(self.address, self.room)
        self.meet(self.plain, self.room, self.other.name)

    def test_both_ways(self) -> None:
        """Each hears the other, and neither hears itself."""
        self.say(self.plain, self.room, "one", "two")
        self.say(self.other, self.room, "three")
        self.assert_heard(self.other, self.room, self.plain.name, "one")
        self.assert_heard(self.other, self.room, self.plain.name, "two")
        self.assert_heard(self.plain, self.room, self.other.name, "three")

    def test_newcomer(self) -> None:
        """Who joins later reads what is said from then on, by the same sessions, and nothing older."""
        self.say(self.plain, self.room, "before")
        third = self.login(self.address, self.room)
        self.meet(self.plain, self.room, self.other.name, third.name)
        session = self.plain.rooms[self.room].sending
        self.say(self.plain, self.room, "after")
        self.assertIs(session, self.plain.rooms[self.room].sending)
        self.assert_heard(third, self.room, self.plain.name, "after")
        self.assert_heard(self.other, self.room, self.plain.name, "before")
        self.assert_heard(self.other, self.room, self.plain.name, "after")

    def test_put_out(self) -> None:
        """Who was put out hears of it and then nothing, and cannot read what others were given later."""
        third = self.login(self.address, self.room)
        self.meet(self.plain, self.room, self.other.name, third.name)
        self.say(self.plain, self.room, "with you")
        self.assert_heard(third, self.room, self.plain.name, "with you")
        captured: list[tuple[int, bytes]] = []
        hear = self.other.on_delivery

        def tap(name: str, first_seq: int, items: list[tuple[str, int, bytes]]) -> None:
            captured.extend((first_seq + at, item[2]) for at, item in enumerate(items))
            hear(name, first_seq, items)

        self.other.on_delivery = tap  # type: ignore[method-assign]
        self.plain.remove(self.room, third.name)
        self.say(self.plain, self.room, "without you")
        self.other.next_message()
        self.assert_heard(self.other, self.room, self.plain.name, "without you")
        self.until(third, lambda: not third.is_member(self.room))
        third.ping()
        self.assertFalse(third.heard)
        seq, sealed = captured[-1]
        third.on_delivery(self.room, seq, [(self.plain.name, 0, sealed)])
        self.assert_problem(third, "not a member")

    def test_leave_and_return(self) -> None:
        """Who leaves is no member until they join again, and then reads what is said from then on."""
        self.other.leave(self.room)
        self.assertFalse(self.other.is_member(self.room))
        self.meet(self.plain, self.room)
        self.say(self.plain, self.room, "alone")
        self.other.enter(self.room)
        self.meet(self.plain, self.room, self.other.name)
        self.say(self.plain, self.room, "together")
        self.assert_heard(self.other, self.room, self.plain.name, "together")

    def test_closed(self) -> None:
        """A closed room takes nobody who was not added, and shows them nothing."""
        room = self.new_room()
        self.plain.founding(room)
        with self.assertRaisesRegex(PeerError, "not-permitted"):
            self.other.ask(room)
        self.plain.add(room, self.other.name)
        self.until(self.other, lambda: room in self.other.rooms and self.other.rooms[room].keys)
        self.assertEqual(self.names(self.plain, room), self.names(self.other, room))
        self.assertIn(room, self.other.rooms)

    def test_direct(self) -> None:
        """A direct room is for the two in its name; who left it is added again by who stayed."""
        room = self.plain.direct(self.other.name)
        self.until(self.other, lambda: room in self.other.rooms and self.other.rooms[room].keys)
        third = self.login(self.address)
        with self.assertRaisesRegex(PeerError, "not-permitted"):
            third.ask(room)
        self.other.leave(room)
        self.meet(self.plain, room)
        self.plain.direct(self.other.name)
        self.say(self.plain, room, "again")
        self.assert_heard(self.other, room, self.plain.name, "again")

    def test_away(self) -> None:
        """Who was away is still a member, gets keys and messages that waited, and reads on with nothing missing."""
        person = self.other.person
        self.other.quit()
        self.say(self.plain, self.room, "you are away")
        back = self.login(self.address, person=person)
        self.assertEqual([self.room], back.welcome)
        back.ask(self.room)
        self.assertEqual(1, back.rooms[self.room].last_seq)
        self.say(self.plain, self.room, "you are back")
        self.assert_heard(back, self.room, self.plain.name, "you are away")
        self.assert_heard(back, self.room, self.plain.name, "you are back")

    def test_presence(self) -> None:
        """Members who enter and go away are told to those who are there."""
        person = self.other.person
        self.other.quit()
        self.until(self.plain, lambda: self.other.name not in self.plain.rooms[self.room].present)
        self.login(self.address, self.room, person=person)
        self.until(self.plain, lambda: self.other.name in self.plain.rooms[self.room].present)
        self.assertEqual([self.plain.name, person.keys.name], self.names(self.plain, self.room))

    def test_asked(self) -> None:
        """Who lacks a key asks for it, is handed the present one, and reads on; what was said before is closed."""
        self.other.person.keys.prekeys.clear()
        self.other.person.keys.offer(now_ms())
        self.say(self.plain, self.room, "closed to you")
        self.until(self.other, lambda: self.other.rooms[self.room].questions)
        self.other.send("Renew", self.other.person.keys.newest_record(now_ms()))
        self.other.ping()
        self.plain.wait_for("Asked")
        self.plain.wait_for("Prekeys")
        self.assert_problem(self.other, "key gone")
        self.say(self.plain, self.room, "open to you")
        self.assert_heard(self.other, self.room, self.plain.name, "open to you")

    def test_question_of_a_stranger(self) -> None:
        """The question of who is no member is not passed on, and neither is what they hand."""
        stranger = self.login(self.address)
        self.say(self.plain, self.room, "hello")
        session = self.plain.rooms[self.room].sending
        assert session is not None
        stranger.send("Ask", self.room, self.plain.person.keys.device, session.sid)
        stranger.send("Hand", self.room, [(self.other.person.keys.device, b"key")])
        stranger.ping()
        self.say(self.other, self.room, "nothing came of it")
        self.until(self.plain, lambda: self.plain.heard)
        self.assertFalse(self.plain.rooms[self.room].asked)

    def test_rekey(self) -> None:
        """A new session begins when its owner wants it, and after somebody has left."""
        sessions = []
        third = self.login(self.address, self.room)
        self.meet(self.plain, self.room, self.other.name, third.name)
        for change in (lambda: None, lambda: self.plain.rekey(self.room), lambda: third.leave(self.room)):
            change()
            if not third.is_member(self.room):
                self.meet(self.plain, self.room, self.other.name)
            self.say(self.plain, self.room, "hello")
            self.assert_heard(self.other, self.room, self.plain.name, "hello")
            sessions.append(self.plain.rooms[self.room].sending)
        self.assertEqual(3, len({id(each) for each in sessions}))

    def test_changed_key(self) -> None:
        """A key that is another than the pinned one is not added, and nothing is sealed to it."""
        other = self.new_person()
        self.plain.person.meet(other.keys.name, EPOCH)
        third = self.login(self.address, person=other)
        with self.assertRaisesRegex(PeerError, "changed"):
            self.plain.add(self.room, third.name)
        third.enter(self.room)
        self.meet(self.plain, self.room, self.other.name, third.name)
        self.say(self.plain, self.room, "not for the new one")
        self.assert_heard(self.other, self.room, self.plain.name, "not for the new one")
        session = self.plain.rooms[self.room].sending
        assert session is not None
        self.assertEqual({self.other.person.keys.device}, session.handed)


class MixedTests(harness.PeerCase):
    """Clients of both makes in one room."""

    def setUp(self) -> None:
        """Two clients of ours and a plain one are in an open room, and have heard each other."""
        self.address = harness.secure_relay().addresses[0]
        self.room = self.new_room()
        self.plain = self.login(self.address, self.room)
        self.ours = [harness.Ours(self.address, "--json", "--room", self.room) for _ in range(2)]
        for each in self.ours:
            self.addCleanup(each.end)
            each.expect("key", room=self.room)
        self.names_of_ours = [each.name for each in self.ours]
        self.shown: dict[str, list[str]] = {name: [] for name in self.names_of_ours}
        self.meet(self.plain, self.room, *self.names_of_ours)
        self.everybody_hears("hello")

    def everybody_hears(self, text: str) -> None:
        """Each says something, and all the others hear it."""
        self.say(self.plain, self.room, f"{text} from {self.plain.name}")
        for each in self.ours:
            each.say(self.room, f"{text} from {each.name}")
        heard = {self.plain.next_message().text for _ in self.ours}
        self.assertEqual({f"{text} from {name}" for name in self.names_of_ours}, heard)
        for each in self.ours:
            for name in {self.plain.name, *self.names_of_ours} - {each.name}:
                self.shown[each.name] += self.texts(each, f"{text} from {name}")

    def texts(self, ours: harness.Ours, until: str) -> list[str]:
        """What one of our clients shows up to a text, if it has not shown that before."""
        if until in self.shown[ours.name]:
            return []
        events = ours.until("message", text=until)
        return [event["text"] for event in events if event["type"] == "message"]

    def test_later(self) -> None:
        """Whoever joins later, of either make, reads nothing older."""
        plain, ours = self.login(self.address, self.room), harness.Ours(self.address, "--json", "--room", self.room)
        self.addCleanup(ours.end)
        before = ours.until("key", room=self.room)
        self.meet(self.plain, self.room, *self.names_of_ours, plain.name, ours.name)
        self.say(self.plain, self.room, "for all of you")
        self.assert_heard(plain, self.room, self.plain.name, "for all of you")
        shown = before + ours.until("message", text="for all of you")
        self.assertEqual(["for all of you"], [each["text"] for each in shown if each["type"] == "message"])

    def test_put_out(self) -> None:
        """Whoever is put out, of either make, reads nothing newer, and the others talk on."""
        gone = self.ours.pop()
        self.names_of_ours.pop()
        self.plain.remove(self.room, gone.name)
        self.everybody_hears("without them")
        self.say(self.plain, self.plain.direct(gone.name), "that is all")
        self.assertNotIn("without them", str(gone.until("message", text="that is all")))

    def test_suites(self) -> None:
        """A device without ML-KEM, whose prekeys are X25519's, hears our client and is heard."""
        person = self.new_person()
        person.keys.offer(now_ms(), X25519)
        plain = self.login(self.address, self.room, person=person)
        self.ours[0].say(self.room, "by X25519")
        self.assert_heard(plain, self.room, self.ours[0].name, "by X25519")
        self.say(plain, self.room, "by X-Wing")
        self.ours[1].expect("message", sender=plain.name, text="by X-Wing")

    def test_weaker(self) -> None:
        """Once X-Wing was used for a device, our client seals nothing to it by X25519."""
        third = self.login(self.address, self.room)
        third.send("Renew", third.person.keys.offer(now_ms(), X25519))
        third.ping()
        self.plain.send("Renew", self.plain.person.keys.offer(now_ms(), X25519))
        self.plain.ping()
        # Were nobody put out, sessions would go on and no key be handed.
        self.ours.pop().end()
        self.plain.remove(self.room, self.names_of_ours.pop())
        self.ours[0].say(self.room, "not by less")
        self.assert_heard(third, self.room, self.ours[0].name, "not by less")
        self.until(self.plain, lambda: self.plain.rooms[self.room].held)
        self.plain.ping()
        self.assertFalse(self.plain.heard)


class LogTests(harness.PeerCase):
    """What the relay takes into a log, and what it declines."""

    def setUp(self) -> None:
        """Somebody has founded a closed room, with a member and a stranger."""
        self.address = harness.plain_relay().addresses[0]
        self.room = self.new_room()
        self.owner, self.member, self.stranger = (self.login(self.address) for _ in range(3))
        self.owner.founding(self.room)
        self.owner.add(self.room, self.member.name)
        self.until(self.member, lambda: self.room in self.member.rooms and self.member.rooms[self.room].keys)

    def assert_declined(self, code: str, what: Callable[[], object]) -> None:
        """It is declined with this code, and the link stays."""
        with self.assertRaisesRegex(PeerError, f"^{code}$"):
            what()

    def entry(self, by: PlainClient, op: str, subject: bytes, role: str = "", detail: bytes = b"") -> bytes:
        """An entry that would be the next."""
        known = self.owner.rooms[self.room].log
        return log.entry(
            by.person.keys.device_key, len(known.entries), known.last, op, subject, role, now_ms(), detail
        )

    def test_rights(self) -> None:
        """A member may leave and nothing else; an admin adds and removes members; an owner does all of it."""
        identity = self.stranger.person.keys.identity
        owner = self.owner.person.keys.identity
        member = self.member.person.keys.identity
        policy = lp(b"open", bytes(4))
        forbidden = (
            lambda: self.member.add(self.room, self.stranger.name),
            lambda: self.member.remove(self.room, self.owner.name),
            lambda: self.member.append(self.room, "role", member, "owner"),
            lambda: self.member.append(self.room, "policy", member, "", policy),
        )
        for what in forbidden:
            self.assert_declined("bad-entry", what)
        self.owner.append(self.room, "role", member, "admin")
        self.until(self.member, lambda: self.member.rooms[self.room].log.members[member].role == "admin")
        self.member.add(self.room, self.stranger.name)
        self.assert_declined("bad-entry", lambda: self.member.remove(self.room, self.owner.name))
        self.member.remove(self.room, self.stranger.name)
        self.until(self.owner, lambda: len(self.owner.rooms[self.room].log.entries) == 5)
        self.owner.append(self.room, "policy", owner, "", policy)
        self.stranger.enter(self.room)
        self.assertIn(identity, self.stranger.rooms[self.room].log.members)

    def test_forged(self) -> None:
        """An entry that is altered, of somebody else's device, or of nobody's, is declined."""
        keys = self.stranger.person.keys
        leave = self.entry(self.owner, "leave", self.owner.person.keys.identity)
        forged = [leave[:at] + bytes([leave[at] ^ 1]) + leave[at + 1 :] for at in range(4, len(leave), 11)]
        foreign = self.entry(self.member, "leave", self.member.person.keys.identity)
        join = self.entry(self.stranger, "join", keys.identity, "member", keys.certificate)
        for by, entries in ((self.owner, [*forged, foreign, leave[:-1], leave + b"\0"]), (self.stranger, [join])):
            for entry in entries[:18]:
                by.send("Append", self.room, entry)
                kind, room, ids, code = by.wait_for("Declined")
                self.assertEqual(("Declined", self.room, []), (kind, room, ids))
                self.assertIn(code, ("bad-entry", "stale-entry"))
        self.assertEqual([self.owner.name, self.member.name], self.names(self.owner, self.room))

    def test_races(self) -> None:
        """Of two who append at once one is declined as stale, and succeeds when it has read on."""
        self.owner.append(self.room, "role", self.member.person.keys.identity, "admin")
        self.assert_declined("stale-entry", lambda: self.member.leave(self.room))
        self.member.leave(self.room)
        self.assert_declined("stale-entry", lambda: self.stranger.founding(self.room))

    def test_foundings(self) -> None:
        """A room is founded under its own name, by who is in it, and a direct room closed."""
        keys = self.stranger.person.keys
        certificate, other = keys.certificate, self.owner.person.keys.certificate
        names = sorted((self.stranger.name, self.owner.name))
        direct = "@" + "+".join(names)
        for room, said, who, policy in (
            ("#one", "#two", certificate, b"closed"),
            ("#one", "#one", other, b"closed"),
            (direct, direct, certificate, b"open"),
            ("@a+b", "@a+b", certificate, b"closed"),
        ):
            detail = lp(who, said.encode(), ID, lp(policy, bytes(4)))
            entry = log.entry(keys.device_key, 0, EPOCH, "create", keys.identity, "owner", now_ms(), detail)
            self.stranger.send("Append", room, entry)
            self.assertEqual(["Declined", room, [], "bad-entry"], self.stranger.wait_for("Declined"))
        self.assert_declined("no-such-room", lambda: self.stranger.ask("#one"))

    def test_forgotten(self) -> None:
        """A room whose last member has left is no more, and somebody else may found it."""
        self.owner.remove(self.room, self.member.name)
        self.owner.leave(self.room)
        self.assert_declined("no-such-room", lambda: self.owner.ask(self.room))
        self.stranger.founding(self.room)
        self.assert_declined("not-permitted", lambda: self.owner.ask(self.room))

    def test_have(self) -> None:
        """Who knows the beginning of a log is told the rest of it, and who knows more is told of nothing."""
        for have, first in ((0, 0), (1, 1), (2, 2), (9, 2)):
            self.owner.send("Enter", self.room, have, 2**63 - 1)
            _, _, told, entries, total, last_seq = self.owner.wait_for("Roster")
            self.assertEqual((first, 2 - first, 2, 0), (told, len(entries), total, last_seq))
            for kind in ("Present", "SessionKey"):
                self.assertEqual([kind, self.room], self.owner.receive()[:2])


class PostTests(harness.PeerCase):
    """How posts are numbered, repeated and answered."""

    def setUp(self) -> None:
        """Two plain clients are in a room of their own."""
        self.address = harness.plain_relay().addresses[0]
        self.room = self.new_room()
        self.plain = self.login(self.address, self.room)
        self.other = self.login(self.address, self.room)
        self.meet(self.plain, self.room, self.other.name)

    def test_repeated(self) -> None:
        """An id that was taken is acknowledged with its first number, on any link and for any epoch."""
        post_id = self.plain.say(self.room, "once")
        self.plain.settle()
        self.plain.quit()
        again = self.login(self.address, self.room, person=self.plain.person)
        again.post(self.room, [(post_id, b"anything")], EPOCH)
        self.assertEqual(["Ack", self.room, [[post_id, 1]]], again.wait_for("Ack"))
        self.say(again, self.room, "twice")
        self.assert_heard(self.other, self.room, self.plain.name, "once")
        self.assert_heard(self.other, self.room, self.plain.name, "twice")

    def test_lost_link(self) -> None:
        """What was posted and not acknowledged is sealed again on the next link, and shown once."""
        person = self.plain.person
        self.say(self.plain, self.room, "before")
        self.plain.say(self.room, "uncertain")
        self.plain.link.close()
        again = self.login(self.address, person=person)
        again.ask(self.room)
        again.settle()
        self.say(again, self.room, "after")
        texts = [self.other.next_message() for _ in range(3)]
        self.assertEqual(["before", "uncertain", "after"], [each.text for each in texts])

    def test_sealed_again(self) -> None:
        """What was declined for its epoch is sealed again, and its reader misses nothing by that."""
        self.say(self.plain, self.room, "before")
        third = self.login(self.address, self.room)
        said = [self.plain.say(self.room, text) for text in ("one", "two")]
        self.plain.settle()
        for text in ("before", "one", "two"):
            self.assert_heard(self.other, self.room, self.plain.name, text)
        self.assertEqual([2, 3], [self.plain.acked[each] for each in said])
        session = self.plain.rooms[self.room].sending
        assert session is not None
        self.assertEqual({1, 2}, session.void)
        self.assert_heard(third, self.room, self.plain.name, "one")

    def test_before_goodbye(self) -> None:
        """Posts right before a goodbye, or before what is refused, are delivered though nothing answers them."""
        for last in (["Goodbye", "quit", ""], ["Nonsense"]):
            hasty = self.login(self.address, self.room)
            hasty.post(self.room, [(os.urandom(16), b"sealed")])
            hasty.send(*last)
            self.assertIn(hasty.wait_for_end()[-1][0], ("Goodbye", "Refused"))
            self.assert_problem(self.other, "not authentic")

    def test_half_closed(self) -> None:
        """A client that closes its direction has left: the others are told, and the relay closes too."""
        assert isinstance(self.plain.link, socket.socket)
        self.plain.link.shutdown(socket.SHUT_WR)
        self.assertEqual([], self.plain.wait_for_end())
        self.assertEqual(["Presence", self.room, self.plain.name, False], self.other.wait_for("Presence"))

    def test_replaced(self) -> None:
        """A second login of the same identity ends the first, which hears why; a name is nobody else's."""
        again = self.login(self.address, self.room, person=self.plain.person)
        self.assertEqual(["Goodbye", "replaced"], self.plain.wait_for_end()[-1][:2])
        again.ping()
        with self.assertRaisesRegex(PeerError, "name-owned"):
            self.connect(self.address).login(again.name)

    def test_declined(self) -> None:
        """What cannot be carried out is declined with the documented code, and the link stays."""
        name, other = self.plain.name, self.other.name
        no_rooms = ("##", "lobby", "#Up", "#a b", "#\x1b[31m", "#" + "a" * 33, "@" + name)
        asked: dict[str, tuple[str, tuple[object, ...]]] = {
            **{f"enter {room!r}": ("bad-room", ("Enter", room, 0, 0)) for room in no_rooms},
            **{f"found {room!r}": ("bad-room", ("Append", room, b"entry")) for room in no_rooms},
            "enter with oneself": ("bad-room", ("Enter", f"@{name}+{name}", 0, 0)),
            "enter in the wrong order": ("bad-room", ("Enter", f"@{max(name, other)}+{min(name, other)}", 0, 0)),
            "enter what nobody founded": ("no-such-room", ("Enter", "@alice+bob", 0, 0)),
            "append to it": ("bad-entry", ("Append", "#elsewhere", b"entry")),
            "post from outside": ("not-a-member", ("Post", "#elsewhere", EPOCH, [[ID, b"sealed"]])),
            "post to no room": ("not-a-member", ("Post", "@b+a", EPOCH, [[ID, b"sealed"]])),
            "post for another epoch": (
                "stale-epoch",
                ("Post", self.room, EPOCH, [[ID, b"sealed"], [bytes(15) + b"1", b"sealed"]]),
            ),
        }
        for label, (code, message) in asked.items():
            self.plain.send(*message)
            ids = [item[0] for item in message[3]] if isinstance(message[-1], list) else []  # type: ignore[attr-defined]
            self.assertEqual(["Declined", message[1], ids, code], self.plain.wait_for("Declined"), label)
        self.plain.ping()

    def test_lookups(self) -> None:
        """Names and prekeys can be asked for by whoever is logged in, and nobody's have no bytes."""
        keys = self.other.person.keys
        self.assertEqual((keys.certificate, True), self.plain.lookup(self.other.name))
        self.assertEqual((b"", False), self.plain.lookup("nobody"))
        self.plain.send("Want", [keys.device, EPOCH])
        answer = self.plain.wait_for("Prekeys")
        self.assertEqual([[keys.device, keys.newest_record(now_ms())], [EPOCH, b""]], answer[1])
        renewed = keys.offer(now_ms())
        self.other.send("Renew", renewed)
        self.other.ping()
        self.plain.send("Want", [keys.device] * 64)
        items: list[object] = []
        while len(items) < 64:
            items += self.plain.wait_for("Prekeys")[1]
        self.assertEqual([[keys.device, renewed]] * 64, items)
