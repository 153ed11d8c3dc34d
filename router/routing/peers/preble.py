"""Preble's global scheduler, which balances what was sent over the last minutes."""

from collections import deque

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.routing.peers.common import deepest, least
from router.routing.policies import Tools
from router.routing.policy import Choice, Policy, Question
from router.routing.preview import Remembering

WINDOW_S = 180.0
_PARTS = 18
_PART_S = WINDOW_S / _PARTS


class Window:
    """Sums per worker over the last `WINDOW_S`, in steps of an 18th of it; a worker without any takes no room."""

    def __init__(self) -> None:
        self._sums: dict[WorkerId, float] = {}
        self._parts: deque[dict[WorkerId, float]] = deque([{}], maxlen=_PARTS)
        self._started_at = 0.0

    def add(self, worker: WorkerId, amount: float, now: float) -> None:
        """Something was given to `worker` now."""
        self._roll(now)
        for sums in (self._parts[-1], self._sums):
            sums[worker] = sums.get(worker, 0.0) + amount

    def sums(self, now: float) -> dict[WorkerId, float]:
        """What each worker was given within the window."""
        self._roll(now)
        return self._sums

    def _roll(self, now: float) -> None:
        steps = int((now - self._started_at) / _PART_S)
        if not steps:
            return
        self._started_at += steps * _PART_S
        self._parts.extend({} for _ in range(min(steps, _PARTS)))
        self._sums = {}
        for part in self._parts:
            for worker, amount in part.items():
                self._sums[worker] = self._sums.get(worker, 0.0) + amount


def preble(tools: Tools) -> Policy:
    """Preble's E2 (arXiv 2407.00023, WukLab/preble): follow a prefix that is longer than the rest, else spread.

    The worker with the least load wins, among those with the longest match or among all. Load is the prefill
    given to it within three minutes and what the answers in flight take, in seconds. Left out: what evicting
    others costs, and moving a prefix away from an overloaded worker.
    """
    pick, cost = tools.random.choice, tools.cost
    window = Window()

    def load_s(worker: Worker, sums: dict[WorkerId, float]) -> float:
        load = worker.load
        return sums.get(worker.id, 0.0) + load.inflight * cost.mean_answer * cost.step_s(load)

    def choose(q: Question) -> Choice:
        sums = window.sums(q.now)
        depth, homes = deepest(q.candidates, q.overlaps)
        exploit = 2 * q.identity.covered_tokens(depth) > q.identity.tokens
        workers = homes if exploit else q.candidates
        worker = least(workers, [load_s(worker, sums) for worker in workers], pick)
        return Choice(worker, "cached" if exploit else "least_work")

    def note(q: Question, choice: Choice) -> None:
        worker = choice.worker.id
        cached = q.identity.covered_tokens(q.overlaps.get(worker, 0))
        window.add(worker, cost.engine.prefill_s(q.identity.tokens, cached), q.now)

    return Remembering(choose, note)
