"""One simulated worker: its engine, and what the HTTP handlers share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from router.simworker.config import WorkerConfig
from router.simworker.engine import Engine
from router.simworker.fields import unix_now
from router.simworker.generate import Generator
from router.simworker.publisher import EventPublisher
from router.simworker.store import ResponseStore


@dataclass(slots=True)
class Worker:
    """State of one worker; `running` keeps its engine going."""

    config: WorkerConfig
    engine: Engine
    generator: Generator
    store: ResponseStore
    started_at: int
    tasks: asyncio.TaskGroup | None = None

    @classmethod
    def create(cls, config: WorkerConfig) -> "Worker":
        """A worker that is not running yet."""
        engine = Engine(config)
        return cls(config, engine, Generator(config, engine), ResponseStore(), unix_now())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the engine (and publish its cache events if asked) until the block ends."""
        publisher = EventPublisher.bind(self.config) if self.config.kv_events_port else None
        try:
            async with asyncio.TaskGroup() as self.tasks:
                jobs = [self.tasks.create_task(self.engine.run())]
                if publisher:
                    self.engine.on_events = publisher.publish
                    jobs.append(self.tasks.create_task(publisher.replay()))
                try:
                    yield
                finally:
                    self.engine.abort_all()
                    for job in jobs:
                        job.cancel()
        finally:
            if publisher:
                publisher.close()
