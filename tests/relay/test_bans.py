"""Bans and names that are taken away: who is kept out, who is not, and that a restart changes nothing."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.identity import Person
from securechat.relay.bans import Ban, BanError, Bans, Kind, network
from securechat.signed.entries import Op, Role
from securechat.wire.messages import (
    LAST_SEQ,
    Append,
    Enter,
    Found,
    Goodbye,
    Lookup,
    Prekeys,
    Presence,
    SessionKey,
    Want,
)
from tests.relay.harness import Client, declined, of, only
from tests.relay.keeping import KeptCase, KeptRelay, open_store, store_path
from tests.relay.people import NOW_MS, hello, person
from tests.relay.test_login import certified


def at(host: str) -> IAddress:
    """Where a connection comes from."""
    return IPv6Address("TCP", host, 1) if ":" in host else IPv4Address("TCP", host, 1)


def key_ban(name: str) -> Ban:
    """A ban of somebody's key."""
    return Ban(Kind.KEY, person(name).identity.public.hex(), NOW_MS, name)


def network_ban(text: str) -> Ban:
    """A ban of a network."""
    found = network(text)
    assert found is not None
    return Ban(Kind.NETWORK, found, NOW_MS)


def joining(client: Client) -> bytes:
    """An entry by which somebody would join a room, whether or not its log would take it."""
    certificate = client.me.certificate
    return client.now("#tea").signed(client.me, Op.JOIN, client.me, Role.MEMBER, certificate.packed)


class NetworkTests(SynchronousTestCase):
    """Networks."""

    def test_forms(self) -> None:
        """Each network has one form: no host bits, IPv6 by a /64 at the longest, IPv4 in IPv6 as IPv4."""
        for text, form in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("2001:db8::7", "2001:db8::/64"),
            ("2001:DB8:0:0:7::/80", "2001:db8::/64"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ]:
            self.assertEqual(form, network(text), text)

    def test_no_networks(self) -> None:
        """What is no network is none, and everybody cannot be banned."""
        for text in ("alice", "192.0.2", "192.0.2.0/33", "192.0.2.0/", ""):
            self.assertIsNone(network(text), text)
        for text in ("0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"):
            self.assertRaises(BanError, network, text)

    def test_bars(self) -> None:
        """Addresses in a banned network are barred, and no others."""
        bans = Bans()
        for text in ("192.0.2.0/24", "198.51.100.7", "2001:db8::1", "2001:db9::/32"):
            bans.add(network_ban(text))
        for host in (
            "192.0.2.0",
            "192.0.2.255",
            "198.51.100.7",
            "::ffff:192.0.2.9",
            "2001:db8::ffff",
            "2001:db9:1::",
        ):
            self.assertTrue(bans.bars(at(host)), host)
        for host in ("192.0.3.0", "198.51.100.8", "2001:db8:0:1::1", "::c000:209", "127.0.0.1"):
            self.assertFalse(bans.bars(at(host)), host)
        self.assertFalse(bans.bars(None) or bans.bars(UNIXAddress("/run/chat.sock")))

    def test_remove(self) -> None:
        """A network is free again, and those around it stay barred."""
        bans = Bans()
        wide, narrow = network_ban("192.0.2.0/24"), network_ban("192.0.2.7")
        bans.add(wide)
        bans.add(narrow)
        bans.remove(wide)
        self.assertEqual([True, False], [bans.bars(at(host)) for host in ("192.0.2.7", "192.0.2.8")])
        bans.remove(narrow)
        self.assertFalse(bans.bars(at("192.0.2.7")))
        self.assertEqual([], list(bans))


class BannedTests(KeptCase):
    """Relays one after the other on one store."""

    def setUp(self) -> None:
        """Make the first."""
        self.path = store_path(self)
        self.here = self.start()

    def start(self) -> KeptRelay:
        """A relay on what was kept so far."""
        store = open_store(self.path)
        self.addCleanup(store.close)
        return self.kept_relay(store)

    def settle(self) -> None:
        """Let what happened be kept."""
        for _ in range(3):
            self.here.turn()

    def code(self, who: Person, relay: KeptRelay | None = None) -> str:
        """What comes of a login."""
        client = (relay or self.here).connect()
        client.login(who)
        client.hears()
        last = client.heard[-1]
        return str(getattr(last, "code", "ok"))

    def test_key(self) -> None:
        """A banned key is refused, after a restart too, others are not, and lifted it may come again."""
        ban = key_ban("alice")
        self.here.factory.bans.add(ban)
        self.settle()
        for relay in (self.here, self.start()):
            self.assertEqual("banned", self.code(person("alice"), relay))
            self.assertEqual("ok", self.code(person("bob"), relay))
        self.here.factory.bans.remove(ban)
        self.settle()
        for relay in (self.here, self.start()):
            self.assertEqual("ok", self.code(person("alice"), relay))

    def test_not_proven(self) -> None:
        """Who does not prove to be a banned key does not learn that it is."""
        self.here.factory.bans.add(key_ban("alice"))
        client = self.here.connect()
        client.send(hello(person("alice"), bytes(32)))
        self.assertEqual("bad-certificate", client.code())

    def test_cut_off(self) -> None:
        """Who is banned while logged in hears why, and is here no more."""
        alice, bob = self.here.room("#tea", "alice", "bob")
        self.here.factory.bans.add(key_ban("bob"))
        self.assertTrue(self.here.factory.bar(bob.me.identity.public))
        self.assertEqual(["banned"], [each.code for each in of(Goodbye, bob.hears())])
        self.assertEqual(["bob"], [each.name for each in of(Presence, alice.hears()) if not each.here])
        self.assertFalse(self.here.factory.bar(bob.me.identity.public))

    def test_network(self) -> None:
        """A banned network is cut off before anything is said, after a restart too; links from it are ended."""
        there, elsewhere = self.here.connect("192.0.2.7"), self.here.connect("198.51.100.1")
        bob = self.here.connect("192.0.2.8")
        bob.login(person("bob"))
        bob.hears()
        self.here.factory.bans.add(network_ban("192.0.2.0/24"))
        self.assertEqual(2, self.here.factory.cut_off_barred())
        self.settle()
        self.assertEqual([True, True, False], [each.transport.lost for each in (there, bob, elsewhere)])
        for relay in (self.here, self.start()):
            self.assertIsNone(relay.try_connect("192.0.2.9"))
            self.assertIsNotNone(relay.try_connect("198.51.100.2"))
            self.assertEqual(1, relay.factory.refused_addresses)

    def test_ipv6(self) -> None:
        """A banned IPv6 address bars the rest of its /64, over a restart, and not the next one."""
        self.here.factory.bans.add(network_ban("2001:db8::1"))
        self.settle()
        for relay in (self.here, self.start()):
            found = [relay.try_connect(host) for host in ("2001:db8::2", "2001:db8:0:1::1")]
            self.assertEqual([False, True], [each is not None for each in found])

    def remove(self, name: str) -> None:
        """Take a name away, and nothing else."""
        owner = self.here.factory.owners.named(name)
        assert owner is not None
        self.here.factory.owners.remove(owner)
        self.settle()

    def test_name(self) -> None:
        """A name that was taken away is nobody's, and then somebody else's, after a restart too."""
        (alice,) = self.here.login("alice")
        alice.transport.lose()
        self.here.turn()
        self.remove("alice")
        self.assertEqual(0, len(self.here.factory.owners))
        new = person("alice", 1)
        (bob,) = self.here.login("bob")
        self.assertEqual(b"", only(Found, bob.does(Lookup("alice"))).certificate)
        prekeys = only(Prekeys, bob.does(Want([alice.me.device.public])))
        self.assertEqual([(alice.me.device.public, b"")], prekeys.items)
        self.assertEqual(["bob"], [owner.name for owner in self.start().factory.owners])
        self.assertEqual("ok", self.code(new))
        self.assertEqual(new.certificate.packed, only(Found, bob.does(Lookup("alice"))).certificate)
        again = self.start()
        self.assertEqual(["alice", "bob"], sorted(owner.name for owner in again.factory.owners))
        self.assertEqual("name-owned", self.code(alice.me, again))
        self.assertEqual("ok", self.code(new, again))

    def test_name_given_back(self) -> None:
        """Whoever lost a name may take that one again while it is free, and after a restart has it."""
        self.here.login("alice")[0].transport.lose()
        self.here.turn()
        self.remove("alice")
        self.assertEqual("ok", self.code(person("alice"), self.start()))
        again = self.start()
        self.assertEqual([False], [owner.is_former for owner in again.factory.owners])
        self.assertEqual("name-owned", self.code(person("alice", 1), again))

    def test_no_other_name(self) -> None:
        """Whoever lost a name gets no other one, in which they would be a stranger in rooms they are members of."""
        (alice,) = self.here.login("alice")
        alice.transport.lose()
        self.here.turn()
        self.remove("alice")
        other = certified(alice.me, "alicia", alice.me.device)
        for relay in (self.here, self.start()):
            self.assertEqual("bad-certificate", self.code(other, relay))

    def test_in_rooms(self) -> None:
        """A room keeps the one who lost the name as a member; the name's new owner is none, until they are gone."""
        alice, bob = self.here.room("#tea", "alice", "bob")
        self.here.factory.bans.add(key_ban("bob"))
        self.here.factory.bar(bob.me.identity.public)
        self.here.turn()
        self.remove("bob")
        (new,) = self.here.login_as(person("bob", 1))
        room = self.here.factory.rooms.memberships.rooms["#tea"]
        self.assertIn(bob.me.identity.public, room.log.members)
        self.assertEqual([], of(SessionKey, new.does(Enter("#tea", 0, LAST_SEQ))))
        self.assertNotIn("bob", room.entered)
        self.assertEqual(["bad-entry"], declined(new.does(Append("#tea", joining(new)))))
        alice.found("#cake")
        self.assertEqual(["bad-entry"], declined(alice.add("#cake", bob.me)))
        alice.remove("#tea", bob.me)
        self.assertEqual([], declined(alice.add("#tea", new.me)))
        self.assertEqual(new.me.device.public, room.entered["bob"].device)
