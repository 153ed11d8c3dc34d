"""One simulated worker: its engines, and what the HTTP handlers share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from router.simworker.config import WorkerConfig
from router.simworker.engine import Engine
from router.simworker.generate import Generator
from router.simworker.http import Request, bad_request
from router.simworker.publisher import EventPublisher
from router.simworker.store import ResponseStore


@dataclass(slots=True)
class Worker:
    """State of one worker; `running` keeps its engines, one for each data-parallel rank, going."""

    config: WorkerConfig
    engines: list[Engine]
    store: ResponseStore
    started_at: float
    tasks: asyncio.TaskGroup | None = None
    on_death: Callable[[], None] | None = None
    _turn: int = 0

    @classmethod
    def create(cls, config: WorkerConfig) -> "Worker":
        """A worker that is not running yet."""
        engines = [Engine(config, rank) for rank in range(config.data_parallel_size)]
        return cls(config, engines, ResponseStore(), datetime.now(UTC).timestamp())

    @property
    def engine(self) -> Engine:
        """That of the first rank."""
        return self.engines[0]

    def generator(self, request: Request) -> Generator:
        """The rank that serves a request: the one it says, else the one with the least to do. Raises ApiError."""
        return Generator(self.config, self._said(request) or self._least_busy())

    def _said(self, request: Request) -> Engine | None:
        with suppress(ValueError):
            rank, size = int(request.header(b"x-data-parallel-rank") or ""), len(self.engines)
            if not 0 <= rank < size:
                raise bad_request(f"data_parallel_rank {rank} is out of range [0, {size}).")
            return self.engines[rank]
        return None

    def _least_busy(self) -> Engine:
        """Equal ones take turns."""
        self._turn = (self._turn + 1) % len(self.engines)
        in_turn = self.engines[self._turn :] + self.engines[: self._turn]
        return min(in_turn, key=lambda engine: engine.work)

    def abort_all(self) -> None:
        """End every answer where it is."""
        for engine in self.engines:
            engine.abort_all()

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return any(engine.work for engine in self.engines)

    @property
    def dead(self) -> bool:
        """Whether an engine is gone."""
        return any(engine.dead for engine in self.engines)

    def drain(self) -> None:
        """Take no more requests; what runs goes on."""
        for engine in self.engines:
            engine.draining = True

    def die(self) -> None:
        """Lose the engines, as when one of their processes is killed."""
        for engine in self.engines:
            engine.die()
        if self.on_death is not None:
            self.on_death()

    def pause(self, sleep_level: int | None = None, *, keep: bool = False) -> None:
        """Stop all engines: requests wait silently, what runs is aborted unless to `keep`."""
        for engine in self.engines:
            engine.pause(sleep_level, keep=keep)

    def resume(self) -> None:
        """Let them go on."""
        for engine in self.engines:
            engine.resume()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the engines (and publish their cache events if asked) until the block ends."""
        publishers: list[EventPublisher] = []
        try:
            for engine in self.engines if self.config.kv_events_port else ():
                publishers.append(EventPublisher.bind(self.config, engine.rank))
                engine.on_events = publishers[-1].publish
            async with asyncio.TaskGroup() as self.tasks:
                work = [engine.run() for engine in self.engines]
                work += [publisher.replay() for publisher in publishers]
                jobs = [self.tasks.create_task(each) for each in work]
                try:
                    yield
                finally:
                    self.abort_all()
                    for job in jobs:
                        job.cancel()
        finally:
            for publisher in publishers:
                publisher.close()
