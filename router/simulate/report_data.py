"""What the report's charts draw, and the tables that say the same in words and numbers (pure)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil

from router.simulate.curves import TTFT_GRID_S, merged
from router.simulate.outcome import Outcome
from router.simulate.records import mean

_MAX_POINTS = 150
_ROWS = 10
WITHIN_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

Line = list[float | None]
"""None: there is nothing to draw."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over common places `x`; one line for each of the outcomes, in their order."""

    x: list[float]
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class LevelData:
    """The charts of one level. `inflight` has one chart per policy, with a line per worker."""

    policies: list[str]
    ttft: Chart
    waiting: Chart
    hits: Chart
    inflight: list[Chart]


def level_data(outcomes: Sequence[Outcome]) -> LevelData:
    """The charts of the outcomes of one level."""
    curves = [outcome.curves for outcome in outcomes]
    longest = max(len(each.waiting) for each in curves)
    by = ceil(longest / _MAX_POINTS)
    width_s = by * curves[0].bin_s
    x = [_short((place + 0.5) * width_s) for place in range(ceil(longest / by))]

    def averages(values: Sequence[float]) -> Line:
        return _padded([_short(value) for value in merged(values, by, mean)], len(x))

    hits = [
        _padded(_ratios(merged(c.cached_tokens, by, sum), merged(c.prompt_tokens, by, sum)), len(x))
        for c in curves
    ]
    return LevelData(
        [outcome.policy for outcome in outcomes],
        _distribution([each.ttft_shares for each in curves]),
        Chart(x, [averages(each.waiting) for each in curves]),
        Chart(x, hits),
        [Chart(x, [averages(worker) for worker in each.inflight]) for each in curves],
    )


def _distribution(shares: Sequence[Sequence[float]]) -> Chart:
    """Cut to where anything happens."""
    some = [any(0 < line[i] < 1 for line in shares) for i in range(len(TTFT_GRID_S))]
    first = some.index(True) if True in some else 0
    last = len(some) - 1 - some[::-1].index(True) if True in some else len(some) - 1
    part = slice(max(0, first - 1), last + 2)
    return Chart(
        [_short(x) for x in TTFT_GRID_S[part]],
        [[_short(share) for share in line[part]] for line in shares],
    )


def _ratios(parts: Sequence[float], wholes: Sequence[float]) -> Line:
    return [
        _short(part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)
    ]


def _padded(line: Sequence[float | None], length: int) -> Line:
    return [*line, *([None] * (length - len(line)))]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of numbers: a title per column, then rows that begin with theirs."""

    titles: list[str]
    rows: list[list[str]]


def ttft_grid(outcomes: Sequence[Outcome]) -> Grid:
    """Which share of the calls had their first token in time, for some times."""
    places = [_nearest(limit) for limit in WITHIN_S]
    rows = [
        [outcome.policy, *(f"{100 * outcome.curves.ttft_shares[place]:.1f} %" for place in places)]
        for outcome in outcomes
    ]
    return Grid(["policy", *(f"≤ {limit:g} s" for limit in WITHIN_S)], rows)


def _nearest(limit: float) -> int:
    return min(range(len(TTFT_GRID_S)), key=lambda place: abs(TTFT_GRID_S[place] - limit))


def time_grid(chart: Chart, policies: Sequence[str], show: Callable[[float], str]) -> Grid:
    """Averages over about ten parts of the time, a row each; a dash where there is nothing."""
    by = ceil(len(chart.x) / _ROWS)
    half_s = chart.x[0]
    parts = [[_mean_of(part) for part in _cut(line, by)] for line in chart.lines]
    rows = []
    for number, values in enumerate(zip_longest(*parts)):
        end = min((number + 1) * by, len(chart.x))
        times = f"{2 * half_s * number * by:.4g} to {2 * half_s * end:.4g} s"
        rows.append([times, *("-" if value is None else show(value) for value in values)])
    return Grid(["time", *policies], rows)


def _cut(line: Line, by: int) -> list[Line]:
    return [line[start : start + by] for start in range(0, len(line), by)]


def _mean_of(part: Line) -> float | None:
    there = [value for value in part if value is not None]
    return mean(there) if there else None


def worker_grid(outcomes: Sequence[Outcome]) -> Grid:
    """Requests in flight at each worker, averaged over the whole run."""
    workers = len(outcomes[0].curves.inflight)
    rows = [
        [str(number), *(f"{mean(outcome.curves.inflight[number]):.2f}" for outcome in outcomes)]
        for number in range(workers)
    ]
    return Grid(["worker", *(outcome.policy for outcome in outcomes)], rows)
