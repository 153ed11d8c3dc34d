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
_EVEN = (0.75, 1.33)


def prefill_seconds(tokens: float, cached: float) -> float:
    """Seconds of a worker at scale 1 for the prefill of `tokens` of which `cached` are in its cache."""
    uncached = max(1.0, tokens - cached)
    return uncached * (SECONDS_PER_TOKEN + ATTENTION_SECONDS * (cached + uncached / 2))


class Rates:
    """Each worker's scale: observed over predicted seconds, older samples forgotten by 3 % a sample.

    Workers within 25 % of the fleet's median count as equal, so that noise does not move traffic. `scales`
    has the workers that have answered, `middle` is everybody else's.
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
        self._predicted[worker] = (
            _FORGET * self._predicted.get(worker, _PRIOR_SECONDS) + predicted_s
        )
        self._observed[worker] = (
            _FORGET * self._observed.get(worker, _PRIOR_SECONDS * self.middle) + observed_s
        )
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
