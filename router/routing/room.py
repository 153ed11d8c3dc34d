"""Whether a worker can begin with another request soon: by what it was sent, and by what it says of itself."""

from router.fleet.worker import Worker
from router.routing.cost import CostModel
from router.routing.options import QueueOptions
from router.routing.policy import Question

_NEVER_BELOW = 0.25
"""The share of `room_tokens` that even the slowest worker has."""

_GROWTH = 0.08
"""How much of a mean answer is kept free for each running one. Answers grow while others end: this much is
enough to keep engines from preempting what runs, and more would leave memory idle.
"""


class Room:
    """Judges room. Without metrics only what this router sent counts."""

    def __init__(self, cost: CostModel, options: QueueOptions) -> None:
        self._cost = cost
        self.options = options

    def at(self, worker: Worker, now: float) -> bool:
        """There is room for something: less prefill than one step takes, and a sequence free."""
        load, options = worker.load, self.options
        if load.inflight + load.foreign >= options.max_inflight:
            return False
        if not load.pending or worker.target.service is not None:
            return True
        rates = self._cost.rates
        speed = rates.middle / rates.scale(worker.id)
        room = options.room_tokens * min(1.0, max(speed, _NEVER_BELOW))
        return load.pending_tokens(now) < room

    def fits(self, question: Question, worker: Worker, now: float) -> bool:
        """The prompt fits the KV cache beside what runs there. True where memory is not known, and on an idle worker."""
        load, capacity = worker.load, worker.report.kv_tokens
        if load.kv_usage is None or capacity is None or not load.inflight:
            return True
        if question.identity.tokens >= capacity:  # it never fits: the engine will say so at once
            return True
        blocks = question.overlaps.get(worker.id, 0)
        identity = question.identity
        uncached = identity.tokens - (identity.covered_tokens(blocks) if blocks else 0.0)
        free = capacity * (1.0 - load.kv_usage) - load.pending_tokens(now) - uncached
        return free >= _GROWTH * self._cost.mean_answer * load.inflight

    def lacking(self, question: Question, worker: Worker, now: float) -> str:
        """Why the request cannot be sent to `worker` now; empty when it can."""
        load = worker.load
        if load.inflight + load.foreign >= self.options.max_inflight:
            return "max_inflight"
        if not self.at(worker, now):
            return "prefill_pending"
        return "" if self.fits(question, worker, now) else "kv_cache_full"
