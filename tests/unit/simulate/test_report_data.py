"""Charts have common axes; the tables beside them say the same."""

import pytest

from router.simulate.curves import TTFT_GRID_S, Curves, curves
from router.simulate.outcome import Outcome, figures
from router.simulate.records import Record, Result
from router.simulate.report_data import (
    WITHIN_S,
    Chart,
    level_data,
    time_grid,
    ttft_grid,
    worker_grid,
)
from tests.unit.simulate.studies import HARDWARE, record


def outcome(policy: str, records: list[Record], width_s: float = 1.0) -> Outcome:
    made = figures(Result(policy, "some", 1.0, HARDWARE, records), 2)
    return Outcome(policy, 1.0, 1.0, made, curves(records, 2, width_s))


def level(*ends: float) -> list[Outcome]:
    """One policy for each end, with a call every second."""
    return [
        outcome(f"p{n}", [record(float(at)) for at in range(int(end) - 1)])
        for n, end in enumerate(ends)
    ]


def test_policies_share_the_time_and_end_where_they_end() -> None:
    data = level_data(level(4, 8))
    assert data.policies == ["p0", "p1"]
    assert data.waiting.x == data.hits.x == data.inflight[0].x
    assert data.waiting.x == [n + 0.5 for n in range(9)]
    short, long = data.waiting.lines
    assert short == [1.0, 1.0, 1.0, 0.0, 0.0, None, None, None, None]
    assert long == [1.0] * 7 + [0.0, 0.0]
    assert data.inflight[1].lines[0] == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 0.0]
    assert data.inflight[1].lines[1] == [0.0] * 9


def test_hits_are_nothing_where_nothing_arrives() -> None:
    calls = [record(0.2), record(0.4, cached_tokens=0), record(2.0, duration_s=1.0)]
    assert level_data([outcome("a", calls)]).hits.lines == [[0.25, None, 0.5, None]]


def test_a_long_run_is_drawn_in_fewer_points() -> None:
    data = level_data(level(1000, 20))
    x = data.waiting.x
    assert len(x) == 143
    assert x[1] - x[0] == 7.0
    assert data.waiting.lines[0][:-1] == [1.0] * 142
    assert data.hits.lines[1][:3] == [0.5, 0.5, 0.5]
    assert data.hits.lines[1][3] is None
    assert len(data.waiting.lines[1]) == len(x)


def test_the_distribution_is_cut_to_where_it_rises() -> None:
    ttft = level_data([outcome("a", [record(ttft_s=0.1), record(ttft_s=9.0)])]).ttft
    assert ttft.x[0] < 0.1 < 1.0 < 9.0 < ttft.x[-1] < 11
    assert (ttft.lines[0][0], ttft.lines[0][-1]) == (0.0, 1.0)
    assert set(ttft.lines[0]) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("records", [[], [record(ttft_s=1.0)]], ids=["nothing", "one"])
def test_a_distribution_without_a_rise(records: list[Record]) -> None:
    data = level_data([outcome("a", records)])
    assert len(data.ttft.x) == len(data.ttft.lines[0]) > 0


def test_shares_within_round_times() -> None:
    grid = ttft_grid([outcome("a", [record(ttft_s=t) for t in (0.04, 0.15, 0.4, 90.0)])])
    assert grid.titles[:3] == ["policy", "≤ 0.05 s", "≤ 0.1 s"]
    assert len(grid.titles) == len(WITHIN_S) + 1
    assert grid.rows == [["a", "25.0 %", "25.0 %", "50.0 %", *["75.0 %"] * 7]]


def test_times_of_the_table_are_those_of_the_chart() -> None:
    chart = Chart([n + 0.5 for n in range(25)], [[1.0] * 25, [2.0] * 4 + [None] * 21])
    grid = time_grid(chart, ["a", "b"], lambda value: f"{value:g}")
    assert grid.titles == ["time", "a", "b"]
    assert grid.rows[0] == ["0 to 3 s", "1", "2"]
    assert grid.rows[1] == ["3 to 6 s", "1", "2"]
    assert grid.rows[2] == ["6 to 9 s", "1", "-"]
    assert grid.rows[-1] == ["24 to 25 s", "1", "-"]


def test_the_load_of_each_worker() -> None:
    two = Curves(
        1.0, [[1.0, 2.0], [0.0, 0.5]], [0.0] * 2, [0] * 2, [0] * 2, [0.0] * len(TTFT_GRID_S)
    )
    made = figures(Result("a", "some", 1.0, HARDWARE), 2)
    grid = worker_grid([Outcome("a", 1.0, 1.0, made, two)])
    assert grid.titles == ["worker", "a"]
    assert grid.rows == [["0", "1.50"], ["1", "0.25"]]
