"""What a load of 1 is: the speed at which a known policy just misses the objective for first tokens.

That policy is LMetric (arXiv 2603.15202), so that loads mean the same whatever is compared. Near that speed the
mean time to first token rises steeply, and not evenly: a load is a level, not a measurement.
"""

from collections.abc import Callable, Iterator, Sequence
from math import sqrt

from router.simulate.processes import Processes
from router.simulate.records import mean
from router.simulate.scenario import Scenario, Task, carry_out
from router.simulate.workload import Workload

REFERENCE = "lmetric"

_ROUNDS = 4
_PARTS = 4
"""Each round cuts the bracket into so many parts: 4 rounds are as good as 8 bisections, and run side by side."""

_FURTHEST = 12
"""Powers of two that are tried on either side of a trace's own speed."""

Missed = Callable[[Sequence[float]], Iterator[bool]]
"""Whether the objective is missed at each speed, in their order; what is not asked for need not be found out."""


class CapacityError(ValueError):
    """There is no such speed: at every one the mean time to first token is `above` the objective, or `below`."""


def find_capacity(missed: Missed) -> float:
    """The lowest speed at which the objective is missed, to 0.3 %. Raises CapacityError."""
    low, high = _bracket(missed)
    for _ in range(_ROUNDS):
        steps = [low * (high / low) ** (part / _PARTS) for part in range(1, _PARTS)]
        for speed, miss in zip(steps, missed(steps), strict=False):
            if miss:
                high = speed
                break
            low = speed
    return float(f"{sqrt(low * high):.4g}")


def _bracket(missed: Missed) -> tuple[float, float]:
    """Two speeds, the second twice the first, of which only the first meets the objective."""
    down = next(missed([1.0]))
    for first in range(1, _FURTHEST, 3):
        powers = range(first, first + 3)
        speeds = [2.0**-power if down else 2.0**power for power in powers]
        for speed, miss in zip(speeds, missed(speeds), strict=False):
            if miss is not down:
                return (speed, 2 * speed) if down else (speed / 2, speed)
    raise CapacityError("above" if down else "below")


def speed_of_load_1(workload: Workload, scenario: Scenario, processes: Processes) -> float:
    """Where the reference policy's mean time to first token is the hardware's objective, on an even fleet.

    Raises CapacityError.
    """
    objective_s = scenario.hardware.slo_ttft_s
    patience_s = objective_s * sum(1 for _ in workload.calls())

    def missed(speeds: Sequence[float]) -> Iterator[bool]:
        tasks = [Task(scenario.even(), REFERENCE, speed, patience_s=patience_s) for speed in speeds]
        return processes.map(_misses, tasks)

    try:
        return find_capacity(missed)
    except CapacityError as error:
        raise CapacityError(
            f"at any speed the mean time to first token is {error} the objective of {objective_s:g} s"
        ) from None


def _misses(workload: Workload, task: Task) -> bool:
    result = carry_out(workload, task)
    return mean([record.ttft_s for record in result.records]) >= task.scenario.hardware.slo_ttft_s
