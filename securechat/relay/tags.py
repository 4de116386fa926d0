"""What each kind of row is found by, see `storage_key`."""

from securechat.relay.bans import Ban
from securechat.relay.directory import Owner
from securechat.relay.storage_key import StorageKey


def owner_tag(key: StorageKey, owner: Owner) -> bytes:
    """By the name, or, for somebody who has lost theirs, by name and key: the name may be somebody else's."""
    name = owner.name.encode()
    return key.tag("owners", name, owner.identity) if owner.is_former else key.tag("owners", name)


def ban_tag(key: StorageKey, ban: Ban) -> bytes:
    """By what is banned."""
    return key.tag("bans", ban.kind.encode(), ban.value.encode())


def room_tag(key: StorageKey, room: str) -> bytes:
    """By the name of the room."""
    return key.tag("rooms", room.encode())


def cursor_tag(key: StorageKey, room: str, device: bytes) -> bytes:
    """By the device, in its room."""
    return key.tag("cursors", room.encode(), device)


def post_tag(key: StorageKey, room: str, sender: str, post_id: bytes) -> bytes:
    """By whoever sent it, and the id that they gave it, in its room."""
    return key.tag("messages", room.encode(), sender.encode(), post_id)
