"""After the fact: what an answer taught."""

from math import inf
from time import perf_counter

from router.ids import Tier, WorkerId
from router.index.knowledge import Knowledge
from router.prompt.identity import Identity, TextIdentity
from router.prompt.request import Request
from router.routing.cost import CostModel
from router.routing.policy import Decision
from router.telemetry.metrics import Metrics

_STREAMS_S = 60.0
"""For so long after a stream's first token its kind is believed alone."""


class Learner:
    """Feeds the index, the token estimate, the cost model and the prediction metrics from finished answers."""

    def __init__(
        self, index: Knowledge, identities: TextIdentity, cost: CostModel, metrics: Metrics
    ) -> None:
        self._index = index
        self._identities = identities
        self._cost = cost
        self._metrics = metrics
        self._streamed_at = -inf

    def first_token(self, decision: Decision, observed_s: float) -> None:
        """A stream's first token came `observed_s` after the request was sent."""
        self._streamed_at = perf_counter()
        self._metrics.ttft_error.observe(observed_s - decision.ttft_s)
        if decision.load_s:
            late_s = observed_s - decision.ttft_s
            self._cost.loads.learn(
                decision.tier, decision.loaded_tokens, decision.load_s + late_s, decision.scale
            )
        else:
            self._cost.rates.learn(decision.worker.id, decision.ttft_s / decision.scale, observed_s)

    def unstreamed(self, decision: Decision, tokens: int, observed_s: float) -> None:
        """An answer of so many tokens came as a whole, `observed_s` after the request was sent.

        Where nothing streams, room for more opens when a prefill should be over. If answers are there sooner than
        predicted, the worker is faster than thought and would be left idle. That they are there later shows
        nothing: what came after them held them up.
        """
        if perf_counter() - self._streamed_at < _STREAMS_S:
            return
        step_s = decision.ttft_s - decision.prefill_s - decision.waiting_s
        share = observed_s / (decision.ttft_s + tokens * step_s)
        if share < 1.0:
            predicted_s = decision.ttft_s / decision.scale
            self._cost.rates.learn(decision.worker.id, predicted_s, decision.ttft_s * share)

    def prompt_tokens(self, request: Request, identity: Identity, tokens: int) -> None:
        """The answer said how long the prompt was."""
        self._identities.learn(request, identity.text, tokens)

    def cached_tokens(
        self, decision: Decision, identity: Identity, actual: int, sent_at: float = inf
    ) -> None:
        """The answer to what was sent at `sent_at` said how much of the prompt was cached."""
        worker, predicted, counts = (
            decision.worker.id,
            decision.cached_tokens,
            self._metrics.cached_tokens,
        )
        loaded = round(decision.loaded_tokens)
        own = round(predicted) - loaded
        counts["predicted", Tier.GPU] += own
        counts["actual", Tier.GPU] += min(actual, own) if loaded else actual
        if loaded:
            counts["predicted", decision.tier] += loaded
            counts["actual", decision.tier] += max(0, actual - own)
        known = "events" if self._index.is_exact(worker, identity, sent_at) else "predictions"
        self._metrics.cached_error[known].observe(actual - predicted)
        self._index.audit(worker, identity, decision.blocks, (predicted, actual), sent_at)

    def answer(self, tokens: int) -> None:
        """An answer had so many tokens."""
        self._cost.answered(tokens)

    def answered(
        self, worker: WorkerId, identity: Identity, prompt_tokens: int, answer_tokens: int
    ) -> None:
        """The answer said how long it and the prompt are."""
        self._index.answered(worker, identity, prompt_tokens, answer_tokens)

    def begun(self, worker: WorkerId, identity: Identity) -> None:
        """`worker` has read the whole prompt."""
        self._index.begun(worker, identity)

    def refused(self, decision: Decision, identity: Identity) -> None:
        """The worker answered with an error, and has not read the prompt."""
        self._index.refused(decision.worker.id, identity, decision.blocks)

    def over(self, worker: WorkerId, identity: Identity) -> None:
        """`worker` has no more to do with a prompt that it was sent, and never began to answer."""
        self._index.over(worker, identity)
