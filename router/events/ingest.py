"""Shares the event loop between events and requests: work is done in slices, with pauses as long as they are."""

import asyncio
import logging
from time import perf_counter
from typing import Protocol

logger = logging.getLogger(__name__)

SLICE_S = 0.001


class Job(Protocol):
    """Something that has work at times."""

    def step(self) -> bool:
        """Do a small part of it (0.3 ms at most); False: there is none left."""


class Ingest:
    """Works for its jobs in turn, `slice_s` at a time. `longest_s` is the longest that the loop was held."""

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self.longest_s = 0.0
        self._slice_s = slice_s
        self._ready: dict[Job, None] = {}
        self._work = asyncio.Event()

    def wake(self, job: Job) -> None:
        """The job has work."""
        self._ready[job] = None
        self._work.set()

    def drop(self, job: Job) -> None:
        """The job's work is not wanted any more."""
        self._ready.pop(job, None)

    async def run(self) -> None:
        """Work for ever."""
        while True:
            await self._work.wait()
            if self.slice():
                await asyncio.sleep(self._slice_s)
            else:
                self._work.clear()

    def slice(self) -> bool:
        """Work for one slice; False: there is nothing left to do."""
        start = perf_counter()
        end = start + self._slice_s
        now = start
        while self._ready and now < end:
            job = next(iter(self._ready))
            del self._ready[job]
            more = True
            while more and now < end:
                more = _step(job)
                now = perf_counter()
            if more:
                self._ready[job] = None  # behind the others
        self.longest_s = max(self.longest_s, now - start)
        return bool(self._ready)


def _step(job: Job) -> bool:
    try:
        return job.step()
    except Exception:  # one source's trouble must not end the others'
        logger.exception("working on the events of %r failed", job)
        return False
