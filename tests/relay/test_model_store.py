"""The model of a store keeps the contract as well, and a relay on it comes back as on a file."""

from __future__ import annotations

from pathlib import Path

from securechat.relay.store import Store
from tests.relay import model_store, store_contract
from tests.relay.model_store import ModelStore, Shelf


class ContractTests(store_contract.StoreContract):
    """What it promises as every store does."""

    def setUp(self) -> None:
        """Have a place for it."""
        self.shelf = Shelf()
        super().setUp()

    def open(self) -> Store:
        """Open what is there."""
        return ModelStore(self.shelf)

    def open_copy(self, path: Path) -> Store:
        """Open a file."""
        return model_store.open_copy(path)

    def fill(self) -> None:
        """From now on there is room for ten messages."""
        self.shelf.room_for = 10

    def make_room(self) -> None:
        """There is room for any number."""
        self.shelf.room_for = None


class RestartTests(store_contract.RestartContract):
    """Relays on a shelf."""

    def setUp(self) -> None:
        """Have a place for it."""
        self.shelf = Shelf()
        super().setUp()

    def open(self) -> Store:
        """Open what is there."""
        return ModelStore(self.shelf)
