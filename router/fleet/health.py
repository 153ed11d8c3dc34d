"""Active health checks: one probe per server at a time, whatever its ranks."""

import asyncio
import logging
import time
from collections.abc import Callable

from router.engines.base import Condition, Engine
from router.errors import OUT_OF_SOCKETS, UNREACHABLE, RouterError
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId

logger = logging.getLogger(__name__)


_AGAIN_S = 0.5
"""Pause before a failed probe of a worker that is up is repeated, and between suspicions."""


class HealthChecker:
    """Probes every worker each `interval_s`; asks for models and cache size each `describe_s`, and at once
    when a worker comes (back) up.

    A worker that is up is only taken down after `failures` probes in a row, and not while anything comes from it: a
    long prefill can make it slow to answer. `probes`: which workers are this router's to look after.
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
        self.interval_s = interval_s
        self.describe_s = describe_s
        self._failures = failures
        self._missed: dict[Worker, int] = {}
        self._described: dict[Worker, float] = {}
        self._probing: set[Worker] = set()
        self._suspects: set[WorkerId] = set()
        self._suspected: dict[WorkerId, float] = {}
        self._wake = asyncio.Event()

    def suspect(self, worker: Worker) -> None:
        """Something is wrong with the worker: probe it now, whoever looks after it; not more often than `_AGAIN_S`."""
        now = time.monotonic()
        if now - self._suspected.get(worker.process, -_AGAIN_S) >= _AGAIN_S:
            self._suspected[worker.process] = now
            self._suspects.add(worker.process)
            self._wake.set()

    async def run(self) -> None:
        """Probe for ever. Workers do not wait for each other: one that does not answer is skipped meanwhile."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._forget_the_gone()
                self._suspects.clear()
                for worker in self._fleet.processes():
                    if worker not in self._probing and self.probes(worker):
                        self._begin(group, worker)
                await self._pause(group)

    async def _pause(self, group: asyncio.TaskGroup) -> None:
        """Until the next round is due; suspects are seen to meanwhile."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self.interval_s
        while (left := ends_at - loop.time()) > 0:
            try:
                async with asyncio.timeout(
                    left
                ):  # wait_for may miss that it is cancelled (before Python 3.12)
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()
            suspects, self._suspects = self._suspects, set()
            for worker in self._fleet.processes():
                if worker.process in suspects and worker not in self._probing:
                    self._begin(group, worker)
        await asyncio.sleep(0)

    def _begin(self, group: asyncio.TaskGroup, worker: Worker) -> None:
        self._probing.add(worker)
        group.create_task(self._probe_once(worker))

    async def _probe_once(self, worker: Worker) -> None:
        """Probe, and at once again while a worker that was up does not answer in time."""
        try:
            await self.probe(worker)
            while worker.up and self._missed.get(worker):
                await asyncio.sleep(min(_AGAIN_S, self.interval_s))
                await self.probe(worker)
        finally:
            self._probing.discard(worker)

    def _forget_the_gone(self) -> None:
        workers = set(self._fleet.processes())
        for gone in self._missed.keys() - workers:
            self._missed.pop(gone)
            self._described.pop(gone, None)
            self._suspected.pop(gone.process, None)

    async def probe(self, worker: Worker) -> None:
        """Find out how one worker is and tell the fleet."""
        reads = worker.pool.reads
        try:
            condition = await self._engine.condition(worker.pool, worker.report)
            if condition is Condition.ILL:
                self._failed(worker, _ill(worker))
                return
            await self._describe(worker)
        except RouterError as error:
            if error.code == OUT_OF_SOCKETS:  # that says nothing of the worker
                logger.warning("worker %s cannot be probed: %s", worker.id, error)
                return
            self._failed(worker, error.message, certain=error.code == UNREACHABLE)
        except TimeoutError:
            if worker.pool.reads <= reads:
                self._failed(worker, "no answer to a probe in time")
        except Exception:  # one worker's oddity must not end the loop for all
            logger.exception("probing worker %s failed", worker.id)
            self._failed(worker, "the probe failed; the log has the details")
        else:
            self._passed(worker, condition)

    async def _describe(self, worker: Worker) -> None:
        """Ask for its models and cache size, if that is due."""
        now = time.monotonic()
        if worker.up and now - self._described.get(worker, -self.describe_s) < self.describe_s:
            return
        report = await self._engine.describe(worker.pool)
        if self._fleet.knows(worker):
            self._fleet.set_report(worker, report)
            self._described[worker] = time.monotonic()

    def _passed(self, worker: Worker, condition: Condition) -> None:
        if self._fleet.knows(worker):
            self._missed[worker] = 0
            self._fleet.set_condition(worker, condition)
            self._fleet.mark_up(worker)

    def _failed(self, worker: Worker, why: str, *, certain: bool = False) -> None:
        if not self._fleet.knows(worker):
            return
        missed = self._missed[worker] = self._missed.get(worker, 0) + 1
        if certain or not worker.up or missed >= self._failures:
            self._fleet.mark_down(worker, why)


def _ill(worker: Worker) -> str:
    prefix = worker.pool.address.prefix
    hint = "; a worker's URL ends before its /v1" if prefix.endswith(b"/v1") else ""
    return f"{prefix.decode()}/health does not answer 200{hint}"


def everybody(worker: Worker) -> bool:
    """No worker is left out."""
    del worker
    return True
