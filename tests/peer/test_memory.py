"""A relay's memory and its directory after a conversation, read from outside: what is there, and what is not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.peer import harness, sessions
from tests.peer.client import PlainClient

TEXT = "the-plaintext-that-nobody-else-may-have-0123456789"


class MemoryTests(harness.PeerCase):
    """Two clients of another make talk over a relay that is then searched."""

    def secrets(self, plain: PlainClient, room: str) -> dict[str, bytes]:
        """What only a client may have: private keys, chain keys, the key of the next message."""
        keys, sending = plain.person.keys, plain.rooms[room].sending
        assert sending is not None
        identity, device = keys.identity_key.private_bytes_raw(), keys.device_key.private_bytes_raw()
        message_key, following = sessions.chain(sending.chain_key)
        known = {"identity": identity, "device": device, "chain": sending.chain_key, "message": message_key}
        prekeys = {f"prekey {number}": private for number, (_, private) in enumerate(keys.prekeys.values())}
        return {f"{plain.name}: {what}": key for what, key in (known | prekeys | {"next": following}).items()}

    def found(self, relay: harness.Relay, wanted: Mapping[str, bytes]) -> set[str]:
        """What of these is in a relay's memory, or in a file of its directory."""
        places = [path.read_bytes() for path in relay.data.rglob("*") if path.is_file()]
        try:
            places += relay.memory()
        except PermissionError:
            raise SkipTest("this system lets nobody read the memory of their own processes") from None
        return {what for what, key in wanted.items() if any(key in place for place in places)}

    def test_conversation(self) -> None:
        """Neither text nor any private or chain key is there, though session key and sealed messages were."""
        if not sys.platform.startswith("linux") or not Path("/proc/self/mem").exists():
            raise SkipTest("needs /proc")
        relay = harness.Relay("--plaintext")
        self.addCleanup(relay.end)
        alice, bob = self.login(relay.addresses[0]), self.login(relay.addresses[0])
        alice.founding("#den")
        alice.add("#den", bob.name)
        secrets = {"text": TEXT.encode(), "its beginning": TEXT[:16].encode()}
        for number in range(5):
            self.say(alice, "#den", f"{TEXT} {number}")
            self.assert_heard(bob, "#den", alice.name, f"{TEXT} {number}")
            secrets |= {f"{what} {number}": key for what, key in self.secrets(alice, "#den").items()}
            self.say(bob, "#den", TEXT)
            self.assert_heard(alice, "#den", bob.name, TEXT)
            secrets |= {f"{what} {number}": key for what, key in self.secrets(bob, "#den").items()}
        known = alice.rooms["#den"]
        public = {
            "session key": known.keys[known.log.epoch],
            "certificate": alice.person.keys.certificate,
            "entry": known.log.entries[0],
        }
        self.assertEqual(set(public), self.found(relay, public | secrets))
