"""The figures of a run are those of its records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.simulate.records import Record, Result, mean, quantile
from tests.unit.simulate.studies import HARDWARE, record


def result(*records: Record) -> Result:
    return Result("prefix", "some", 0.8, HARDWARE, list(records))


def test_the_figures() -> None:
    some = result(
        record(ttft_s=1.0, tpot_s=0.01, duration_s=2.0, prompt_tokens=100, cached_tokens=90),
        record(ttft_s=3.0, tpot_s=0.03, duration_s=4.0, prompt_tokens=300, cached_tokens=30),
    )
    assert some.ttfts() == [1.0, 3.0]
    assert some.mean_ttft == 2.0
    assert some.p99_ttft == 3.0
    assert some.mean_tpot == pytest.approx(0.02)
    assert some.mean_duration == 3.0
    assert some.hit_rate == pytest.approx(120 / 400)  # of tokens, not of requests


@pytest.mark.parametrize(
    ("ttft_s", "tpot_s", "good"),
    [(2.0, 0.05, 1.0), (2.01, 0.05, 0.0), (2.0, 0.051, 0.0)],
    ids=["just in time", "first token late", "slow after it"],
)
def test_good_is_within_both_objectives(ttft_s: float, tpot_s: float, good: float) -> None:
    assert result(record(ttft_s=ttft_s, tpot_s=tpot_s)).goodput == good


def test_nothing_happened() -> None:
    nothing = result()
    assert (nothing.mean_ttft, nothing.p99_ttft, nothing.goodput, nothing.hit_rate) == (0, 0, 0, 0)
    assert mean([]) == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values_and_grows_with_its_share(
    values: list[float], share: float
) -> None:
    ascending = sorted(values)
    found = quantile(ascending, share)
    assert found in values
    assert ascending[0] == quantile(ascending, 0.0) <= found <= quantile(ascending, 1.0)
    assert sum(value <= found for value in ascending) >= share * len(ascending) * 0.999
