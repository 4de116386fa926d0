"""Who is logged in under which name. A name belongs to one link at a time and is free again when that ends."""

from typing import Generic, TypeVar

from securechat.wire.codes import Code
from securechat.wire.names import name_refusal

Holder = TypeVar("Holder")


class Directory(Generic[Holder]):
    """Names and their holders, at most `max_clients` of them."""

    def __init__(self, max_clients: int) -> None:
        self._max_clients = max_clients
        self._holders: dict[str, Holder] = {}

    def __len__(self) -> int:
        """How many are logged in."""
        return len(self._holders)

    def claim(self, name: str, holder: Holder) -> Code | None:
        """Give a name to its first claimant; the reason where that cannot be."""
        refusal = name_refusal(name)
        if refusal is not None:
            return refusal
        if name in self._holders:
            return Code.NAME_TAKEN
        if len(self._holders) >= self._max_clients:
            return Code.FULL
        self._holders[name] = holder
        return None

    def find(self, name: str) -> Holder | None:
        """Who holds a name now."""
        return self._holders.get(name)

    def release(self, name: str) -> None:
        """A name is free again."""
        del self._holders[name]
