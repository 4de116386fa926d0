"""What takes a minute: thousands who come back at once when their relay has started again."""

from __future__ import annotations

import time
from typing import Final

from securechat.client.retry import Retry
from tests.faults.ends import EndCase
from tests.faults.members import Members, Pace, found_room
from tests.relay.scraping import parsed
from tests.relay.test_operating import get, over_tcp

ROOMS: Final = 100
OPTIONS: Final = ("--max-clients", "3000", "--status", "tcp:0:interface=127.0.0.1")
PACE: Final = Pace(run=1, every_s=20)


class ReturnTests(EndCase):
    """Two thousand members of a hundred rooms."""

    def test_killed(self) -> None:
        """After `kill -9` all are back in their rooms within a minute, and everything acknowledged is there."""
        relay = self.start(*OPTIONS)
        rooms = {f"#room{room}": [f"m{room}x{number}" for number in range(20)] for room in range(ROOMS)}
        for room, names in rooms.items():
            found_room(self, relay.address, names, room)
        members = self.all_come(Members(relay.address, rooms, PACE, Retry))
        self.more_is_acknowledged(members, 1_000)
        relay.kill()
        began = time.monotonic()
        relay = self.start(*OPTIONS)
        self.until(lambda: members.are_there, 90)
        took = time.monotonic() - began
        tick = parsed(get(over_tcp(relay), "/metrics")[1])["securechat_tick_seconds"]
        self.more_is_acknowledged(members, 1_000)
        members.post(False)
        self.until(lambda: members.are_level, 30)
        self.assertEqual([], members.wrong)
        for room in rooms:
            self.assert_clean(*(each.life for each in members.each if each.room == room), told=None)
        self.measured(
            f"{len(members.each)} are back after {took:.1f} s, {members.acked} acknowledged; "
            f"no timer was later than {tick * 1e3:.0f} ms"
        )
        self.assertLess(took, 60)
        relay.ends()
