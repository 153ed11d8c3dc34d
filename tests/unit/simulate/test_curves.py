"""What is drawn of a run follows from its records."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.simulate.curves import (
    TTFT_GRID_S,
    average_count,
    bin_s,
    curves,
    merged,
    shares,
)
from router.simulate.workload import Workload
from tests.unit.simulate.studies import record, workload

times = st.floats(0, 100)
intervals = st.lists(st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=8)


def test_a_part_of_a_bin_counts_in_part() -> None:
    assert average_count([(0.5, 2.25)], 1.0, 4) == pytest.approx([0.5, 1.0, 0.25, 0.0])
    assert average_count([(0.5, 2.25), (1.0, 2.0)], 1.0, 3) == pytest.approx([0.5, 2.0, 0.25])


def test_an_interval_within_one_bin() -> None:
    assert average_count([(2.5, 3.0)], 2.0, 2) == pytest.approx([0.0, 0.25])


@given(intervals, st.floats(0.3, 40))
def test_averages_are_those_of_the_overlaps(
    open_: list[tuple[float, float]], width_s: float
) -> None:
    bins = int(100 / width_s) + 1
    wanted = [
        sum(max(0.0, min(b, (n + 1) * width_s) - max(a, n * width_s)) for a, b in open_) / width_s
        for n in range(bins)
    ]
    assert average_count(open_, width_s, bins) == pytest.approx(wanted, abs=1e-9)


def test_shares_include_the_limit() -> None:
    assert shares([3.0, 1.0, 2.0, 2.0], [0.5, 1.0, 2.0, 9.0]) == [0.0, 0.25, 0.75, 1.0]
    assert shares([], [1.0]) == [0.0]


def test_neighbours_are_joined_and_the_rest_stays() -> None:
    assert merged([1, 2, 3, 4, 5], 2, sum) == [3, 7, 5]


@pytest.mark.parametrize("round_number", [0.001, 0.1, 1, 10, 0.02, 2, 5, 50])
def test_the_grid_has_round_times(round_number: float) -> None:
    assert min(abs(math.log(at / round_number)) for at in TTFT_GRID_S) < 0.004


@pytest.mark.parametrize("speed", [0.01, 0.7, 1.0, 33.0])
def test_bins_suit_the_arrivals(speed: float) -> None:
    work = workload()
    width_s = bin_s(work, speed)
    assert f"{width_s:e}"[0] in "125"
    assert 40 < work.sessions[-1].start_s / speed / width_s < 121


def test_bins_of_what_arrives_at_once() -> None:
    assert bin_s(Workload("none", 64, 1, []), 1.0) == 1.0


def test_records_over_time() -> None:
    records = [
        record(0.0, ttft_s=1.0, duration_s=2.0, prompt_tokens=10, cached_tokens=4),
        record(1.0, worker=1, queued_s=0.5, ttft_s=1.5, duration_s=3.0, cached_tokens=0),
        record(1.5, ttft_s=0.001, duration_s=0.5),
    ]
    result = curves(records, 3, 1.0)
    assert result.inflight == [
        pytest.approx([1.0, 1.5, 0.0, 0.0, 0.0]),
        pytest.approx([0.0, 0.5, 1.0, 1.0, 0.0]),
        [0.0] * 5,
    ]
    assert result.waiting == pytest.approx([1.0, 1.001, 0.5, 0.0, 0.0])
    assert result.prompt_tokens == [10, 200, 0, 0, 0]
    assert result.cached_tokens == [4, 50, 0, 0, 0]
    assert result.ttft_shares[0] == pytest.approx(1 / 3)
    assert result.ttft_shares[-1] == 1.0


def test_nothing_at_all() -> None:
    result = curves([], 2, 1.0)
    assert result.inflight == [[0.0], [0.0]]
    assert result.prompt_tokens == [0]
