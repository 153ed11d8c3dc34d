"""Tables of a results file.

python -m bench.dataplane.report build/dataplane/results.jsonl
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.dataplane.routers import BASELINES, DIRECT
from bench.dataplane.workloads import MAX_ERRORS, MIN_PACE, WORKLOADS, Workload

HEALTH = (
    "run | req/s | pace (worst) | router | workers + load generator, median / max | "
    "others on the router's core | load average | errors"
)
NOISY = 0.1  # share of the router's core that others may take
Run = dict[str, object]
Runs = dict[tuple[str, str], list[Run]]


def number(run: Run, key: str) -> float:
    """A numeric member of a run; 0 when it is missing."""
    value = run.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def us_per_unit(run: Run, workload: Workload) -> float | None:
    """The router's CPU time per unit of work, in microseconds; None when nothing was done."""
    done = number(run, "chunks" if workload.unit == "chunk" else "requests")
    return number(run, "router_cpu_s") * 1e6 / done if done else None


def pace(run: Run, workload: Workload) -> float:
    """The part of the offered events that arrived; 1 when nothing is paced."""
    seconds = number(run, "seconds")
    if workload.offered_per_s is None or not seconds:
        return 1.0
    return number(run, "chunks") / seconds / workload.offered_per_s


def failed(run: Run) -> bool:
    """Whether too many requests went wrong for the run to mean anything."""
    errors = number(run, "errors")
    return errors > MAX_ERRORS * (number(run, "requests") + errors)


def saturated(run: Run, workload: Workload) -> bool:
    """Whether a paced run fell behind, so that its cost per chunk also holds waiting and set-up."""
    return pace(run, workload) < MIN_PACE


def noisy(run: Run) -> bool:
    """Whether others used the router's core enough to disturb its caches and clock."""
    return number(run, "others_on_router_core") > NOISY


def summary(runs: list[Run], workload: Workload) -> tuple[float, float, str] | None:
    """Best and median µs per unit and the marks.

    Runs that kept pace on a quiet core count; without any, those that kept pace; else all.
    """
    usable = [run for run in runs if not failed(run) and us_per_unit(run, workload) is not None]
    kept = [run for run in usable if not saturated(run, workload)]
    chosen = [run for run in kept if not noisy(run)] or kept or usable
    costs = [us_per_unit(run, workload) or 0.0 for run in chosen]
    if not costs:
        return None
    marks = ("" if kept else "!") + ("~" if all(map(noisy, chosen)) else "")
    return min(costs), statistics.median(costs), marks


def collect(lines: Iterable[str]) -> Runs:
    """Results by (router, workload)."""
    out: Runs = {}
    for line in lines:
        run = json.loads(line)
        out.setdefault((run["router"], run["workload"]), []).append(run)
    return out


def cost_cell(runs: Runs, router: str, name: str) -> str:
    """`best / median` with marks."""
    found = summary(runs.get((router, name), []), WORKLOADS[name])
    return f"{found[0]:.1f} / {found[1]:.1f}{found[2]}" if found else "-"


def ratio_cell(runs: Runs, router: str, name: str, baseline: str) -> str:
    """Median over the baseline's median."""
    mine = summary(runs.get((router, name), []), WORKLOADS[name])
    base = summary(runs.get((baseline, name), []), WORKLOADS[name])
    if not mine or not base or not base[1]:
        return "-"
    return f"{mine[1] / base[1]:.2f}{mine[2]}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rss(runs: Runs, router: str) -> str:
    peaks = [
        number(run, "peak_rss_mb")
        for (name, _), found in runs.items()
        if name == router
        for run in found
    ]
    return f"{max(peaks, default=0):.0f}"


def _health_row(runs: list[Run], title: str, workload: Workload) -> list[str]:
    load_core = [number(run, "backend_util") + number(run, "loadgen_util") for run in runs]
    rate = [number(run, "requests") / number(run, "seconds") for run in runs]
    others = [number(run, "others_on_router_core") for run in runs]
    loads = [number(run, "load_average") for run in runs]
    return [
        title,
        f"{statistics.median(rate):.0f}",
        f"{min(pace(run, workload) for run in runs):.3f}"
        if workload.offered_per_s
        else "closed loop",
        f"{statistics.median(number(run, 'router_util') for run in runs):.2f}",
        f"{statistics.median(load_core):.2f} / {max(load_core):.2f}",
        f"{max(others):.3f}",
        f"{min(loads):.1f} to {max(loads):.1f}",
        f"{sum(number(run, 'errors') for run in runs):.0f}",
    ]


def report(runs: Runs) -> str:
    """All tables."""
    routers = list(dict.fromkeys(router for router, _ in runs))
    names = [name for name in WORKLOADS if any(key[1] == name for key in runs)]
    measured = [router for router in routers if router != DIRECT]
    titles = [WORKLOADS[name].title for name in names]
    costs = [[r, *(cost_cell(runs, r, n) for n in names), _rss(runs, r)] for r in measured]
    parts = [
        "CPU µs per unit, best / median (`!` saturated, `~` others used the router's core):",
        table(["router", *titles, "max RSS MB"], costs),
    ]
    for baseline in (b for b in BASELINES if b in routers):
        rows = [[r, *(ratio_cell(runs, r, n, baseline) for n in names)] for r in measured]
        parts += [f"Median over {baseline}'s:", table(["router", *titles], rows)]
    health = [
        _health_row(runs[r, n], f"{r} {n}", WORKLOADS[n])
        for r in routers
        for n in names
        if (r, n) in runs
    ]
    parts += ["How the runs went (shares of one core):", table(HEALTH.split(" | "), health)]
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables of the files named on the command line."""
    lines = [line for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]
    print(report(collect(lines)))


if __name__ == "__main__":
    main()
