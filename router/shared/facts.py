"""What is known of workers, told by the router that looks after each and read by all others."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from router.engines.base import Condition, WorkerReport
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.shared.base import Facts, Registry
from router.shared.board import BoardKeeper
from router.shared.bond import Bond
from router.shared.leases import Leases
from router.shared.orders import Orders

_TICK_S = 0.25
_TIMEOUT_S = 2.0
_SWEEP_TICKS = 20
"""Every so many, all that is known counts anew: of workers that failed here and are well, of those that came later."""

_NOTHING = Facts()


class Told(NamedTuple):
    """A worker's events are followed: tokens in its blocks; `whole`: all of them were."""

    block: int
    whole: bool


class FactsKeeper:
    """`heard`: workers whose events this router follows. `takes_over`: health and models of workers that others look
    after are taken from them.
    """

    def __init__(
        self,
        registry: Registry,
        fleet: Fleet,
        board: BoardKeeper,
        leases: Leases,
        bond: Bond,
        *,
        takes_over: bool,
    ) -> None:
        self.heard: Callable[[], Mapping[WorkerId, Told]] = dict
        self._registry = registry
        self._fleet = fleet
        self._board = board
        self._leases = leases
        self._bond = bond
        self.orders = Orders()
        self._takes_over = takes_over
        self._known: dict[WorkerId, Facts] = {}
        self._next: dict[WorkerId, int] = {}
        self._begun: set[WorkerId] = set()
        self._version = 0
        self._ticks = 0

    def life(self, worker: WorkerId) -> int:
        """Which blocks of tokens count; 0: none. Later ones do so as well."""
        return self._known.get(worker, _NOTHING).life

    def next_life(self, worker: WorkerId) -> int:
        """What blocks are stamped with that are told now."""
        return self._next.get(worker, 0) if self._leases.owns(worker) else self.life(worker)

    def begin_anew(self, worker: WorkerId) -> None:
        """What was told of the worker's blocks is told once more, with a life of its own."""
        known = max(self._next.get(worker, 0), self.life(worker))
        self._next[worker] = max(known + 1, _now())
        self._begun.add(worker)

    def anew(self, worker: WorkerId) -> None:
        """That is done: what was told before does not count any more."""
        self._begun.discard(worker)

    def forget_all(self) -> None:
        """The store was emptied: all is to be told again."""
        self._version, self._known = 0, {}
        self.orders.tell_again()

    def told(self) -> Iterator[tuple[WorkerId, Told]]:
        """Workers whose events others follow, and tell of, while they can be heard."""
        if self._bond.up:
            for worker, facts in self._known.items():
                if facts.block and not self._leases.owns(worker):
                    yield worker, Told(facts.block, facts.whole)

    async def run(self) -> None:
        """Tell and read for ever."""
        while True:
            await asyncio.sleep(_TICK_S)
            if not self._bond.up:
                continue
            await self._bond.carry(self.tick, _TIMEOUT_S, "sharing what is known of workers")

    async def tick(self) -> None:
        """Tell what is new, read what is new. Raises `StoreError`."""
        news = self._news()
        self._ticks += 1
        changed: Mapping[WorkerId, Facts] = {}
        if news or self._version != self._board.facts:
            self._version, changed = await self._registry.facts(self._version, news)
            self.orders.told(news)
            self._known |= changed
            self.orders.take(changed)
        if self._takes_over:
            all_of_them = self._ticks % _SWEEP_TICKS == 0
            self._take_over_from(self._known if all_of_them else changed)

    def _take_over_from(self, known: Mapping[WorkerId, Facts]) -> None:
        """Let the fleet have health and models of workers that others look after."""
        for worker in self._fleet.processes():
            facts = known.get(worker.id)
            if facts is not None and not self._leases.owns(worker.id):
                self._take_over(worker, facts)

    def _news(self) -> dict[WorkerId, Facts]:
        heard = self.heard()
        mine = {w.id: self._facts(w, heard) for w in self._fleet if self._leases.owns(w.id)}
        news = {w: facts for w, facts in mine.items() if facts != self._known.get(w)}
        return news | self.orders.news()

    def _facts(self, worker: Worker, heard: Mapping[WorkerId, Told]) -> Facts:
        told, report = heard.get(worker.id, Told(0, False)), worker.report
        told_anew = told.block and worker.id not in self._begun
        return Facts(
            worker.up,
            report.models,
            report.kv_tokens,
            report.block_tokens,
            report.started_at,
            report.ranks,
            told.block,
            told.whole,
            self.next_life(worker.id) if told_anew else self.life(worker.id),
            worker.condition,
        )

    def _take_over(self, worker: Worker, facts: Facts) -> None:
        report = WorkerReport(
            facts.models, facts.kv_tokens, facts.block_tokens, facts.started_at, facts.ranks
        )
        self._fleet.set_report(worker, report)
        self._fleet.set_condition(worker, Condition(facts.condition))
        if facts.up:
            self._fleet.mark_up(worker)
        elif worker.up:
            self._fleet.mark_down(worker, "so says the router that looks after it")


def _now() -> int:
    """Seconds: a life is told when it has begun to count, and who dies before that must not leave a later one to the
    next router.
    """
    return int(datetime.now(UTC).timestamp())
