"""Routers that share a store and a registry in this process, by a clock that the test turns."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.ids import BlockKey, WorkerId
from router.shared import board as board_module
from router.shared import lookup as lookup_module
from router.shared.base import (
    Answer,
    Board,
    Change,
    Facts,
    Replica,
    Row,
    StoreError,
    Write,
    as_store_error,
    pack_rows,
    rows_of,
)
from router.shared.board import BoardKeeper
from router.shared.bond import Bond
from router.shared.memory_store import MemoryStore, Shelf
from tests.unit.support import fleet_of

LEASE_S = 3.0
KV_TOKENS = 64 << 10
AWAY = StoreError("failed", "connection refused")


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeStore(MemoryStore):
    """A memory store that can be emptied, and fail. `failing`: names of methods, or all of them."""

    def __init__(self, clock: Clock, facts: Callable[[], int] = lambda: 0) -> None:
        super().__init__(Shelf(now=clock))
        self.epoch = b"e0"
        self.failing: frozenset[str] = frozenset()
        self.error: Exception = AWAY
        self.calls: Counter[str] = Counter()
        self.writes: list[Write] = []
        self.epochs_asked: list[bytes] = []
        self.rows_wanted: list[bool] = []
        self._clock = clock
        self._facts = facts
        self._emptied = 0

    def empty(self) -> None:
        self._emptied += 1
        self.shelf, self.epoch = Shelf(now=self._clock), b"e%d" % self._emptied

    def fail(self, *names: str, error: Exception = AWAY) -> None:
        """From now on, until nothing is named."""
        self.failing, self.error = frozenset(names), error

    @property
    def rows(self) -> list[Row]:
        return rows_of(self.shelf.rows())

    async def look_up(
        self, epoch: bytes, questions: Sequence[Sequence[BlockKey]], valid: bytes, *, rows: bool
    ) -> Answer:
        self.epochs_asked.append(epoch)
        self._called("look_up")
        return await super().look_up(epoch, questions, valid, rows=rows)

    async def write(self, epoch: bytes, writes: Sequence[Write]) -> None:
        self._called("write")
        self.writes += writes
        await super().write(epoch, writes)

    async def publish(
        self,
        replica: Replica,
        changes: Sequence[Change],
        *,
        epoch: bytes = b"",
        rows: bool = True,
    ) -> Board:
        self.rows_wanted.append(rows)
        self._called("publish")
        taken = changes if epoch in (b"", self.epoch) else ()
        board = await super().publish(replica, taken, rows=rows)
        packed = (board.rows or pack_rows([Row()])) if rows else b""  # there is always one
        return replace(board, epoch=self.epoch, facts=self._facts(), rows=packed)

    async def enrol(self, workers: Sequence[WorkerId]) -> list[int]:
        self._called("enrol")
        return await super().enrol(workers)

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.failing or "all" in self.failing:
            raise self.error


class FakeRegistry:
    """A `Registry` in this process; a lease lasts `LEASE_S`."""

    def __init__(self, clock: Clock) -> None:
        self.error: Exception | None = None
        self.version = 0
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, list[WorkerId], list[WorkerId]]] = []
        self._clock = clock
        self._leases: dict[WorkerId, tuple[str, float]] = {}
        self._facts: dict[WorkerId, tuple[int, Facts]] = {}
        self._homes: dict[str, WorkerId] = {}

    @property
    def holders(self) -> dict[WorkerId, str]:
        """Of leases that have not run out."""
        return {w: name for w, (name, ends) in self._leases.items() if ends > self._clock()}

    def empty(self) -> None:
        self._leases, self._facts, self._homes, self.version = {}, {}, {}, 0

    async def lease(
        self, replica: Replica, wanted: Sequence[WorkerId], returned: Sequence[WorkerId]
    ) -> dict[WorkerId, str]:
        self._called("lease")
        self.asked.append((replica.name, list(wanted), list(returned)))
        for worker in wanted:
            if self.holders.get(worker, replica.name) == replica.name:
                self._leases[worker] = replica.name, self._clock() + LEASE_S
        for worker in returned:
            if self.holders.get(worker) == replica.name:
                del self._leases[worker]
        return self.holders

    async def facts(
        self, since: int, news: Mapping[WorkerId, Facts]
    ) -> tuple[int, dict[WorkerId, Facts]]:
        self._called("facts")
        for worker, facts in news.items():
            self.version += 1
            self._facts[worker] = self.version, facts
        since = since if since <= self.version else 0
        return self.version, {w: facts for w, (at, facts) in self._facts.items() if at > since}

    async def remember(self, response_id: str, worker: WorkerId) -> None:
        self._called("remember")
        self._homes[response_id] = worker

    async def find(self, response_id: str) -> WorkerId | None:
        self._called("find")
        return self._homes.get(response_id)

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.error is not None:
            raise self.error


class Town:
    """What its routers share."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.registry = FakeRegistry(self.clock)
        self.store = FakeStore(self.clock, lambda: self.registry.version)

    def router(
        self,
        name: str,
        *,
        leads: bool = True,
        workers: Sequence[str] = ("a", "b"),
        kv_tokens: int = KV_TOKENS,
    ) -> "Router":
        return Router(self, Replica(name, leads), workers, kv_tokens)


class Router:
    """One router's fleet, bond and board. All its workers are up."""

    def __init__(
        self, town: Town, replica: Replica, workers: Sequence[str], kv_tokens: int
    ) -> None:
        self.town, self.replica = town, replica
        self.degraded: Counter[str] = Counter()
        self.epochs: list[bytes] = []
        self.fleet = fleet_of(*workers)
        self.bond = Bond(lambda reason: self.degraded.update([reason]), town.clock)
        self.board = BoardKeeper(
            town.store, self.fleet, replica, self.bond, kv_tokens=lambda _: kv_tokens
        )
        self.board.on_epoch = lambda: self.epochs.append(self.board.epoch)

    def worker(self, name: str) -> Worker:
        worker = self.fleet.get(f"{name}:8000")
        assert worker is not None
        return worker

    async def beat(self, after_s: float = 1.0) -> None:
        """Time passes, and the board is kept as `BoardKeeper.run` does it."""
        self.town.clock.now += after_s
        try:
            await self.board.tick()
        except (StoreError, TimeoutError) as error:
            self.bond.failed(as_store_error(error))
        self.board._forget_the_past()

    def send(
        self, name: str, *, tokens: float = 100.0, seconds: float = 1.0, context: float = 1000.0
    ) -> PendingPrefill:
        prefill = PendingPrefill(seconds, tokens, context, streams=True)
        self.worker(name).load.enter(prefill, self.town.clock.now)
        return prefill

    def end(self, name: str, prefill: PendingPrefill) -> None:
        self.worker(name).load.leave(prefill, self.town.clock.now)


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Town:
    """Where clocks go as the test says."""
    town = Town()
    for module in (board_module, lookup_module):
        monkeypatch.setattr(module, "perf_counter", town.clock)
    return town
