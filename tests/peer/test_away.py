"""Coming back, on the wire: what both plain clients are given that were away, and what they are not."""

from __future__ import annotations

from typing import Any
from unittest import mock

import msgspec

from tests.peer import harness, test_plain
from tests.peer.client import PlainClient as Client
from tests.peer.plain import PlainClient


def captured(client: PlainClient, kind: str) -> list[list[Any]]:
    """The messages of a kind that came on its link."""
    return [message for message in map(msgspec.msgpack.decode, client.captured) if message[0] == kind]


class PlainAwayTests(test_plain.RealCase):
    """`plain.py` at a relay of its own."""

    def setUp(self) -> None:
        """Two are in a closed room, and one of them goes away."""
        super().setUp()
        self.one, away = self.plain("one", ""), self.plain("away", "")
        self.person = away.person
        self.one.found("#den")
        self.one.say("#den", "before they came")
        self.one.add("#den", "away")
        self.one.say("#den", "hello")
        self.hears(away, "hello", "one", "#den")
        away.say("#den", "bye")
        self.hears(self.one, "bye", "away", "#den")
        away.quit()

    def back(self) -> PlainClient:
        """They come back, and all that the relay has for them has come."""
        client = self.plain(self.person, "")
        while client.receive(1):
            pass
        return client

    def texts(self, client: PlainClient) -> list[str | None]:
        """What has been heard, in its order."""
        return [message[3] for message in client.inbox]

    def test_missed(self) -> None:
        """What was missed comes in order and once, over a change of the members, and on the next link no more."""
        self.one.say("#den", "in their epoch")
        self.plain("two", "")
        self.one.add("#den", "two")
        self.one.say("#den", "in the next")
        again = self.back()
        self.assertEqual(["in their epoch", "in the next"], self.texts(again))
        self.assertEqual([4, 5], [message[1] for message in again.inbox])
        self.assertEqual(2, len(captured(again, "SessionKey")))
        again.quit()
        once_more = self.back()
        self.assertEqual([], self.texts(once_more))
        self.assertEqual([], captured(once_more, "Delivery"))
        self.one.say("#den", "live")
        self.hears(once_more, "live", "one", "#den")

    def test_own(self) -> None:
        """Their own messages come with the others' to who knows none, are counted, and are not shown."""
        self.person.rooms["#den"].known = 0
        again = self.back()
        self.assertEqual([("#den", 2, "one", None, "replayed")], list(again.inbox))
        senders = [item[0] for message in captured(again, "Delivery") for item in message[3]]
        self.assertEqual(["one", "away"], senders)
        self.assertEqual(3, self.person.rooms["#den"].known)

    def test_twice(self) -> None:
        """What comes again on one link, as it entered again with a lower number, is dropped by its number."""
        again = self.back()
        again._send("Enter", "#den", 0, 0)
        while again.receive(1):
            pass
        self.assertEqual(1, len(captured(again, "Delivery")))
        self.assertEqual([], list(again.inbox))

    def test_past_key_is_for_reading(self) -> None:
        """Who was given the key of a past epoch last posts for the present one."""
        self.one.say("#den", "in their epoch")
        two = self.plain("two", "")
        self.one.add("#den", "two")
        again = self.back()
        self.assertNotEqual(captured(again, "SessionKey")[-1][2], self.person.rooms["#den"].epoch)
        again.say("#den", "in the present one")
        self.hears(two, "in the present one", "away", "#den")

    def test_added_while_away(self) -> None:
        """Who is added while away gets what is said since, and no number, text or key of before."""
        two = self.plain("two", "")
        self.person = two.person
        two.quit()
        self.one.say("#den", "without them")
        self.one.add("#den", "two")
        self.one.say("#den", "with them")
        again = self.back()
        self.assertEqual(["with them"], self.texts(again))
        self.assertEqual([["Gap", "#den", 1, 4, "not-a-member"]], captured(again, "Gap"))
        self.assertEqual([self.person.rooms["#den"].epoch], [each[2] for each in captured(again, "SessionKey")])

    def test_keys_of_members_only(self) -> None:
        """Who was put out and added again is given the keys of their own epochs and no message of those between."""
        self.plain("two", "")
        self.one.remove("#den", "away")
        self.one.say("#den", "without them")
        self.one.add("#den", "two")
        self.one.say("#den", "still without them")
        self.one.add("#den", "away")
        self.one.say("#den", "with them")
        self.person.rooms["#den"].known = 0
        again = self.back()
        room = self.person.rooms["#den"]
        given = {message[2] for message in captured(again, "SessionKey")}
        mine = {epoch for epoch, (_, _, members) in room.epochs.items() if self.person.dk in members}
        self.assertEqual((5, 2), (len(room.epochs), len(mine)))
        self.assertEqual(mine, given)
        # The number is forgotten, the session is not: "hello" was read already.
        self.assertEqual([(None, "replayed"), ("with them", "")], [message[3:] for message in again.inbox])
        self.assertEqual([[1, 1], [4, 5]], [message[2:4] for message in captured(again, "Gap")])
        self.assertEqual({"not-a-member"}, {message[4] for message in captured(again, "Gap")})
        numbers = [message[2] + at for message in captured(again, "Delivery") for at in range(len(message[3]))]
        self.assertEqual([2, 3, 6], numbers)

    def test_keys_until_seen(self) -> None:
        """Sealed keys come again until they are `Seen`, which does no harm, and then no more."""
        self.one.rekey("#den")
        self.one.say("#den", "by a new session")
        with mock.patch.object(PlainClient, "_see"):
            first = self.back()
            self.hears(first, "by a new session", "one", "#den")
            second = self.back()
            self.one.say("#den", "still open")
            self.hears(second, "still open", "one", "#den")
            self.assertEqual(1, len(captured(first, "SealedKey")))
            self.assertTrue(captured(first, "SealedKey") == captured(second, "SealedKey"))
        self.back().quit()
        self.assertEqual([], captured(self.back(), "SealedKey"))

    def test_not_kept(self) -> None:
        """A relay that keeps nothing says so, and what is said from then on is heard."""
        (address,) = self.start("--in-memory").addresses
        one, away = self.plain("one", address=address), self.plain("away", address=address)
        away.quit()
        one.say("#lobby", "missed")
        again = self.plain(away.person, "", address)
        self.assertEqual(("#lobby", 1, "", None, "not-kept since 1"), again.next_message(5))
        one.say("#lobby", "live")
        self.hears(again, "live", "one")


class AwayTests(harness.PeerCase):
    """`client.py` at a relay that is shared."""

    def setUp(self) -> None:
        """Two are in a room of their own, and one of them goes away."""
        self.address = harness.plain_relay().addresses[0]
        self.room = self.new_room()
        self.plain = self.login(self.address, self.room)
        other = self.login(self.address, self.room)
        self.meet(self.plain, self.room, other.name)
        self.say(other, self.room, "bye")
        self.assert_heard(self.plain, self.room, other.name, "bye")
        self.person = other.person
        other.quit()

    def back(self, room: str = "") -> Client:
        """They come back, and know what was said."""
        client = self.login(self.address, person=self.person)
        client.ask(room or self.room)
        client.catch_up(room or self.room)
        return client

    def test_missed(self) -> None:
        """What was missed over a change of the members comes in order and once, and on the next link no more."""
        texts = [str(number) for number in range(20)]
        self.say(self.plain, self.room, *texts[:10])
        third = self.login(self.address, self.room)
        self.meet(self.plain, self.room, self.person.keys.name, third.name)
        self.say(self.plain, self.room, *texts[10:])
        again = self.back()
        for text in texts:
            self.assert_heard(again, self.room, self.plain.name, text)
        again.quit()
        once_more = self.back()
        once_more.ping()
        self.assertFalse(once_more.heard)
        self.say(once_more, self.room, "in the present epoch")
        self.assert_heard(third, self.room, self.plain.name, texts[10])

    def test_own(self) -> None:
        """What they said is counted by its `Ack`: it does not come again, and leaves no hole."""
        again = self.back()
        self.say(again, self.room, "one", "two")
        self.assertEqual(3, self.person.rooms[self.room].numbers.known)
        again.quit()
        self.say(self.plain, self.room, "three")
        again = self.login(self.address, person=self.person)
        again.ask(self.room)
        self.assertEqual(4, again.wait_for("Delivery")[2])

    def test_twice(self) -> None:
        """What comes again on one link, as it entered again with a lower number, is dropped by its number."""
        self.say(self.plain, self.room, "once")
        again = self.back()
        self.assert_heard(again, self.room, self.plain.name, "once")
        again.send("Enter", self.room, 0, 0)
        again.wait_for("Delivery")
        again.ping()
        self.assertFalse(again.heard)

    def test_added_while_away(self) -> None:
        """Who is added while away gets what is said since, and a gap that nobody needs to be shown."""
        room = self.new_room()
        self.plain.founding(room)
        self.say(self.plain, room, "before")
        self.plain.add(room, self.person.keys.name)
        self.say(self.plain, room, "since")
        again = self.back(room)
        self.assert_heard(again, room, self.plain.name, "since")
        again.ping()
        self.assertFalse(again.heard)

    def test_added_while_here(self) -> None:
        """Who is added while logged in begins at the room's number of then, and is told of no gap later."""
        room, here = self.new_room(), self.login(self.address, person=self.person)
        self.plain.founding(room)
        self.say(self.plain, room, "before")
        self.plain.add(room, self.person.keys.name)
        self.until(here, lambda: room in here.rooms and here.rooms[room].keys)
        self.assertEqual(1, here.rooms[room].numbers.known)
        here.quit()
        again = self.login(self.address, person=self.person)
        again.ask(room)
        again.send("Ping")
        self.assertEqual(["Pong"], again.wait_for("Gap", "Delivery", "Pong"))

    def test_keys_until_seen(self) -> None:
        """Sealed keys come again until they are `Seen`, which does no harm, and then no more."""
        self.plain.rekey(self.room)
        self.say(self.plain, self.room, "by a new session")
        with mock.patch.object(Client, "_see"):
            first = self.back()
            self.assert_heard(first, self.room, self.plain.name, "by a new session")
            first.quit()
        second = self.login(self.address, person=self.person)
        second.ask(self.room)
        second.wait_for("SealedKey")
        self.say(self.plain, self.room, "still open")
        self.assert_heard(second, self.room, self.plain.name, "still open")
        second.quit()
        third = self.login(self.address, person=self.person)
        third.ask(self.room)
        third.send("Ping")
        self.assertEqual(["Pong"], third.wait_for("SealedKey", "Pong"))

    def test_seen_of_what_is_not(self) -> None:
        """`Seen` for a room that one is not in, or beyond what there is, is passed over and hides nothing later."""
        again = self.back()
        again.send("Seen", [["#nowhere", 7, 7], [self.room, 2**63 - 1, 0]])
        again.ping()
        again.quit()
        self.say(self.plain, self.room, "later")
        self.assert_heard(self.back(), self.room, self.plain.name, "later")

    def test_not_kept(self) -> None:
        """A relay that keeps nothing says which numbers are gone, and the next is heard."""
        relay = harness.Relay("--plaintext", "--in-memory")
        self.addCleanup(relay.end)
        self.address = relay.addresses[0]
        plain, other = self.login(self.address, self.room), self.login(self.address, self.room)
        self.meet(plain, self.room, other.name)
        self.person = other.person
        other.quit()
        self.say(plain, self.room, "one", "two")
        again = self.back()
        self.assert_problem(again, "not-kept")
        self.say(plain, self.room, "three")
        heard = again.next_message()
        self.assertEqual(("three", 3), (heard.text, heard.seq))
