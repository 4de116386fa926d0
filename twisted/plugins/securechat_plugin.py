"""Announces the relay to twistd. Every twistd reads this file, so it imports nothing of ours."""

from twisted.application.service import ServiceMaker

securechat = ServiceMaker(
    name="securechat",
    module="securechat.relay.tap",
    description="A relay for securechat: rooms, keys and sealed messages.",
    tapname="securechat",
)
