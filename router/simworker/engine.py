"""The engine: runs the scheduler's steps in real time and hands out what they sample."""

import asyncio
import time
from collections.abc import Callable
from collections.abc import Sequence as Items

from router.simworker.cache import BlockPool
from router.simworker.config import WorkerConfig
from router.simworker.events import KVEvents
from router.simworker.scheduler import Scheduler, Step
from router.simworker.sequence import Sequence
from router.simworker.stats import Stats

# A timer that fires late by up to this much is made up for in the next steps.
_CATCH_UP_S = 0.05


class EngineBusyError(Exception):
    """The queue is as long as it may get."""


class EngineDrainingError(Exception):
    """It only ends what it has."""


class EngineDeadError(Exception):
    """Its process is gone."""


class Engine:
    """One engine core, of a data-parallel rank; `run` must be running for anything to be answered."""

    def __init__(
        self, config: WorkerConfig, rank: int = 0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.rank = rank
        self._clock = clock
        self.events = KVEvents(config.block_size, rank)
        log = self.events if config.kv_events_port else None
        self.pool = BlockPool(config.num_blocks - 1, config.block_size, log)
        self.scheduler = Scheduler(
            self.pool,
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            log=log,
        )
        self.stats = Stats()
        self.sleep_level: int | None = None
        self.paused = False
        self.draining = False
        self.dead = False
        self.on_events: Callable[[KVEvents], None] | None = None
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Engine {self.scheduler!r} {self.pool!r}>"

    @property
    def usage(self) -> float:
        """Share of blocks that sequences refer to, 0 to 1."""
        return self.pool.in_use / self.pool.blocks

    @property
    def work(self) -> int:
        """How busy it is, as vLLM compares ranks."""
        return 4 * len(self.scheduler.waiting) + len(self.scheduler.running)

    def submit(self, sequences: Items[Sequence]) -> None:
        """Queue the sequences of one request; raises one of this module's errors if it takes none."""
        if self.dead:
            raise EngineDeadError
        if self.draining:
            raise EngineDrainingError
        limit = self.config.max_num_queued_reqs
        if limit and len(self.scheduler.waiting) >= limit:
            self.stats.rejected_requests += 1
            raise EngineBusyError
        for sequence in sequences:
            sequence.arrived_at = self._clock()
            self.scheduler.add(sequence)
        self._wake.set()

    def abort(self, sequences: Items[Sequence]) -> None:
        """Drop what of these has not ended (the client went away)."""
        for sequence in sequences:
            self.scheduler.abort(sequence)
        self._wake.set()  # the queue's head may fit now

    def abort_all(self) -> None:
        """End every answer where it is, with finish reason `abort`."""
        for sequence in (*self.scheduler.running, *self.scheduler.waiting):
            self.scheduler.abort(sequence)
            self.stats.finished["abort"] += 1
            sequence.outbox.put(sequence.index, None, "abort")

    def die(self) -> None:
        """As if its process was killed: answers break off, new requests fail."""
        self.dead = True
        for sequence in (*self.scheduler.running, *self.scheduler.waiting):
            self.scheduler.abort(sequence)
            sequence.outbox.fail(EngineDeadError())

    def pause(self, sleep_level: int | None = None, *, keep: bool = False) -> None:
        """Stop stepping; requests wait silently. What runs is aborted and the cache emptied, unless to `keep`."""
        self.paused, self.sleep_level = True, sleep_level
        if not keep:
            self.abort_all()
            self.pool.clear()

    def resume(self) -> None:
        """Step again."""
        self.paused, self.sleep_level = False, None
        self._wake.set()

    async def run(self) -> None:
        """Step for ever, resting while there is nothing to do."""
        due = self._clock()
        while True:
            step = None if self.paused else self.scheduler.schedule()
            if step is None or not step.entries:
                await self._rest()
                due = self._clock()
                continue
            self._record(step)
            now = self._clock()
            due = max(due, now - _CATCH_UP_S) + self.duration(step)
            await asyncio.sleep(max(0.0, due - now))
            self._hand_out(step)

    def duration(self, step: Step) -> float:
        """Seconds that a step takes: reading the weights once, or computing its prompt tokens."""
        config = self.config
        compute = step.prefill_tokens / config.prefill_tokens_per_s
        return max(config.itl_s, compute) * config.time_scale

    async def _rest(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    def _record(self, step: Step) -> None:
        now = self._clock()
        self.stats.preemptions += len(step.preempted)
        for sequence in step.admitted:
            self.stats.admitted(sequence, now)
        if self.on_events and self.events.pending:
            self.on_events(self.events)

    def _hand_out(self, step: Step) -> None:
        now = self._clock()
        for sampled in self.scheduler.complete(step):
            sequence = sampled.sequence
            if sampled.token is not None:
                self.stats.sampled(sequence, now)
            if sampled.finish_reason is not None:
                self.stats.ended(sequence, sampled.finish_reason, now)
            sequence.outbox.put(sequence.index, sampled.token, sampled.finish_reason)
