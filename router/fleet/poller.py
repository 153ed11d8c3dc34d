"""Asks workers what they have to do: their metrics count requests whoever sent them."""

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter

from router.engines.base import Engine
from router.errors import RouterError
from router.fleet.fleet import Fleet
from router.fleet.health import everybody
from router.fleet.worker import Worker

logger = logging.getLogger(__name__)

_STALE_INTERVALS = 3.0
"""After so many without an answer nothing is known any more."""


class MetricsPoller:
    """Asks every worker that is up each `interval_s`, one after the other over that time; `on_report` is called
    after each answer. What a worker told is forgotten when it is down, or silent for three intervals. `probes`: which
    workers are this router's to ask.
    """

    def __init__(
        self, fleet: Fleet, engine: Engine, *, interval_s: float, on_report: Callable[[], None]
    ) -> None:
        self.probes: Callable[[Worker], bool] = everybody
        self._fleet = fleet
        self._engine = engine
        self.interval_s = interval_s
        self._on_report = on_report
        self._asking: set[Worker] = set()
        self._told_at: dict[Worker, float] = {}

    async def run(self) -> None:
        """Ask for ever. A worker that does not answer is not asked again meanwhile, and keeps no other waiting."""
        async with asyncio.TaskGroup() as group:
            while True:
                workers = self._fleet.processes()
                self._forget_the_silent(workers)
                for worker in workers:
                    if worker.up and worker not in self._asking and self.probes(worker):
                        self._asking.add(worker)
                        group.create_task(self._ask_once(worker))
                    await asyncio.sleep(self.interval_s / len(workers))
                if not workers:
                    await asyncio.sleep(self.interval_s)

    async def _ask_once(self, worker: Worker) -> None:
        try:
            await self.ask(worker)
        finally:
            self._asking.discard(worker)

    async def ask(self, worker: Worker) -> None:
        """Ask one server and note what it says of each of its ranks."""
        before = [(rank, rank.load.counts()) for rank in self._fleet.ranks(worker)]
        try:
            gauges = await self._engine.gauges(worker.pool)
        except (RouterError, TimeoutError):  # whether it is well is for its health check to say
            return
        except Exception:  # one worker's oddity must not end the loop for all
            logger.exception("reading the metrics of worker %s failed", worker.id)
            return
        if not gauges:
            return
        now = self._told_at[worker] = perf_counter()
        for rank, counts in before:
            told = gauges.get(rank.rank or 0)
            if told is None:
                rank.load.forget_report(now)
            else:
                rank.load.report(told, counts, now)
        self._on_report()

    def _forget_the_silent(self, workers: list[Worker]) -> None:
        now = perf_counter()
        for worker, told_at in list(self._told_at.items()):
            silent = now - told_at > _STALE_INTERVALS * self.interval_s
            if silent or not worker.up or worker not in workers:
                del self._told_at[worker]
                for rank in self._fleet.ranks(worker):
                    rank.load.forget_report(now)
                self._on_report()
