"""The store in this process against the suite."""

import pytest

from router.shared.base import Store
from router.shared.memory_store import MemoryStore, Shelf
from tests.conformance.store_suite import HASTE_S, StoreSuite


class TestMemoryStore(StoreSuite):
    epochs_are_one = True

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    @pytest.fixture
    def hasty(self) -> Store:
        return MemoryStore(Shelf(expiry_s=HASTE_S))
