"""After the fact: what an answer taught."""

from router.ids import WorkerId
from router.index.predicted import PredictedIndex
from router.prompt.identity import Identity, TextIdentity
from router.prompt.request import Request
from router.routing.cost import Rates
from router.routing.policy import Decision
from router.telemetry.metrics import Metrics


class Learner:
    """Feeds the index, the token estimate, the rates and the prediction metrics from finished answers."""

    def __init__(
        self, index: PredictedIndex, identities: TextIdentity, rates: Rates, metrics: Metrics
    ) -> None:
        self._index = index
        self._identities = identities
        self._rates = rates
        self._metrics = metrics

    def first_token(self, decision: Decision, observed_s: float) -> None:
        """A stream's first token came `observed_s` after the request was sent."""
        self._metrics.ttft_error.observe(observed_s - decision.ttft_s)
        self._rates.learn(decision.worker.id, decision.ttft_s / decision.scale, observed_s)

    def prompt_tokens(self, request: Request, identity: Identity, tokens: int) -> None:
        """The answer said how long the prompt was."""
        self._identities.learn(request, identity, tokens)

    def cached_tokens(self, decision: Decision, identity: Identity, actual: int) -> None:
        """The answer said how much of the prompt was cached."""
        counts = self._metrics.cached_tokens
        counts["predicted", "all"] += round(decision.cached_tokens)
        counts["actual", "all"] += actual
        self._index.found(decision.worker.id, identity, decision.blocks, actual)
        self._index.audit(decision.worker.id, identity, decision.cached_tokens, actual)

    def answered(
        self, worker: WorkerId, identity: Identity, prompt_tokens: int, answer_tokens: int
    ) -> None:
        """The answer said how long it and the prompt are."""
        self._index.answered(worker, identity, prompt_tokens, answer_tokens)
