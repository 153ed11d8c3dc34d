"""Operations of the queue while many wait, each timed by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time

from bench.choosing.rig import Rig
from router.errors import RouterError
from router.fleet.worker import Worker
from router.routing.policy import Decision

Costs = dict[str, list[float]]
"""Per operation, CPU seconds of each."""

_PROMPTS = 500
_TOKENS = (500, 1000, 2000, 4000, 8000, 16_000)
_HOLDERS = 3
_TICK_S = 0.001
_STALE_S = 1.0


class Waiting:
    """A request in the queue."""

    def __init__(self, sent: Callable[[Waiting, Decision], None]) -> None:
        self._sent = sent

    def go(self, decision: Decision) -> None:
        """It is this one's turn."""
        self._sent(self, decision)

    def turn_away(self, error: RouterError) -> None:
        """Nobody is turned away here."""
        raise error


class Line:
    """`waiting` requests before workers without room, of `tenants` tenants; prompts are 500 to 16,000 tokens and
    a few workers hold a part of each.
    """

    def __init__(self, rig: Rig, waiting: int, tenants: int = 1) -> None:
        self.costs: Costs = defaultdict(list)
        self.rig, self._tenants, self._now = rig, tenants, 1000.0
        self._number = 0
        self._waiting: dict[Waiting, None] = {}
        self._prompts = [rig.prompt(rig.random.choice(_TOKENS)) for _ in range(_PROMPTS)]
        for prompt in self._prompts:
            rig.hold(prompt, rig.random.sample(rig.workers, min(_HOLDERS, len(rig.workers))))
        for worker in rig.workers:
            rig.fill(worker, self._now)
        for _ in range(waiting):
            self.wait()
        self.costs.clear()

    def __len__(self) -> int:
        return len(self.rig.queue)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = process_time()
        yield
        self.costs[name].append(process_time() - started)

    def wait(self) -> None:
        """One more comes."""
        self._number += 1
        tenant = f"tenant-{self._number % self._tenants}"
        prompt = self.rig.random.choice(self._prompts)
        question = self.rig.question(prompt, self._now, tenant=tenant)
        waiter = Waiting(self._sent)
        self._waiting[waiter] = None
        with self._timed("wait"):
            self.rig.queue.wait(question, waiter)

    def _sent(self, waiter: Waiting, decision: Decision) -> None:
        """Its worker has no room any more."""
        del self._waiting[waiter]
        self.rig.fill(decision.worker, self._now)

    def drain(self, name: str = "drain") -> None:
        """A worker has room again; as many come as were sent there."""
        self._now += _TICK_S
        before = len(self)
        self.rig.free(self.rig.random.choice(self._full() or self.rig.workers), self._now)
        with self._timed(name):
            self.rig.queue.drain(self._now)
        for _ in range(before - len(self)):
            self.wait()

    def drain_stale(self) -> None:
        """The same when what is known of the first in order is old: they are looked up anew."""
        self._now += _STALE_S
        self.drain("drain, looked up anew")

    def idle(self) -> int:
        """Workers that have room though so many wait."""
        return len(self.rig.workers) - len(self._full())

    def _full(self) -> list[Worker]:
        room = self.rig.queue.room
        return [worker for worker in self.rig.workers if not room.at(worker, self._now)]

    def withdraw(self) -> None:
        """Somebody leaves."""
        waiter = self.rig.random.choice(list(self._waiting))
        del self._waiting[waiter]
        with self._timed("withdraw"):
            self.rig.queue.withdraw(waiter)

    def expire(self) -> None:
        """Nobody has waited too long."""
        with self._timed("expire"):
            self.rig.queue.expire(self._now)
