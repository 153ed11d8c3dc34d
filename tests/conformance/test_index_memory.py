"""The embedded index, and the predicting one on top of it, against the suite and the oracle."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from router.ids import WorkerId
from router.index.base import Index
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from tests.conformance.index_suite import (
    BLOCK_TOKENS,
    WORKERS,
    IndexSuite,
    NaiveIndex,
    Prefixes,
    PromptMachine,
    TokensSuite,
)


def _memory() -> MemoryIndex:
    return MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)


class TestMemoryIndex(IndexSuite):
    @pytest.fixture
    def index(self) -> Prefixes:
        return _memory()


class TestPredictedIndex(IndexSuite, TokensSuite):
    @pytest.fixture
    def index(self) -> Index:
        return PredictedIndex(_memory(), default_kv_tokens=10**9)


class MemoryMachine(PromptMachine[MemoryIndex]):
    """Also fills caches with answers, changes their size and removes workers."""

    capacity = 8 * BLOCK_TOKENS
    limit = 10**9

    def __init__(self) -> None:
        super().__init__()
        self.index = MemoryIndex(capacity_tokens=self.capacity, max_blocks=self.limit)
        self.naive = NaiveIndex(self.capacity, self.limit)

    @rule(worker=WORKERS, blocks=st.integers(1, 9))
    def occupy(self, worker: WorkerId, blocks: int) -> None:
        self.index.occupy(worker, blocks * BLOCK_TOKENS)
        self.naive.occupy(worker, blocks * BLOCK_TOKENS)

    @rule(worker=WORKERS, blocks=st.integers(0, 12))
    def resize(self, worker: WorkerId, blocks: int) -> None:
        self.index.set_capacity(worker, blocks * BLOCK_TOKENS)
        self.naive.capacities[worker] = blocks * BLOCK_TOKENS
        self.naive.put(worker, [])

    @rule(worker=WORKERS)
    def remove(self, worker: WorkerId) -> None:
        self.index.remove(worker)
        self.naive.held.pop(worker, None)
        self.naive.capacities.pop(worker, None)

    @invariant()
    def what_is_held_fits(self) -> None:
        for worker, held in self.naive.held.items():
            used = self.index.used_tokens(worker)
            assert used == sum(held.values())
            assert used <= self.naive.capacities.get(worker, self.capacity)
            assert self.index.blocks(worker) == len(held)
        assert len(self.index) == sum(map(len, self.naive.held.values())) <= self.limit

    def teardown(self) -> None:
        for worker in list(self.naive.held):
            self.index.remove(worker)
        assert len(self.index) == 0
        assert not self.index._holders


class SmallMachine(MemoryMachine):
    """All workers together hold less than they would each: the fullest one gives way."""

    limit = 10


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSmallMachine = SmallMachine.TestCase
TestSmallMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
