"""Each check of `e2e` and `signed`, broken once, turns its attack test red."""

from __future__ import annotations

import hmac
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from securechat.e2e import content, identity, inbox, keystore, receiver, room, safety, sealing
from securechat.signed import certificates, encoding, entries, prekeys, rights, roster
from securechat.signed.rights import Member
from securechat.signed.roster import Roster
from securechat.signed.suites import Suite
from tests.e2e import test_attacks_frames as frames
from tests.e2e import test_attacks_keys as keys
from tests.e2e import test_attacks_roster as rosters
from tests.e2e import test_keystore as stores
from tests.mutations import Mutation, assert_green, assert_seen, no, nothing, outcome, yes


def x25519(_: bytes) -> Suite:
    """A suite that exists, whatever is named."""
    return Suite.X25519


def ever_named(self: Roster, name: str, _: bytes) -> Member | None:
    """Whoever was called so at any time."""
    stays = self._stays_by_name.get(name)
    return stays[-1].member if stays else None


def anybody(self: Roster, *_: object) -> Member:
    """A member, whoever asks."""
    return next(iter(self.members.values()))


MUTATIONS = (
    Mutation(certificates, "certificate_is_signed", keys.CertificateTests, "test_self_made"),
    Mutation(certificates, "certificate_is_signed", keys.CertificateTests, "test_every_bit"),
    Mutation(certificates, "login_is_proven", keys.LoginTests, "test_answered_with_somebody_elses"),
    Mutation(identity, "keys_belong_together", stores.PlainTests, "test_another_persons_certificate"),
    Mutation(prekeys, "prekey_is_signed", keys.PrekeyTests, "test_foreign_and_self_made"),
    Mutation(prekeys, "prekey_is_current", keys.PrekeyTests, "test_old"),
    Mutation(prekeys, "prekey_is_current", keys.PrekeyTests, "test_for_ever"),
    Mutation(safety, "is_no_step_back", keys.PrekeyTests, "test_downgraded"),
    Mutation(safety, "is_pinned", keys.ChangedKeyTests, "test_verified_is_of_one_key"),
    Mutation(safety.Pins, "is_blocked", keys.ChangedKeyTests, "test_blocks_sending", no),
    Mutation(safety.Pins, "is_blocked", keys.ChangedKeyTests, "test_others_go_on", no),
    Mutation(safety.Pins, "is_blocked", keys.ChangedKeyTests, "test_who_has_our_key_already", no),
    Mutation(room, "is_member_now", keys.HandingTests, "test_members_only"),
    Mutation(sealing, "is_for_room", keys.SealedKeyTests, "test_another_room"),
    Mutation(sealing, "is_same_session", keys.SealedKeyTests, "test_another_descriptor_in_the_open"),
    Mutation(sealing, "is_for_us", keys.SealedKeyTests, "test_re_forwarded_under_the_same_number"),
    Mutation(sealing, "is_for_prekey", keys.SealedKeyTests, "test_another_prekey_inside"),
    Mutation(sealing, "key_is_signed", keys.SealedKeyTests, "test_another_signer"),
    Mutation(Roster, "member_at", keys.SealedKeyTests, "test_no_member", anybody),
    Mutation(receiver.ReceivingSession, "renew", keys.SealedKeyTests, "test_another_chain"),
    Mutation(roster, "is_named", rosters.FoundingTests, "test_shown_as_another_room"),
    Mutation(roster, "is_founding", rosters.FoundingTests, "test_by_another"),
    Mutation(roster, "entry_is_signed", rosters.FoundingTests, "test_unsigned"),
    Mutation(roster, "entry_is_signed", rosters.StrangerTests, "test_in_a_members_name"),
    Mutation(roster, "is_known_actor", rosters.StrangerTests, "test_added_by_the_relay"),
    Mutation(roster, "is_known_actor", rosters.StrangerTests, "test_forged_history"),
    Mutation(roster, "is_next", rosters.ChainTests, "test_wrong_link"),
    Mutation(roster, "is_next", rosters.ChainTests, "test_split_rosters"),
    Mutation(roster, "has_right", rosters.RightTests, "test_members"),
    Mutation(roster, "has_right", rosters.StrangerTests, "test_own_join_to_a_closed_room"),
    Mutation(roster, "has_point", rosters.RightTests, "test_pointless"),
    Mutation(roster, "is_free", rosters.RightTests, "test_taken_names_and_devices"),
    Mutation(roster, "is_free", rosters.RightTests, "test_direct_rooms"),
    Mutation(Roster, "named_at", frames.MemberTests, "test_a_removed_member_speaks", ever_named),
    Mutation(inbox, "frame_is_signed", frames.MemberTests, "test_in_anothers_name"),
    Mutation(inbox, "frame_is_signed", frames.RelayTests, "test_every_bit"),
    Mutation(inbox, "is_linked", frames.RelayTests, "test_a_forged_frame_before_an_honest_one"),
    Mutation(inbox, "is_epoch_of", frames.MemberTests, "test_session_kept_after_a_removal"),
    Mutation(receiver.ReceivingSession, "is_in_order", frames.MemberTests, "test_back_to_an_older_epoch"),
    Mutation(receiver, "is_replay", frames.RelayTests, "test_replay", no),
    Mutation(receiver, "is_too_far", frames.MemberTests, "test_far_index", no),
    Mutation(receiver, "is_second", frames.MemberTests, "test_two_frames_under_one_index", no),
    Mutation(receiver, "fits_neighbours", frames.MemberTests, "test_a_frame_on_another_past"),
    Mutation(receiver, "fits_neighbours", frames.MemberTests, "test_a_late_frame_on_another_future"),
    Mutation(content, "is_padded", frames.MemberTests, "test_padding"),
    Mutation(content, "is_of_room", frames.MemberTests, "test_another_room_inside"),
    Mutation(encoding, "name_refusal", keys.CertificateTests, "test_names", nothing),
    Mutation(entries, "is_room", rosters.FoundingTests, "test_names"),
    Mutation(prekeys, "read_suite", keys.PrekeyTests, "test_suites", x25519),
    Mutation(Roster, "only_grew", frames.MemberTests, "test_session_kept_after_a_removal"),
    Mutation(Roster, "check_reaches", rosters.ChainTests, "test_rolled_back", nothing),
    Mutation(receiver.ReceivingSession, "refusal", frames.RelayTests, "test_replay", nothing),
    Mutation(inbox.Inbox, "take_key", keys.SealedKeyTests, "test_replayed_session", nothing),
    Mutation(keystore, "is_whole", stores.PlainTests, "test_copied"),
    Mutation(keystore, "is_whole", stores.PlainTests, "test_every_bit"),
    Mutation(keystore, "is_locked_enough", stores.LockedTests, "test_not_locked"),
    Mutation(keystore, "is_recent", stores.PlainTests, "test_rolled_back"),
    Mutation(keystore.Cost, "is_bearable", stores.LockedTests, "test_unbearable_cost"),
)


class MutationTests(SynchronousTestCase):
    """The list above, and that it is a list of checks that hold."""

    def test_each_test_is_green(self) -> None:
        """Without a mutation every test of the list passes."""
        assert_green(self, MUTATIONS)

    def test_each_mutation_is_seen(self) -> None:
        """With its check saying "fine" every test of the list fails."""
        assert_seen(self, MUTATIONS)

    def test_tags(self) -> None:
        """With every tag of the cipher taken for good, a key store that was altered is not seen to be."""
        stub = SimpleNamespace(digest=hmac.digest, compare_digest=yes)
        patch = self.patch(aead, "hmac", stub)
        result = outcome(stores.LockedTests, "test_altered_tag")
        patch.restore()
        self.assertFalse(result.wasSuccessful())

    def test_every_check_is_listed(self) -> None:
        """Every function of these modules that answers yes or no about what came is on the list."""
        listed = {(mutation.where, mutation.name) for mutation in MUTATIONS}
        used = {name for _, name in listed}
        modules = (content, identity, inbox, keystore, prekeys, receiver, rights, room, roster, safety, sealing)
        for module in modules:
            for name, found in vars(module).items():
                answers = getattr(found, "__annotations__", {}).get("return") is bool
                if answers and found.__module__ == module.__name__:
                    self.assertIn(name, used, f"{module.__name__}.{name}")
