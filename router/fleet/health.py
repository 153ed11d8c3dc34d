"""Active health checks: one probe per server at a time, whatever its ranks."""

import asyncio
import logging
import time
from collections.abc import Callable

from router.engines.base import Engine
from router.errors import OUT_OF_SOCKETS, RouterError
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker

logger = logging.getLogger(__name__)


class HealthChecker:
    """Probes every worker each `interval_s`; asks for models and cache size each `describe_s`, and at once
    when a worker comes (back) up.

    A worker that is up is only taken down after `failures` probes in a row: a long prefill can make it
    slow to answer. `probes`: which workers are this router's to look after.
    """

    def __init__(
        self,
        fleet: Fleet,
        engine: Engine,
        *,
        interval_s: float,
        describe_s: float,
        failures: int = 3,
    ) -> None:
        self.probes: Callable[[Worker], bool] = everybody
        self._fleet = fleet
        self._engine = engine
        self._interval_s = interval_s
        self._describe_s = describe_s
        self._failures = failures
        self._missed: dict[Worker, int] = {}
        self._described: dict[Worker, float] = {}
        self._probing: set[Worker] = set()

    async def run(self) -> None:
        """Probe for ever. Workers do not wait for each other: one that does not answer is skipped meanwhile."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._forget_the_gone()
                for worker in self._fleet.processes():
                    if worker not in self._probing and self.probes(worker):
                        self._probing.add(worker)
                        group.create_task(self._probe_once(worker))
                await asyncio.sleep(self._interval_s)

    async def _probe_once(self, worker: Worker) -> None:
        try:
            await self.probe(worker)
        finally:
            self._probing.discard(worker)

    def _forget_the_gone(self) -> None:
        workers = set(self._fleet.processes())
        for gone in self._missed.keys() - workers:
            self._missed.pop(gone)
            self._described.pop(gone, None)

    async def probe(self, worker: Worker) -> None:
        """Find out how one worker is and tell the fleet."""
        try:
            if not await self._engine.healthy(worker.pool):
                self._failed(worker, "/health does not answer 200")
                return
            due = (
                time.monotonic() - self._described.get(worker, -self._describe_s)
                >= self._describe_s
            )
            if due or not worker.up:
                self._fleet.set_report(worker, await self._engine.describe(worker.pool))
                self._described[worker] = time.monotonic()
        except RouterError as error:
            if error.code == OUT_OF_SOCKETS:  # that says nothing of the worker
                logger.warning("worker %s cannot be probed: %s", worker.id, error)
                return
            self._failed(worker, error.message, certain=error.code == "worker_unreachable")
        except TimeoutError:
            self._failed(worker, "no answer to a probe in time")
        except Exception:  # one worker's oddity must not end the loop for all
            logger.exception("probing worker %s failed", worker.id)
            self._failed(worker, "the probe failed; the log has the details")
        else:
            self._missed[worker] = 0
            self._fleet.mark_up(worker)

    def _failed(self, worker: Worker, why: str, *, certain: bool = False) -> None:
        missed = self._missed[worker] = self._missed.get(worker, 0) + 1
        if certain or not worker.up or missed >= self._failures:
            self._fleet.mark_down(worker, why)


def everybody(worker: Worker) -> bool:
    """No worker is left out."""
    del worker
    return True
