"""The store in this process against the suite."""

import pytest

from router.shared.base import Hold, Store
from router.shared.memory_store import MemoryStore, Shelf
from tests.conformance.store_suite import HASTE_S, A, B, StoreSuite, chain


class TestMemoryStore(StoreSuite):
    epochs_are_one = True

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    @pytest.fixture
    def hasty(self) -> Store:
        return MemoryStore(Shelf(expiry_s=HASTE_S))

    async def test_a_hole_anywhere_ends_a_run(self, store: Store) -> None:
        """A Redis sees it only where a probe meets it."""
        keys = chain(64)
        await store.write(self.epoch, [Hold(A, 0, keys[:10] + keys[20:]), Hold(B, 0, keys)])
        assert await self._runs(store, keys) == [{A: 10, B: 64}]
