"""Each check of the relay, broken once, turns a test red."""

from __future__ import annotations

import fcntl

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay import certificate, directory, files, login, memberships, session, status
from securechat.relay.admin import copies as copies_module
from securechat.relay.admin import rotation, verifying
from securechat.relay.allowance import Allowance
from securechat.relay.bans import Bans
from securechat.relay.directory import Directory
from securechat.relay.journal import Journal
from securechat.relay.room import Room
from securechat.relay.session import Session
from securechat.relay.space import Space
from securechat.relay.sqlite_store import SqliteStore
from securechat.signed import certificates, prekeys, roster
from securechat.signed.rights import Member
from securechat.signed.roster import Roster
from tests.mutations import Anything, Mutation, assert_green, assert_seen, no, nothing
from tests.relay import test_bans as bans
from tests.relay import test_directory as lookups
from tests.relay import test_entries as entries
from tests.relay import test_hands as hands
from tests.relay import test_journal as journals
from tests.relay import test_limits as limits
from tests.relay import test_login as logins
from tests.relay import test_posts as posts
from tests.relay import test_renewal as renewals
from tests.relay import test_rooms as rooms
from tests.relay import test_status as statuses
from tests.relay import test_store as stores
from tests.relay import test_writer as writers
from tests.relay.admin import test_copies as copies
from tests.relay.admin import test_rotation as rotations


def anybody(self: Roster, *_: object) -> Member:
    """A member, whoever asks."""
    return next(iter(self.members.values()))


MUTATIONS = (
    Mutation(session, "VERSION", logins.RefusalTests, "test_version", Anything()),
    Mutation(login, "login_is_proven", logins.RefusalTests, "test_another_nonce"),
    Mutation(login, "login_is_proven", logins.RefusalTests, "test_replayed"),
    Mutation(login, "login_is_proven", logins.RefusalTests, "test_another_relay"),
    Mutation(login, "login_is_proven", logins.RefusalTests, "test_without_a_proof"),
    Mutation(certificates, "certificate_is_signed", logins.RefusalTests, "test_certificates"),
    Mutation(prekeys, "prekey_is_signed", logins.RefusalTests, "test_prekeys"),
    Mutation(prekeys, "prekey_is_current", logins.RefusalTests, "test_prekeys"),
    Mutation(prekeys, "prekey_is_signed", lookups.PrekeyTests, "test_renewed_wrongly"),
    Mutation(directory, "is_name_free", logins.NameTests, "test_owned"),
    Mutation(directory, "is_name_free", logins.NameTests, "test_twice_in_one_turn"),
    Mutation(directory, "is_only_name", logins.NameTests, "test_one_name_each"),
    Mutation(directory, "is_own_device", logins.NameTests, "test_device_of_somebody_else"),
    Mutation(memberships, "is_last_known", entries.StaleEntryTests, "test_number_and_hash"),
    Mutation(memberships, "is_by", entries.BadEntryTests, "test_by_another_device"),
    Mutation(memberships, "is_certified_here", entries.BadEntryTests, "test_who_has_no_name_here"),
    Mutation(memberships, "is_founded_by", entries.BadEntryTests, "test_founding_in_another_name"),
    Mutation(roster, "is_named", entries.BadEntryTests, "test_founding_malformed"),
    Mutation(roster, "entry_is_signed", entries.BadEntryTests, "test_unsigned"),
    Mutation(roster, "has_right", entries.BadEntryTests, "test_without_right"),
    Mutation(roster, "has_right", rooms.DirectRoomTests, "test_others_stay_out"),
    Mutation(Room, "has", rooms.EnteringTests, "test_closed"),
    Mutation(Room, "has", rooms.SessionKeyTests, "test_never_to_former_members"),
    Mutation(Room, "has", posts.DeclinedTests, "test_not_a_member"),
    Mutation(Room, "has", posts.DeclinedTests, "test_former_member"),
    Mutation(Room, "has", hands.HandTests, "test_dropped"),
    Mutation(Room, "has", hands.AskTests, "test_dropped"),
    Mutation(Room, "is_current", posts.DeclinedTests, "test_stale_epoch"),
    Mutation(Room, "is_current", posts.OrderTests, "test_join_then_post"),
    Mutation(Roster, "member_at", hands.HandTests, "test_dropped", anybody),
    Mutation(Session, "_is_in_window", limits.FloodTests, "test_window"),
    Mutation(Session, "_is_in_window", limits.FloodTests, "test_window_in_one_post"),
    Mutation(Allowance, "may_ask", limits.FloodTests, "test_requests"),
    Mutation(Allowance, "may_append", limits.FloodTests, "test_appends"),
    *(
        Mutation(Journal, "is_open", journals.GateTests, method, instead=True)
        for method in (
            "test_posts",
            "test_login",
            "test_entries",
            "test_sealed_keys",
            "test_everybody_waits",
            "test_goodbye_waits",
            "test_reading_again",
            "test_never_kept",
        )
    ),
    Mutation(Journal, "is_settled", journals.GateTests, "test_login_waits", instead=True),
    Mutation(Journal, "is_settled", journals.GateTests, "test_renew_waits", instead=True),
    Mutation(Space, "is_full", writers.SpaceTests, "test_limit", no),
    Mutation(Space, "is_full", writers.SpaceTests, "test_reserve", no),
    Mutation(fcntl, "flock", stores.FilesTests, "test_one_relay", nothing),
    Mutation(SqliteStore, "_check_key", stores.StoreTests, "test_another_key", nothing),
    Mutation(SqliteStore, "scrub", stores.StoreTests, "test_old_keys_are_gone", nothing),
    Mutation(files, "S_IMODE", stores.FilesTests, "test_bad_keys", lambda mode: 0),
    Mutation(certificate, "is_same_key", renewals.CertifiedTests, "test_another_key"),
    Mutation(Bans, "is_banned", bans.BannedTests, "test_key", no),
    Mutation(Bans, "bars", bans.BannedTests, "test_network", no),
    Mutation(Directory, "claim", bans.BannedTests, "test_no_other_name", nothing),
    Mutation(verifying, "_check_pages", copies.VerifyTests, "test_pages", nothing),
    Mutation(
        verifying, "tables_of_version", copies.VerifyTests, "test_what_is_no_store", lambda version: Anything()
    ),
    Mutation(copies_module, "verify", copies.BackupTests, "test_damaged", lambda *_: {}),
    Mutation(copies_module, "verify", copies.RestoreTests, "test_refused", lambda *_: {}),
    Mutation(copies_module, "_set_aside", copies.RestoreTests, "test_restore", nothing),
    Mutation(rotation, "settle", rotations.CutOffTests, "test_finished_by_the_command", no),
    Mutation(rotation, "_overwrite", rotations.RotationTests, "test_what_was_there_is_overwritten", nothing),
    Mutation(rotation, "_opens", rotations.CutOffTests, "test_neither_key"),
    Mutation(status, "is_local", statuses.ServiceTests, "test_this_machine_only"),
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
        for module in (directory, login, memberships, session):
            for name, found in vars(module).items():
                answers = getattr(found, "__annotations__", {}).get("return") in (bool, "bool")
                if answers and found.__module__ == module.__name__:
                    self.assertIn(name, listed, f"{module.__name__}.{name}")
