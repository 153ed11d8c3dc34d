"""The shapes of a choice."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

import msgspec

from router.errors import RouterError
from router.fleet.worker import Worker
from router.ids import Tier, WorkerId
from router.prompt.identity import Identity


class Asking(Protocol):
    """What policies may want to know of a request beside its prompt; `Tools.session` reads its session."""

    model: str | None


class Question(msgspec.Struct, gc=False):
    """All that a policy may look at. `overlaps`: leading blocks per worker; `now`: perf_counter seconds.

    `arrived_at`, `tenant` and `priority` (lower goes first) are for requests that have to wait. `tried`: workers
    that were asked already and are left out while there are others; `candidates` are without them. `total_s`: how long after
    its arrival the answer must be complete.
    """

    request: Asking
    identity: Identity
    candidates: Sequence[Worker]
    overlaps: Mapping[WorkerId, int]
    now: float
    arrived_at: float = 0.0
    tenant: str = ""
    priority: int = 0
    tried: tuple[Worker, ...] = ()
    total_s: float = inf

    def untried(self, workers: Sequence[Worker]) -> Sequence[Worker]:
        """Who of them was not asked yet: of servers that were not, as all ranks of one fail together; else other ranks."""
        if not self.tried:
            return workers
        asked = {worker.process for worker in self.tried}
        elsewhere = [worker for worker in workers if worker.process not in asked]
        return elsewhere or [worker for worker in workers if worker not in self.tried]


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A policy's answer and, in a word or two, why."""

    worker: Worker
    reason: str


Policy = Callable[[Question], Choice]
"""Picks one of the candidates (there is at least one). Changes nothing but its own state."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes and what is expected of that.

    `blocks`: leading blocks known to be there. What follows is predicted: tokens, and seconds of that worker
    (`scale` times the model's): the prompt's own prefill, the work waiting before it, and the time to first
    token from now. `loaded_tokens` of the cached ones come from `tier`, in `load_s` of the prefill's seconds.
    """

    worker: Worker
    policy: str
    reason: str
    blocks: int
    cached_tokens: float
    uncached_tokens: float
    scale: float
    prefill_s: float
    waiting_s: float
    ttft_s: float
    tier: Tier = Tier.GPU
    loaded_tokens: float = 0.0
    load_s: float = 0.0


class Preview(msgspec.Struct, frozen=True):
    """What would become of a request now. `choices`: where it would go, several where a lot decides; `waits`:
    why it would wait first, in a word or two, empty when it would not.

    By candidate, None where a policy goes by something else: `costs`, seconds, the lowest wins; `lacks`, why it
    has no room for the request, empty when it has.
    """

    choices: Sequence[Choice]
    waits: str = ""
    costs: Sequence[float] | None = None
    lacks: Sequence[str] | None = None


QUEUE_FULL = "queue_full"
"""`Preview.waits` of a request that would be turned away, as too many wait."""


class Waiter(Protocol):
    """Whoever waits for a decision."""

    def go(self, decision: Decision) -> None:
        """It is this one's turn."""

    def turn_away(self, error: RouterError) -> None:
        """It waited for nothing."""


class Admission(Protocol):
    """Lets requests through to workers, at once or later. `name` is the policy's."""

    name: str

    def offer(self, question: Question) -> Decision | None:
        """Where to send the request now; None: it has to `wait`."""

    def preview(self, question: Question) -> Preview:
        """What `offer` would say now. Changes nothing but that lots may be drawn."""

    def wait(self, question: Question, waiter: Waiter) -> None:
        """Decide later; may decide at once. Raises `RouterError` when too many wait."""

    def withdraw(self, waiter: Waiter) -> None:
        """The client left. Harmless when it does not wait."""

    def drain(self, now: float) -> None:
        """Something changed on a worker: perhaps there is room."""

    def expire(self, now: float) -> None:
        """Turn away who has waited too long."""

    def close(self, error: RouterError) -> None:
        """Turn away everybody."""

    def __len__(self) -> int:
        """How many wait."""

    def depths(self) -> Mapping[str | None, int]:
        """The same, by the model they are for (None: they name none)."""
