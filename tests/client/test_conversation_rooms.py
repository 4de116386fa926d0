"""A conversation with a relay whose words are written here: rooms, people alone, and links that break."""

from securechat.client.events import Entered, Error, Joined, Left, Link, Missed, Motd, NotEntered, NotSent, Sent
from securechat.wire.codes import REASONS, Code
from securechat.wire.messages import Enter, Leave, Ping
from tests.client.harness import RELAY, TalkCase, epoch_of

ROOM, DIRECT = "#lobby", "@alice+bob"
LEFT = "you left the room before it was sent"


class RoomTests(TalkCase):
    """Entering and leaving."""

    def test_enter(self) -> None:
        """Entering asks the relay once; its roster is told, and who comes and goes after that."""
        self.conversation.enter(ROOM)
        self.conversation.enter(ROOM)
        self.assertEqual(self.talk.sent, [Enter(ROOM)])
        self.talk.roster(ROOM, "alice", "bob")
        self.talk.presence(ROOM, "carol", True)
        self.talk.presence(ROOM, "bob", False)
        self.assertEqual(
            self.talk.events, [Entered(ROOM, ["alice", "bob"]), Joined(ROOM, "carol"), Left(ROOM, "bob")]
        )
        self.assertEqual((self.conversation.rooms, self.conversation.members(ROOM)), ([ROOM], ["alice", "carol"]))
        self.assertEqual(self.conversation.members("#other"), [])

    def test_bad_room(self) -> None:
        """What is no room is an error and is not asked for."""
        self.conversation.enter("lobby")
        self.assertEqual((self.talk.events, self.talk.sent), ([Error(REASONS[Code.BAD_ROOM])], []))

    def test_not_entered(self) -> None:
        """A room that does not take us is told, with what was said in it, and is not asked for again."""
        self.conversation.enter(ROOM)
        self.say("1")
        self.talk.decline(ROOM, Code.ROOM_FULL)
        reason = REASONS[Code.ROOM_FULL]
        self.assertEqual(self.talk.events, [NotEntered(ROOM, reason), NotSent(ROOM, reason, "1")])
        self.talk.forget()
        self.talk.down()
        self.talk.up()
        self.assertEqual(self.talk.sent, [])

    def test_leave(self) -> None:
        """Leaving asks the relay; when it says so, what was not acknowledged is given up and the key forgotten."""
        self.talk.entered()
        self.say("1")
        self.conversation.leave(ROOM)
        self.assertEqual(self.talk.sent[-1], Leave(ROOM))
        self.talk.presence(ROOM, "alice", False)
        self.assertEqual(self.talk.events, [NotSent(ROOM, LEFT, "1"), Left(ROOM, "alice")])
        self.assertEqual((self.conversation.rooms, self.conversation.unacknowledged), ([], 0))
        self.talk.decline(ROOM, Code.NOT_A_MEMBER, 1)
        self.assertEqual(len(self.talk.events), 2)

    def test_leave_where_we_are_not(self) -> None:
        """Leaving a room that we are not in is an error."""
        self.conversation.leave(ROOM)
        self.assertEqual((self.talk.events, self.talk.sent), ([Error(REASONS[Code.NOT_A_MEMBER])], []))

    def test_leave_twice(self) -> None:
        """The answer to a second `Leave` is no news."""
        self.talk.entered()
        self.conversation.leave(ROOM)
        self.conversation.leave(ROOM)
        self.talk.presence(ROOM, "alice", False)
        self.talk.decline(ROOM, Code.NOT_A_MEMBER)
        self.assertEqual(self.talk.events, [Left(ROOM, "alice")])

    def test_leave_while_entering(self) -> None:
        """A room that is left before it was entered is entered and left."""
        self.conversation.enter(ROOM)
        self.conversation.leave(ROOM)
        self.talk.roster(ROOM, "alice")
        self.talk.presence(ROOM, "alice", False)
        self.assertEqual(self.talk.events, [Entered(ROOM, ["alice"]), Left(ROOM, "alice")])
        self.assertEqual(self.conversation.rooms, [])

    def test_leave_and_come_back(self) -> None:
        """Who leaves and comes back before the relay has answered is back, and stays on every new link."""
        self.talk.entered()
        self.conversation.leave(ROOM)
        self.conversation.enter(ROOM)
        self.assertEqual(self.talk.sent, [Leave(ROOM), Enter(ROOM)])
        self.talk.presence(ROOM, "alice", False)
        self.talk.roster(ROOM, "alice")
        self.talk.key(ROOM, 2)
        self.say("1")
        self.assertEqual(self.talk.posted_texts(2), ["1"])
        self.assertEqual(self.talk.sent.count(Enter(ROOM)), 1)
        self.talk.down()
        self.talk.forget()
        self.talk.up()
        self.assertEqual(self.talk.sent, [Enter(ROOM)])

    def test_leave_and_not_taken_back(self) -> None:
        """Who leaves and is not taken back is told so."""
        self.talk.entered()
        self.conversation.leave(ROOM)
        self.conversation.enter(ROOM)
        self.talk.presence(ROOM, "alice", False)
        self.talk.decline(ROOM, Code.ROOM_FULL)
        self.assertEqual(self.talk.events, [Left(ROOM, "alice"), NotEntered(ROOM, REASONS[Code.ROOM_FULL])])

    def test_enter_leave_enter(self) -> None:
        """The last wish counts, also where the first one is not answered yet."""
        self.talk.entered()
        self.conversation.enter(ROOM)
        self.conversation.leave(ROOM)
        self.conversation.enter(ROOM)
        self.talk.roster(ROOM, "alice")
        self.talk.presence(ROOM, "alice", False)
        self.assertEqual(self.talk.sent, [Enter(ROOM), Leave(ROOM), Enter(ROOM)])
        self.talk.roster(ROOM, "alice")
        self.assertEqual(self.conversation.rooms, [ROOM])

    def test_answers_about_strange_rooms(self) -> None:
        """Acknowledgements, refusals and presences for rooms that we know nothing of are ignored."""
        self.talk.ack("#other", (1, 1))
        self.talk.decline("#other", Code.ROOM_FULL)
        self.talk.decline("#other", Code.STALE_EPOCH, 1)
        self.talk.presence("#other", "bob", True)
        self.talk.hear(Ping())
        self.assertEqual((self.talk.events, self.talk.sent), ([], []))

    def test_declined_while_in_it(self) -> None:
        """A refusal of something for a room that we are in is an error, and we stay in it."""
        self.talk.entered()
        self.talk.decline(ROOM, Code.TOO_MANY_ROOMS)
        self.assertEqual(self.talk.events, [Error(f"{ROOM}: {REASONS[Code.TOO_MANY_ROOMS]}")])
        self.assertEqual(self.conversation.rooms, [ROOM])


class DirectTests(TalkCase):
    """Words for one person alone."""

    def test_direct(self) -> None:
        """Something for one person enters the room of the two, and is posted as soon as both are in it."""
        self.conversation.direct("bob", "psst", "l")
        self.assertEqual(self.talk.sent, [Enter(DIRECT)])
        self.talk.roster(DIRECT, "alice", "bob")
        self.talk.key(DIRECT, 1)
        self.talk.ack(DIRECT, (1, 1))
        self.assertEqual(self.talk.events[-1], Sent(DIRECT, 1, "psst", "l"))

    def test_absent(self) -> None:
        """Somebody who is not logged in is told as not here, and what was said is not sent."""
        self.conversation.direct("bob", "1", "l")
        self.conversation.direct("bob", "2")
        self.talk.roster(DIRECT, "alice")
        self.talk.key(DIRECT, 1)
        self.assertEqual(self.talk.given_up(), [("1", "bob is not here"), ("2", "bob is not here")])
        self.assertEqual((self.talk.posts(), self.talk.sent), ([], [Enter(DIRECT)]))
        self.conversation.direct("bob", "3")
        self.assertEqual(self.talk.sent, [Enter(DIRECT)] * 2)
        self.talk.roster(DIRECT, "alice", "bob")
        self.talk.key(DIRECT, 2)
        self.assertEqual(self.talk.posted_texts(2), ["3"])

    def test_they_come_by_themselves(self) -> None:
        """Somebody who has come into our direct room is there: no further `Enter` is needed."""
        self.talk.entered(DIRECT)
        self.talk.presence(DIRECT, "bob", True)
        self.talk.key(DIRECT, 2)
        self.talk.forget()
        self.conversation.direct("bob", "hello")
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [1])])
        self.assertEqual(len(self.talk.sent), 1)

    def test_they_leave_meanwhile(self) -> None:
        """Where the other one leaves before the relay took what was said, we ask: gone, they are not here."""
        self.talk.entered(DIRECT, "bob")
        self.conversation.direct("bob", "1")
        self.talk.forget()
        self.talk.presence(DIRECT, "bob", False)
        self.talk.key(DIRECT, 2)
        self.talk.decline(DIRECT, Code.STALE_EPOCH, 1)
        self.assertEqual(self.talk.sent, [Enter(DIRECT)])
        self.talk.roster(DIRECT, "alice")
        self.talk.key(DIRECT, 2)
        self.assertEqual(self.talk.given_up(), [("1", "bob is not here")])
        self.assertEqual(self.conversation.unacknowledged, 0)

    def test_they_are_gone_while_sealing(self) -> None:
        """What was given up while it was being sealed is not posted, and takes nothing from the window."""
        self.talk.up(window=1)
        self.talk.entered("#lobby")
        self.talk.entered(DIRECT, "bob")
        self.talk.worker.at_once = False
        self.conversation.direct("bob", "1")
        self.say("2")
        self.talk.presence(DIRECT, "bob", False)
        self.talk.roster(DIRECT, "alice")
        self.assertEqual(self.talk.given_up(), [("1", "bob is not here")])
        self.talk.worker.work()
        self.assertEqual(self.talk.posted_texts(1), ["2"])

    def test_they_leave_and_are_brought_back(self) -> None:
        """Where the other one has only left the room, what was said brings them back and is posted then."""
        self.talk.entered(DIRECT, "bob")
        self.conversation.direct("bob", "1")
        self.talk.presence(DIRECT, "bob", False)
        self.talk.key(DIRECT, 2)
        self.talk.decline(DIRECT, Code.STALE_EPOCH, 1)
        self.talk.roster(DIRECT, "alice", "bob")
        self.talk.key(DIRECT, 3)
        self.assertEqual(self.talk.posted_texts(3), ["1"])

    def test_they_open_it(self) -> None:
        """A room that somebody opens with us is told as entered, and we can answer in it."""
        self.talk.roster(DIRECT, "bob", "alice")
        self.talk.key(DIRECT, 1)
        self.assertEqual(self.talk.told(Entered), [Entered(DIRECT, ["bob", "alice"])])
        self.conversation.direct("bob", "yes?")
        self.assertEqual(self.talk.posted_texts(1), ["yes?"])

    def test_not_brought_elsewhere(self) -> None:
        """A relay cannot bring us into a room that we did not ask for, nor into other people's."""
        self.talk.forget()
        for room in ("#trap", "@bob+carol", "nonsense"):
            self.talk.roster(room, "bob", "alice")
            self.talk.key(room, 1)
        self.assertEqual((self.talk.events, self.conversation.rooms), ([], []))

    def test_impossible_names(self) -> None:
        """Nobody talks to themselves, nor to what is no name; either is told at once."""
        for name, why in (
            ("alice", "this is your own name"),
            ("Bob", REASONS[Code.BAD_NAME]),
            ("", REASONS[Code.BAD_NAME]),
            ("b+c", REASONS[Code.BAD_NAME]),
            ("x" * 33, REASONS[Code.NAME_TOO_LONG]),
            ("\ud800", REASONS[Code.BAD_NAME]),
        ):
            self.talk.forget()
            self.conversation.direct(name, "psst", "l")
            self.assertEqual(self.talk.events, [NotSent(f"@{name}", why, "psst", "l")])
        self.assertEqual(self.talk.sent, [])

    def test_room_of_others(self) -> None:
        """The relay's refusal of other people's room is told, with what was said in it."""
        self.say("psst", room="@bob+carol")
        self.talk.decline("@bob+carol", Code.NOT_PERMITTED)
        self.assertEqual([type(event) for event in self.talk.events], [NotEntered, NotSent])


class LinkTests(TalkCase):
    """The link is lost and comes back."""

    def test_told(self) -> None:
        """Links up and down are told, and the message of the day after the link."""
        self.talk.up(motd="welcome")
        self.talk.down("why", 2.0)
        self.talk.down("still", None)
        self.assertEqual(
            self.talk.events,
            [Link(True, RELAY), Motd("welcome"), Link(False, RELAY, "why", 2.0), Link(False, RELAY, "still", None)],
        )

    def test_said_again(self) -> None:
        """What was not acknowledged, or said meanwhile, is posted on the new link: same ids, same order."""
        self.talk.entered()
        self.say("1", "2")
        self.talk.ack(ROOM, (1, 1))
        self.talk.down()
        self.say("3")
        self.assertEqual(self.conversation.unacknowledged, 2)
        self.talk.forget()
        self.talk.up()
        self.assertEqual(self.talk.sent, [Enter(ROOM)])
        self.talk.roster(ROOM, "alice", last_seq=2)
        self.talk.key(ROOM, 2)
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [2, 3])])
        self.assertEqual(self.talk.posted_texts(2), ["2", "3"])

    def test_sealed_on_the_old_link(self) -> None:
        """What was being sealed when the link was lost is not posted on the new one, but sealed again."""
        self.talk.entered()
        self.talk.worker.at_once = False
        self.say("1")
        self.talk.down()
        self.talk.up(window=1)
        self.talk.roster(ROOM, "alice")
        self.talk.key(ROOM, 2)
        self.assertEqual(self.talk.posts(), [])
        self.talk.worker.work()
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [1])])

    def test_sealing_fails_on_the_old_link(self) -> None:
        """A failure of what was begun on the old link takes nothing from the window of the new one."""
        self.talk.up(window=1)
        self.talk.entered()
        self.talk.worker.at_once = False
        self.say("1")
        self.talk.down()
        self.talk.up(window=1)
        self.talk.roster(ROOM, "alice")
        self.talk.key(ROOM, 2)
        self.talk.worker.failure = ZeroDivisionError()
        self.talk.worker.work()
        self.talk.worker.failure = None
        self.flushLoggedErrors(ZeroDivisionError)
        self.say("2", "3")
        self.talk.worker.work()
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [2])])

    def test_missed(self) -> None:
        """On coming back, the messages of others meanwhile are told as missed, after the room is told."""
        self.talk.entered(ROOM, "bob", last_seq=4)
        self.talk.down()
        self.talk.up()
        self.talk.forget()
        self.talk.roster(ROOM, "alice", "bob", last_seq=7)
        self.assertEqual(self.talk.events, [Entered(ROOM, ["alice", "bob"]), Missed(ROOM, 5, 7)])

    def test_room_began_anew(self) -> None:
        """A room that began anew meanwhile tells what was said in it since."""
        self.talk.entered(ROOM, "bob", last_seq=40)
        self.talk.down()
        self.talk.up()
        self.talk.roster(ROOM, "alice", "bob", last_seq=2)
        self.assertEqual(self.talk.told(Missed), [Missed(ROOM, 1, 2)])

    def test_old_keys_are_gone(self) -> None:
        """After a lost link nothing is posted before the new link's key has come."""
        self.talk.entered()
        self.talk.down()
        self.talk.up()
        self.talk.forget()
        self.talk.roster(ROOM, "alice")
        self.say("1")
        self.assertEqual(self.talk.posts(), [])

    def test_direct_rooms(self) -> None:
        """A direct room with something to say is entered again; one that only the other side wanted is not."""
        self.talk.roster(DIRECT, "alice", "bob")
        self.talk.roster("@alice+carol", "alice", "carol")
        self.conversation.direct("carol", "wait")
        self.talk.down()
        self.assertEqual(self.conversation.rooms, [])
        self.talk.forget()
        self.talk.up()
        self.assertEqual(self.talk.sent, [Enter("@alice+carol")])

    def test_rooms_wanted_meanwhile(self) -> None:
        """A room that is entered while the link is down is asked for once it is up."""
        self.talk.down()
        self.talk.forget()
        self.conversation.enter(ROOM)
        self.say("1")
        self.assertEqual(self.talk.sent, [])
        self.talk.up()
        self.assertEqual(self.talk.sent, [Enter(ROOM)])

    def test_rooms_left_meanwhile(self) -> None:
        """A room that is left while the link is down is left at once, gives up what was said, and stays left."""
        self.talk.entered()
        self.say("1")
        self.talk.down()
        self.talk.forget()
        self.conversation.leave(ROOM)
        self.assertEqual(self.talk.events, [NotSent(ROOM, LEFT, "1"), Left(ROOM, "alice")])
        self.talk.up()
        self.assertEqual(self.talk.sent, [])

    def test_link_lost_while_leaving(self) -> None:
        """A room that was being left when the link was lost stays left, though something was said in it."""
        self.talk.entered()
        self.say("1")
        self.conversation.leave(ROOM)
        self.talk.down()
        self.assertEqual([type(event) for event in self.talk.events], [NotSent, Left, Link])
        self.talk.forget()
        self.talk.up()
        self.assertEqual(self.talk.sent, [])
