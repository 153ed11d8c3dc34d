"""Predicted time to first token, and the rates it rests on, learned from observed ones.

Prefill time is linear in the uncached tokens plus attention over what is before them. One scale per worker
turns the model's seconds into that worker's, so that no constant has to be set by hand.
"""

from statistics import median

from router.ids import WorkerId

SECONDS_PER_TOKEN = 3e-5
"""Prefill of one token where nothing is known yet (about an H100 with an 8B model)."""

ATTENTION_SECONDS = 1.3e-9
"""Per uncached token and token before it."""

STEP_SECONDS = 0.01
"""One engine step and the way there and back: the floor of a first token."""

_FORGET = 0.97
_PRIOR_SECONDS = 0.05
_CLIP = 4.0
_HALF_LIFE_S = 30.0
_EVEN = (0.75, 1.33)


def prefill_seconds(tokens: float, cached: float) -> float:
    """Seconds of a worker at scale 1 for the prefill of `tokens` of which `cached` are in its cache."""
    uncached = max(1.0, tokens - cached)
    return uncached * (SECONDS_PER_TOKEN + ATTENTION_SECONDS * (cached + uncached / 2))


class Rates:
    """Each worker's scale: observed over predicted seconds, older samples forgotten by 3 % a sample.

    A sample counts for at most four times what was expected, or a fourth: one stall is not a slow worker.
    Without samples a scale returns to the fleet's median, so that who was slow once is tried again. Workers
    within 25 % of the median count as equal, so that noise does not move traffic. `scales` has the workers
    that have answered, `middle` is everybody else's.
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
        self._predicted[worker] = _FORGET * predicted + predicted_s
        self._observed[worker] = _FORGET * observed + clipped
        self._update()

    def relax(self, elapsed_s: float) -> None:
        """Time has passed: all is forgotten by half in `_HALF_LIFE_S`, in favour of the median."""
        keep = 0.5 ** (elapsed_s / _HALF_LIFE_S)
        prior = _PRIOR_SECONDS * (1.0 - keep)
        for worker in self._predicted:
            self._predicted[worker] = keep * self._predicted[worker] + prior
            self._observed[worker] = keep * self._observed[worker] + prior * self.middle
        self._update()

    def forget(self, worker: WorkerId) -> None:
        """The worker left."""
        self._predicted.pop(worker, None)
        self._observed.pop(worker, None)
        self._update()

    def _update(self) -> None:
        raw = {w: self._observed[w] / self._predicted[w] for w in self._predicted}
        self.middle = median(raw.values()) if raw else 1.0
        low, high = (self.middle * bound for bound in _EVEN)
        self.scales = {w: self.middle if low < s < high else s for w, s in raw.items()}
