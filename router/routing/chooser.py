"""Looks a prompt up, lets a policy choose at once, and says what is to be expected of a choice."""

from collections.abc import Mapping
from time import perf_counter

from router.errors import RouterError
from router.ids import Tier, WorkerId
from router.index.base import Index
from router.prompt.identity import Identity
from router.routing.cost import CostModel
from router.routing.policy import Choice, Decision, Policy, Preview, Question, Waiter
from router.routing.preview import possible
from router.telemetry.metrics import Histogram

Lookup = Mapping[WorkerId, int]

_GPU = Tier.GPU, 0.0, 0.0
"""Nothing is loaded."""


class Chooser:
    """What every way of choosing needs of the index and the cost model."""

    def __init__(self, index: Index, cost: CostModel, lookup: Histogram) -> None:
        self.cost = cost
        self._index = index
        self._lookup = lookup

    def look_up(self, identity: Identity) -> Lookup:
        """Leading blocks of the prompt that each worker holds."""
        started = perf_counter()
        overlaps = self._index.lookup(identity)
        self._lookup.observe(perf_counter() - started)
        return overlaps

    def expect(self, policy: str, choice: Choice, question: Question) -> Decision:
        """The decision that a choice makes, with what it should bring."""
        worker, identity = choice.worker, question.identity
        blocks = question.overlaps.get(worker.id, 0)
        cached = self._index.cached_tokens(worker.id, identity, blocks)
        scale = self.cost.rates.scale(worker.id)
        own = self.cost.engine.prefill_s(identity.tokens, cached) * scale
        tier, loaded, load_s = _GPU
        if identity.stored and (below := identity.stored.get(worker.id)):
            covered = identity.covered_tokens(blocks) if blocks else 0.0
            if min(below.tokens, cached) > covered:
                tier, loaded = below.tier, cached - covered
                load_s = self.cost.loads.seconds(tier, loaded, scale)
        load = worker.load
        waiting = load.pending_seconds(question.now) if load.pending else 0.0
        return Decision(
            worker,
            policy,
            choice.reason,
            blocks,
            cached,
            max(1.0, identity.tokens - cached),
            scale,
            own + load_s,
            waiting,
            own + load_s + waiting + self.cost.step_s(load) * scale,
            *(tier, loaded, load_s),
        )


class Immediate:
    """Sends every request at once, to where a policy says (`policy.Admission`)."""

    def __init__(self, name: str, policy: Policy, chooser: Chooser) -> None:
        self.name = name
        self._policy = policy
        self._chooser = chooser

    def __len__(self) -> int:
        return 0

    def depths(self) -> Mapping[str | None, int]:
        """Nobody waits."""
        return {}

    def offer(self, question: Question) -> Decision:
        """The policy's choice; a single candidate needs none."""
        choice = _only(question) if len(question.candidates) == 1 else self._policy(question)
        return self._chooser.expect(self.name, choice, question)

    def preview(self, question: Question) -> Preview:
        """The policy's choice."""
        if len(question.candidates) == 1:
            return Preview([_only(question)])
        return Preview(possible(self._policy, question))

    def wait(self, question: Question, waiter: Waiter) -> None:
        """Never needed."""
        waiter.go(self.offer(question))

    def withdraw(self, waiter: Waiter) -> None:
        """Nobody waits."""

    def drain(self, now: float) -> None:
        """Nobody waits."""

    def expire(self, now: float) -> None:
        """Nobody waits."""

    def close(self, error: RouterError) -> None:
        """Nobody waits."""


def _only(question: Question) -> Choice:
    return Choice(question.candidates[0], "only_candidate")
