"""Puts a choice together: overlaps, policy, and what is expected of it."""

from collections.abc import Mapping, Sequence
from time import perf_counter

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.index.base import Index
from router.prompt.identity import Identity
from router.prompt.request import Request
from router.routing.cost import STEP_SECONDS, Rates, prefill_seconds
from router.routing.policy import Choice, Decision, Policy, Question
from router.telemetry.metrics import Histogram

Lookup = Mapping[WorkerId, int]


class Chooser:
    """Applies one policy. A single candidate needs no policy, but is predicted all the same."""

    def __init__(
        self, name: str, policy: Policy, index: Index, rates: Rates, lookup: Histogram
    ) -> None:
        self.name = name
        self._policy = policy
        self._index = index
        self._rates = rates
        self._lookup = lookup

    def look_up(self, identity: Identity) -> Lookup:
        """Leading blocks of the prompt that each worker holds."""
        started = perf_counter()
        overlaps = self._index.lookup(identity)
        self._lookup.observe(perf_counter() - started)
        return overlaps

    def choose(
        self, request: Request, identity: Identity, candidates: Sequence[Worker], overlaps: Lookup
    ) -> Decision:
        """Decide among `candidates` (at least one)."""
        now = perf_counter()
        if len(candidates) == 1:
            choice = Choice(candidates[0], "only_candidate")
        else:
            choice = self._policy(Question(request, identity, candidates, overlaps, now))
        return self._expectation(choice, identity, overlaps, now)

    def _expectation(
        self, choice: Choice, identity: Identity, overlaps: Lookup, now: float
    ) -> Decision:
        worker = choice.worker
        blocks = overlaps.get(worker.id, 0)
        cached = self._index.cached_tokens(worker.id, identity, blocks)
        scale = self._rates.scale(worker.id)
        own = prefill_seconds(identity.tokens, cached) * scale
        waiting = worker.load.pending_seconds(now)
        return Decision(
            worker=worker,
            policy=self.name,
            reason=choice.reason,
            blocks=blocks,
            cached_tokens=cached,
            uncached_tokens=max(1.0, identity.tokens - cached),
            scale=scale,
            prefill_s=own,
            waiting_s=waiting,
            ttft_s=own + waiting + STEP_SECONDS * scale,
        )
