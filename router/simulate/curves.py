"""Records over time and over sizes: what is drawn of a run (pure)."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from router.simulate.records import Record
from router.simulate.workload import Workload

_BINS = 120
_PER_DECADE = 60

TTFT_GRID_S = tuple(10 ** (step / _PER_DECADE) for step in range(-3 * _PER_DECADE, 5 * _PER_DECADE))
"""Times to first token at which distributions are given: 1 ms to over a day, evenly on a logarithmic scale, with 1, 2
and 5 of each power of ten (to 0.3 %).
"""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curves:
    """What happened in each `bin_s` seconds from the start on, and how the times to first token are distributed.

    `inflight` has a row per worker: requests it had, averaged over the bin. `waiting`: requests without a first
    token, wherever they waited, likewise. `prompt_tokens` and `cached_tokens` are those of the calls that arrived
    in the bin. `ttft_shares`: the share of calls that took at most the time of `TTFT_GRID_S`.
    """

    bin_s: float
    inflight: list[list[float]]
    waiting: list[float]
    prompt_tokens: list[int]
    cached_tokens: list[int]
    ttft_shares: list[float]


def bin_s(workload: Workload, speed: float) -> float:
    """A width of bins that suits the time in which the sessions arrive, at all policies the same."""
    span_s = workload.sessions[-1].start_s / speed if workload.sessions else 0.0
    return _rounded_up(span_s / _BINS) if span_s else 1.0


def _rounded_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


def curves(records: Sequence[Record], workers: int, width_s: float) -> Curves:
    """The curves of one run. A call that an outage moved counts at the worker that answered it."""
    end_s = max((record.arrived_at + record.duration_s for record in records), default=0.0)
    bins = int(end_s / width_s) + 1
    held: list[list[Interval]] = [[] for _ in range(workers)]
    waits: list[Interval] = []
    prompt_tokens, cached_tokens = [0] * bins, [0] * bins
    for record in records:
        arrived = record.arrived_at
        held[record.worker].append((arrived + record.queued_s, arrived + record.duration_s))
        waits.append((arrived, arrived + record.ttft_s))
        place = int(arrived / width_s)
        prompt_tokens[place] += record.prompt_tokens
        cached_tokens[place] += record.cached_tokens
    return Curves(
        width_s,
        [average_count(intervals, width_s, bins) for intervals in held],
        average_count(waits, width_s, bins),
        prompt_tokens,
        cached_tokens,
        shares([record.ttft_s for record in records], TTFT_GRID_S),
    )


def average_count(intervals: Sequence[Interval], width_s: float, bins: int) -> list[float]:
    """How many of `intervals` were open, averaged over each bin."""
    within = [0.0] * bins
    """Bins by which those that begin or end in this bin count in it."""
    change = [0] * (bins + 1)
    """More or fewer open in all bins from this one on."""
    for start, end in intervals:
        for time, sign in ((start, 1), (end, -1)):
            place = min(int(time / width_s), bins - 1)
            within[place] += sign * (place + 1 - time / width_s)
            change[place + 1] += sign
    return [
        max(0.0, level + part) for level, part in zip(accumulate(change[:-1]), within, strict=True)
    ]


def shares(values: Sequence[float], grid: Sequence[float]) -> list[float]:
    """The share of `values` that is at most each of `grid`."""
    ascending = sorted(values)
    return [bisect_right(ascending, limit) / max(1, len(ascending)) for limit in grid]


def merged(
    values: Sequence[float], by: int, join: Callable[[Sequence[float]], float]
) -> list[float]:
    """`by` neighbours made one."""
    return [join(values[start : start + by]) for start in range(0, len(values), by)]
