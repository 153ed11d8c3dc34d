"""What is kept of a run: the figures of the tables, and the curves of the charts."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.simulate.curves import Curves, bin_s, curves
from router.simulate.records import Record, Result, mean, quantile
from router.simulate.scenario import Task, carry_out
from router.simulate.workload import Workload


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds, and shares from 0 to 1. `e2e`: from arrival to the last token. `queued`: in the router.

    `goodput`: calls within both objectives of the hardware. `busiest`: requests in flight at the busiest worker,
    over those at the mean one.
    """

    requests: int
    left_out: int
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    queued_mean_s: float
    tpot_mean_s: float
    e2e_mean_s: float
    goodput: float
    hit_rate: float
    busiest: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. `load` is None where an absolute speed was asked for; `before`: as in `Scenario`."""

    policy: str
    load: float | None
    speed: float
    figures: Figures
    curves: Curves
    before: str = ""


def simulate(workload: Workload, task: Task) -> Outcome:
    """Carry out one run and sum it up."""
    result = carry_out(workload, task)
    workers = task.scenario.workers
    return Outcome(
        task.policy,
        task.load,
        task.speed,
        figures(result, workers),
        curves(result.records, workers, bin_s(workload, task.speed)),
        task.scenario.before(),
    )


def figures(result: Result, workers: int) -> Figures:
    """The figures of one run."""
    ttfts = result.ttfts()
    return Figures(
        requests=len(result.records),
        left_out=result.dropped,
        ttft_mean_s=result.mean_ttft,
        ttft_p50_s=quantile(ttfts, 0.5),
        ttft_p90_s=quantile(ttfts, 0.9),
        ttft_p99_s=quantile(ttfts, 0.99),
        queued_mean_s=mean([record.queued_s for record in result.records]),
        tpot_mean_s=result.mean_tpot,
        e2e_mean_s=result.mean_duration,
        goodput=result.goodput,
        hit_rate=result.hit_rate,
        busiest=_busiest(result.records, workers),
    )


def _busiest(records: Sequence[Record], workers: int) -> float:
    held_s = [0.0] * workers
    for record in records:
        held_s[record.worker] += record.duration_s - record.queued_s
    average_s = mean(held_s)
    return max(held_s) / average_s if average_s else 1.0
