"""Each check of the client, broken once, turns a test red; so do those of `e2e` and `signed` with real clients."""

from __future__ import annotations

from collections.abc import Iterable

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from securechat.client import following, keys, link, people, rooms
from securechat.client.errors import ClientError
from securechat.client.following import Following
from securechat.client.home import Pins as KnownRelays
from securechat.client.keys import KeyFile
from securechat.client.link import ClientProtocol, Link
from securechat.client.people import People
from securechat.client.room import Room
from securechat.client.rooms import Rooms
from securechat.client.seldom import Seldom
from securechat.client.tls import PinnedTLS
from securechat.e2e import inbox, keystore, receiver, safety, sealing
from securechat.signed import certificates, prekeys, roster
from securechat.signed.rights import Member
from securechat.signed.roster import Roster
from tests.client import test_changes as changes
from tests.client import test_conversation_rooms as conversation
from tests.client import test_hostile as hostile
from tests.client import test_hostile_bits as bits
from tests.client import test_hostile_keys as hostile_keys
from tests.client import test_hostile_members as members
from tests.client import test_hostile_order as order
from tests.client import test_hostile_rooms as hostile_rooms
from tests.client import test_keys as files
from tests.client import test_link as links
from tests.client import test_link_tls as tls
from tests.client import test_restart as restart
from tests.mutations import Anything, Mutation, assert_green, assert_seen, no, nothing, yes


def anybody(self: Roster, *_: object) -> Member:
    """A member, whoever asks."""
    return next(iter(self.members.values()))


def ever_named(self: Roster, name: str, _: bytes) -> Member | None:
    """Whoever was called so at any time."""
    stays = self._stays_by_name.get(name)
    return stays[-1].member if stays else None


def all_of(_: Roster, names: Iterable[str]) -> set[str]:
    """Whoever the relay says is here."""
    return set(names)


def any_tls(self: PinnedTLS) -> None:
    """Speak any version of TLS."""
    self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    self._context.set_verify(SSL.VERIFY_NONE)


def find_or_not(self: KnownRelays, place: str) -> str | None:
    """What is known of a place; nothing where that cannot be read."""
    try:
        return self._read().get(place)
    except ClientError:
        return None


MUTATIONS = (
    # The link.
    Mutation(link, "VERSION", links.LoginTests, "test_other_version", Anything()),
    Mutation(ClientProtocol, "refuse", links.LoginTests, "test_out_of_order", nothing),
    Mutation(ClientProtocol, "refuse", links.LoginTests, "test_greeted_again", nothing),
    Mutation(Link, "check_key", tls.KeyTests, "test_changed", nothing),
    Mutation(Link, "check_key", tls.KeyTests, "test_other_than_the_address_says", nothing),
    Mutation(KnownRelays, "find", tls.KeyTests, "test_damaged_memory", find_or_not),
    Mutation(KnownRelays, "remember", tls.KeyTests, "test_first_meeting", nothing),
    Mutation(PinnedTLS, "__init__", tls.OtherServersTests, "test_older_tls", any_tls),
    # Whose a name is.
    Mutation(people, "is_of", hostile.ChangedKeyTests, "test_found_somebody_else"),
    Mutation(people, "is_shown", hostile.ChangedKeyTests, "test_accepted_is_what_was_shown"),
    Mutation(certificates, "certificate_is_signed", bits.KeyTests, "test_certificate"),
    Mutation(People, "meet", changes.DirectTests, "test_found_for_a_changed_key"),
    Mutation(safety.Pins, "is_blocked", conversation.PeopleTests, "test_changed_key", no),
    Mutation(safety, "is_pinned", conversation.PeopleTests, "test_changed_key"),
    # Logs.
    Mutation(following, "_differs", hostile.RosterTests, "test_cut_off", no),
    Mutation(Following, "_is_replaceable", conversation.ClosedTests, "test_forgotten_by_the_relay"),
    Mutation(Following, "_is_ours", restart.RestartTests, "test_another_room_in_its_place"),
    Mutation(Following, "fault", hostile.RosterTests, "test_forged_entry", nothing),
    Mutation(Roster, "check_reaches", hostile.RosterTests, "test_cut_off_after_a_restart", nothing),
    Mutation(roster, "is_named", hostile_rooms.SplitTests, "test_another_room_under_its_name"),
    Mutation(roster, "entry_is_signed", hostile_rooms.EntryTests, "test_own_member"),
    Mutation(roster, "entry_is_signed", bits.EntryTests, "test_entry"),
    Mutation(roster, "has_right", hostile_rooms.EntryTests, "test_own_join"),
    Mutation(roster, "has_right", hostile_rooms.EntryTests, "test_without_the_right"),
    Mutation(roster, "is_next", hostile_rooms.EntryTests, "test_out_of_its_place"),
    Mutation(rooms, "members_of", hostile.RosterTests, "test_ghosts", all_of),
    Mutation(Rooms, "member", hostile.RosterTests, "test_ghosts", yes),
    Mutation(Roster, "member_with", hostile_rooms.SplitTests, "test_members_who_are_not_in_the_log", anybody),
    # Messages and keys.
    Mutation(inbox, "frame_is_signed", bits.MessageTests, "test_message_and_header"),
    Mutation(inbox, "frame_is_signed", members.FrameTests, "test_with_anothers_chain"),
    Mutation(receiver, "is_replay", order.OrderTests, "test_duplicated", no),
    Mutation(receiver, "is_second", members.FrameTests, "test_forked", no),
    Mutation(receiver, "fits_neighbours", members.FrameTests, "test_forked_for_two"),
    Mutation(Room, "is_new", restart.RestartTests, "test_said_again"),
    Mutation(Roster, "named_at", members.FormerMemberTests, "test_speaks", ever_named),
    Mutation(sealing, "is_for_room", members.SealedKeyTests, "test_re_forwarded", no),
    Mutation(prekeys, "prekey_is_signed", hostile_keys.PrekeyTests, "test_foreign"),
    Mutation(prekeys, "prekey_is_signed", hostile_keys.PrekeyTests, "test_self_made"),
    Mutation(prekeys, "prekey_is_current", hostile_keys.PrekeyTests, "test_over"),
    Mutation(safety, "is_no_step_back", hostile_keys.PrekeyTests, "test_older"),
    Mutation(safety, "is_no_step_back", hostile_keys.PrekeyTests, "test_weaker"),
    Mutation(Seldom, "may", hostile.FloodTests, "test_made_to_ask"),
    Mutation(Seldom, "may", hostile.FloodTests, "test_asked_all_the_time"),
    # The key store.
    Mutation(keys, "flock", files.FileTests, "test_held", nothing),
    Mutation(keys, "S_IMODE", files.FileTests, "test_readable_by_others", no),
    Mutation(KeyFile, "_had_keys", files.ContentTests, "test_gone", property(no)),
    Mutation(KeyFile, "_remembered", files.ContentTests, "test_rolled_back", no),
    Mutation(keystore, "is_recent", files.ContentTests, "test_rolled_back"),
    Mutation(keystore, "is_whole", files.FileTests, "test_copied_to_another_name"),
    Mutation(keystore, "is_whole", files.ContentTests, "test_damaged"),
    Mutation(keystore, "is_locked_enough", files.PassphraseTests, "test_must_be_locked"),
)


class MutationTests(SynchronousTestCase):
    """The list above, and that it is a list of checks that hold."""

    def test_each_test_is_green(self) -> None:
        """Without a mutation every test of the list passes."""
        assert_green(self, MUTATIONS)

    def test_each_mutation_is_seen(self) -> None:
        """With its check saying "fine" every test of the list fails."""
        assert_seen(self, MUTATIONS)

    def test_every_check_is_listed(self) -> None:
        """Every function of these modules that answers yes or no about what came is on the list."""
        listed = {mutation.name for mutation in MUTATIONS}
        for module in (following, keys, link, people, rooms):
            for name, found in vars(module).items():
                answers = getattr(found, "__annotations__", {}).get("return") is bool
                if answers and found.__module__ == module.__name__:
                    self.assertIn(name, listed, f"{module.__name__}.{name}")
