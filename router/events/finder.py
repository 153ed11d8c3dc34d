"""Asks workers where their events are, when they come up and when they were started anew."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from router.errors import RouterError
from router.events.sources import ConfiguredSources, EventSource
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.upstream.pool import Pool

logger = logging.getLogger(__name__)

Ask = Callable[[WorkerId, Pool], Awaitable[list[EventSource] | None]]
"""Asks a worker (`sources.discover`)."""


class Follower(Protocol):
    """Listens to sources (`feeds.EventFeeds`)."""

    def follow(
        self, worker: WorkerId, sources: Sequence[EventSource], started_at: float | None
    ) -> None:
        """These are the worker's sources now, in the life that it began then."""


class SourceFinder:
    """Looks at the fleet each `interval_s`. A worker that does not know the question has the `configured` sources,
    if there are any.
    """

    def __init__(
        self,
        fleet: Fleet,
        follower: Follower,
        ask: Ask,
        *,
        configured: ConfiguredSources | None = None,
        interval_s: float = 1.0,
    ) -> None:
        self._fleet = fleet
        self._follower = follower
        self._discover = ask
        self._configured = configured
        self._interval_s = interval_s
        self._asked: dict[Worker, float | None] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

    def asked(self) -> set[WorkerId]:
        """The workers that were asked in the life that they lead now."""
        return {
            worker.id
            for worker, life in self._asked.items()
            if worker.up and life == worker.report.started_at
        }

    async def look(self) -> None:
        """Ask those that are due, side by side."""
        async with asyncio.TaskGroup() as group:
            for worker in self._due():
                group.create_task(self._ask(worker))

    def _due(self) -> list[Worker]:
        """Workers that are up and were not asked in this life of theirs."""
        up = [worker for worker in self._fleet.processes() if worker.up]
        self._asked = {worker: life for worker, life in self._asked.items() if worker in up}
        return [
            worker
            for worker in up
            if worker not in self._asked or self._asked[worker] != worker.report.started_at
        ]

    async def _ask(self, worker: Worker) -> None:
        life = worker.report.started_at
        try:
            sources = await self._discover(worker.id, worker.pool)
        except (RouterError, TimeoutError):  # it is asked again, if it is up then
            return
        except Exception:  # one worker's oddity must not end the loop for all
            logger.exception("asking worker %s for its event sources failed", worker.id)
            return
        if worker not in self._fleet.processes():
            return
        self._asked[worker] = life
        if sources is None and self._configured is not None:
            sources = self._configured.of(worker.id, worker.pool.address)
        self._follower.follow(worker.id, sources or [], life)
