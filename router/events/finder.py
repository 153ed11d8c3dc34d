"""Asks workers where their events are, when they come up and when they were started anew."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import NamedTuple, Protocol

from router.errors import RouterError
from router.events.sources import ConfiguredSources, EventSource
from router.fleet.fleet import Fleet
from router.fleet.health import everybody
from router.fleet.target import EventPorts
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.upstream.pool import Pool

logger = logging.getLogger(__name__)

_RETRY_S = 30.0
"""After so long a worker is asked again whose sources could not be followed."""

Ask = Callable[[WorkerId, Pool], Awaitable[list[EventSource] | None]]
"""Asks a worker (`sources.discover`)."""


class Follower(Protocol):
    """Listens to sources (`feeds.EventFeeds`)."""

    def follow(
        self, worker: WorkerId, sources: Sequence[EventSource], started_at: float | None
    ) -> bool:
        """These are the worker's sources now, in the life that it began then; False: not all can be listened to yet."""

    def forget(self, worker: WorkerId) -> None:
        """The worker is not to be followed any more."""


class _Asked(NamedTuple):
    """A worker was asked in the `life` that began then, when its description had these `ports`, and `told` what was to be
    known; it is due `again_at`.
    """

    life: float | None
    ports: EventPorts | None
    told: bool
    again_at: float = math.inf


class SourceFinder:
    """Looks at the fleet each `interval_s`. Who described a worker may have said where its events are. A worker that does not know the question has the `configured` sources,
    if there are any. `follows`: which workers are this router's to follow.
    """

    def __init__(
        self,
        fleet: Fleet,
        follower: Follower,
        ask: Ask,
        *,
        configured: ConfiguredSources | None = None,
        interval_s: float = 1.0,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.follows: Callable[[Worker], bool] = everybody
        self._fleet = fleet
        self._follower = follower
        self._discover = ask
        self._configured = configured
        self._interval_s = interval_s
        self._now = now
        self._asked: dict[Worker, _Asked] = {}
        self._followed: set[Worker] = set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

    def asked(self) -> set[WorkerId]:
        """The workers that were asked in the life that they lead now."""
        return {
            worker.id
            for worker, asked in self._asked.items()
            if worker.up and asked.told and asked.life == worker.report.started_at
        }

    async def look(self) -> None:
        """Ask those that are due, side by side."""
        async with asyncio.TaskGroup() as group:
            for worker in self._due():
                group.create_task(self._ask(worker))

    def _due(self) -> list[Worker]:
        """Workers that are up and were not asked in this life of theirs, or are to be asked again."""
        workers = self._fleet.processes()
        up = [worker for worker in workers if worker.up and self.follows(worker)]
        for worker in [each for each in self._followed if not self.follows(each)]:
            self._followed.remove(worker)
            if worker in workers:
                self._follower.forget(worker.id)
        self._followed &= set(workers)
        self._asked = {worker: asked for worker, asked in self._asked.items() if worker in up}
        return [worker for worker in up if self._is_due(worker)]

    def _is_due(self, worker: Worker) -> bool:
        asked = self._asked.get(worker)
        return (
            asked is None
            or (asked.life, asked.ports) != (worker.report.started_at, worker.target.events)
            or asked.again_at <= self._now()
        )

    async def _ask(self, worker: Worker) -> None:
        life, ports = worker.report.started_at, worker.target.events
        again_at = self._now() + _RETRY_S
        try:
            sources = _told(worker, ports) or await self._discover(worker.id, worker.pool)
            if worker not in self._fleet.processes():
                return
            if sources is None and self._configured is not None:
                sources = self._configured.of(worker.id, worker.pool.address)
            self._followed.add(worker)
            complete = self._follower.follow(worker.id, sources or [], life)
            self._asked[worker] = _Asked(life, ports, True, math.inf if complete else again_at)
        except (RouterError, TimeoutError):  # it is asked again, if it is up then
            return
        except Exception:  # one worker's oddity must not end the loop for all
            logger.exception("following the events of worker %s failed", worker.id)
            self._asked[worker] = _Asked(life, ports, False, again_at)


def _told(worker: Worker, ports: EventPorts | None) -> list[EventSource]:
    """Where its events are, as who described it says."""
    if ports is None:
        return []
    replay = None if ports.replay is None else f"tcp://*:{ports.replay}"
    configured = ConfiguredSources(
        f"tcp://*:{ports.events}", replay, ranks=worker.report.ranks or 1
    )
    return configured.of(worker.id, worker.pool.address)
