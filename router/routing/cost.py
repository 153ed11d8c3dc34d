"""What sending a request to a worker costs, in seconds, and the rates it rests on, learned from first tokens.

The cost of a request on a worker is its predicted time to first token there (the work before it, its own
uncached prefill), plus what it does to others: its prefill holds up the answers that are running, its own
answer and context slow down every later step. All terms are in the worker's own seconds, so that they add up
without weights; `HARM` says what a second of somebody's answer is worth against one of waiting.
"""

from statistics import median

import msgspec

from router.fleet.load import Load
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.identity import Identity
from router.routing.loads import LoadRates

HARM = 0.025
"""A second that running answers lose, against a second to first token. 0.0125 to 0.05 are within 5 %."""

_PER_INFLIGHT_S = 1e-4
"""Breaks ties towards the worker with fewer requests."""

_FORGET = 0.97
_PRIOR_SECONDS = 0.05
_CLIP = 4.0
_HALF_LIFE_S = 30.0
_NOTHING_LEFT = 1.001
"""What is this close to the prior says nothing, and the worker may be gone for long."""

_EVEN = (0.75, 1.33)
_MEAN_ANSWER = 250.0
_ANSWER_SHARE = 0.01


class EngineModel(msgspec.Struct, frozen=True):
    """How long an engine works, in seconds. The defaults are about an H100 with an 8B model; a worker's scale
    turns them into its own, so that only their proportions matter.

    `step_s`: a step that does nothing but read the weights; `token_s`: per token of prefill; `attention_s`: per
    token and token before it; `kv_s`: per token of context that a decode step reads.
    """

    token_s: float = 3e-5
    attention_s: float = 1.3e-9
    step_s: float = 0.009
    kv_s: float = 4.9e-8

    def prefill_s(self, tokens: float, cached: float) -> float:
        """Prefill of `tokens` of which `cached` need not be computed."""
        uncached = max(1.0, tokens - cached)
        return uncached * (self.token_s + self.attention_s * (cached + uncached / 2))


Terms = tuple[float, float, float, float]
"""One worker's cost now, for any request: base seconds, per second of prefill (at scale 1), per token of the
prompt; and the worker's scale.
"""


class CostModel:
    """Prices workers. `answered` teaches it how long answers are: only their mean is used."""

    def __init__(
        self, rates: "Rates", engine: EngineModel | None = None, *, harm: float = HARM
    ) -> None:
        self.engine = engine or EngineModel()
        self.rates = rates
        self.loads = LoadRates()
        self.mean_answer = _MEAN_ANSWER
        self._harm = harm

    def answered(self, tokens: int) -> None:
        """An answer of so many tokens ended."""
        self.mean_answer += _ANSWER_SHARE * (tokens - self.mean_answer)

    def step_s(self, load: Load) -> float:
        """A step of the running batch, at scale 1."""
        engine = self.engine
        context = load.context_tokens + load.inflight * self.mean_answer / 2
        return engine.step_s + context * engine.kv_s

    def prefill_s(self, identity: Identity, worker: WorkerId, cached: float, scale: float) -> float:
        """The prompt's own seconds on `worker`, which has `cached` tokens of it in its own memory: what a lower
        tier holds beyond them is loaded, the rest computed.
        """
        below = identity.stored.get(worker) if identity.stored else None
        if below is None or below.tokens <= cached:
            return self.engine.prefill_s(identity.tokens, cached) * scale
        load_s = self.loads.seconds(below.tier, below.tokens - cached, scale)
        return self.engine.prefill_s(identity.tokens, below.tokens) * scale + load_s

    def terms(self, worker: Worker, now: float) -> Terms:
        """What any request costs on `worker` now."""
        load, scale, harm = worker.load, self.rates.scale(worker.id), self._harm
        inflight = load.inflight
        waiting = load.pending_seconds(now) if load.pending else 0.0
        step = self.step_s(load) * scale
        answer = harm * self.mean_answer
        return (
            waiting + step * (1.5 + answer) + _PER_INFLIGHT_S * inflight,
            scale * (1.0 + harm * inflight),
            scale * answer * self.engine.kv_s * inflight,
            scale,
        )


class Rates:
    """Each worker's scale: observed over predicted seconds, older samples forgotten by 3 % a sample.

    A sample counts for at most four times what was expected, or a fourth: one stall is not a slow worker.
    Without samples a scale returns to the fleet's median, so that who was slow once is tried again. Workers
    within 25 % of the median count as equal, so that noise does not move traffic. `scales` has the workers
    that have answered, `middle`, the median when time last passed, is everybody else's.
    """

    def __init__(self) -> None:
        self._predicted: dict[WorkerId, float] = {}
        self._observed: dict[WorkerId, float] = {}
        self.scales: dict[WorkerId, float] = {}
        self.middle = 1.0

    def scale(self, worker: WorkerId) -> float:
        """What to multiply model seconds by to get `worker`'s."""
        return self.scales.get(worker, self.middle)

    def learn(self, worker: WorkerId, predicted_s: float, observed_s: float) -> None:
        """A first token came `observed_s` after the request was sent; `predicted_s` is at scale 1."""
        predicted = self._predicted.get(worker, _PRIOR_SECONDS)
        observed = self._observed.get(worker, _PRIOR_SECONDS * self.middle)
        expected = predicted_s * observed / predicted
        clipped = min(max(observed_s, expected / _CLIP), expected * _CLIP)
        predicted = self._predicted[worker] = _FORGET * predicted + predicted_s
        observed = self._observed[worker] = _FORGET * observed + clipped
        self.scales[worker] = self._evened(observed / predicted)

    def relax(self, elapsed_s: float) -> None:
        """Time has passed: all is forgotten by half in `_HALF_LIFE_S`, in favour of the median."""
        keep = 0.5 ** (elapsed_s / _HALF_LIFE_S)
        prior = _PRIOR_SECONDS * (1.0 - keep)
        for worker in list(self._predicted):
            self._predicted[worker] = keep * self._predicted[worker] + prior
            self._observed[worker] = keep * self._observed[worker] + prior * self.middle
            if self._predicted[worker] < _NOTHING_LEFT * _PRIOR_SECONDS:
                del self._predicted[worker], self._observed[worker]
        self._update()

    def forget(self, worker: WorkerId) -> None:
        """The worker left."""
        self._predicted.pop(worker, None)
        self._observed.pop(worker, None)
        self._update()

    def _update(self) -> None:
        raw = {w: self._observed[w] / self._predicted[w] for w in self._predicted}
        self.middle = median(raw.values()) if raw else self.middle
        self.scales = {w: self._evened(scale) for w, scale in raw.items()}

    def _evened(self, scale: float) -> float:
        low, high = _EVEN
        return self.middle if low * self.middle < scale < high * self.middle else scale
