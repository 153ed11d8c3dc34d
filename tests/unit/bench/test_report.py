"""The arithmetic behind the tables."""

import json

import pytest

from bench.dataplane.report import (
    Run,
    collect,
    cost_cell,
    failed,
    noisy,
    pace,
    ratio_cell,
    report,
    saturated,
    summary,
    us_per_unit,
)
from bench.dataplane.workloads import WORKLOADS

REQUEST, STREAMS = WORKLOADS["r1k"], WORKLOADS["s500"]


def run(**changes: object) -> Run:
    """A run that is fine."""
    return {
        "router": "nginx",
        "workload": "r1k",
        "seconds": 4.0,
        "requests": 40_000,
        "chunks": 100_000,
        "errors": 0,
        "router_cpu_s": 1.0,
        "router_util": 0.25,
        "backend_util": 0.5,
        "loadgen_util": 0.4,
        "others_on_router_core": 0.0,
        "peak_rss_mb": 20.0,
        "load_average": 1.0,
        **changes,
    }


def test_cost_is_cpu_over_the_unit_of_the_workload() -> None:
    assert us_per_unit(run(), REQUEST) == pytest.approx(25)
    assert us_per_unit(run(), STREAMS) == pytest.approx(10)
    assert us_per_unit(run(requests=0), REQUEST) is None


def test_pace_is_the_part_of_the_offered_events() -> None:
    assert pace(run(), STREAMS) == pytest.approx(1.0)
    assert pace(run(chunks=50_000), STREAMS) == pytest.approx(0.5)
    assert pace(run(chunks=0), REQUEST) == 1.0


def test_what_marks_a_run() -> None:
    assert not saturated(run(chunks=97_000), STREAMS)
    assert saturated(run(chunks=96_900), STREAMS)
    assert not failed(run(requests=99, errors=1))
    assert failed(run(requests=98, errors=2))
    assert noisy(run(others_on_router_core=0.11))


def test_summary_is_best_and_median() -> None:
    runs = [run(router_cpu_s=cpu) for cpu in (1.2, 1.0, 2.0)]
    assert summary(runs, REQUEST) == (pytest.approx(25), pytest.approx(30), "")


def test_summary_leaves_out_disturbed_saturated_and_failed_runs() -> None:
    fine = run(router_cpu_s=2.0)
    others = [
        run(router_cpu_s=1.0, others_on_router_core=0.5),
        run(router_cpu_s=1.0, chunks=1000),
        run(router_cpu_s=1.0, errors=40_000),
    ]
    assert summary([fine, *others], STREAMS) == (pytest.approx(20), pytest.approx(20), "")


def test_summary_marks_what_it_had_to_take() -> None:
    found = summary([run(chunks=10_000, others_on_router_core=0.5)], STREAMS)
    assert found is not None
    assert found[2] == "!~"
    assert summary([run(errors=40_000)], REQUEST) is None


def test_cells() -> None:
    runs = collect(
        json.dumps(r)
        for r in (
            run(),
            run(router="vllm-router/round_robin", router_cpu_s=2.0),
            run(router="ours", router_cpu_s=1.5),
        )
    )
    assert cost_cell(runs, "ours", "r1k") == "37.5 / 37.5"
    assert ratio_cell(runs, "ours", "r1k", "vllm-router/round_robin") == "0.75"
    assert ratio_cell(runs, "ours", "r1k", "nginx") == "1.50"
    assert ratio_cell(runs, "ours", "s500", "nginx") == "-"
    assert cost_cell(runs, "smg/round_robin", "r1k") == "-"


def test_report_has_a_row_per_router_and_skips_direct_costs() -> None:
    text = report(collect(json.dumps(run(router=name)) for name in ("direct", "nginx", "ours")))
    assert "| ours | 25.0 / 25.0 | 20 |" in text
    assert "Median over nginx's:" in text
    assert "vllm-router" not in text
    assert "| direct |" not in text
    assert "| direct r1k |" in text
