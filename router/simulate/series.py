"""When steps end whose durations grow evenly (pure)."""

from math import sqrt
from typing import NamedTuple


class Series(NamedTuple):
    """Steps number `origin`, `origin` + 1, ... follow each other from `start` on; the first lasts `first_s`, each
    further one `growth_s` longer than the one before.
    """

    origin: int
    start: float
    first_s: float
    growth_s: float

    def end(self, step: int) -> float:
        """When `step` ends; `origin` - 1 ends at `start`."""
        count = step - self.origin + 1
        return self.start + count * (self.first_s + self.growth_s * (count - 1) / 2)

    def at(self, time: float) -> int:
        """The step in progress at `time` >= `start`; one that ends at that very moment is over."""
        linear = self.first_s - self.growth_s / 2
        left = time - self.start
        step = self.origin + int(
            2 * left / (linear + sqrt(linear * linear + 2 * self.growth_s * left))
        )
        # The root may be off by one where a step ends just about `time`.
        while self.end(step) <= time:
            step += 1
        while self.end(step - 1) > time:
            step -= 1
        return step
