"""Percentiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.console.percentiles import of_buckets, of_values
from router.telemetry.metrics import Histogram

BOUNDS = (1.0, 2.0, 4.0)


def test_of_nothing_there_are_none() -> None:
    assert of_values([], 0.5) is None
    assert of_buckets(BOUNDS, [0, 0, 0, 0], 0.5) is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_of_values_they_are_values(share: float, value: float) -> None:
    assert of_values([float(n) for n in range(1, 101)], share) == value


def test_the_only_value_is_every_percentile() -> None:
    assert of_values([7.0], 0.5) == of_values([7.0], 0.99) == 7.0


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([4, 0, 0, 0], 0.5, 0.5),
        ([0, 4, 0, 0], 0.5, 1.5),
        ([2, 0, 2, 0], 0.5, 1.0),
        ([2, 0, 2, 0], 0.75, 3.0),
        ([0, 0, 0, 3], 0.5, 4.0),
    ],
)
def test_of_buckets_they_are_spread_evenly(counts: list[int], share: float, value: float) -> None:
    assert of_buckets(BOUNDS, counts, share) == value


@given(st.lists(st.floats(0.01, 3.9), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_an_estimate_is_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    exact, estimate = of_values(sorted(values), share), of_buckets(BOUNDS, histogram.counts, share)
    assert exact is not None
    assert estimate is not None
    upper = next(bound for bound in BOUNDS if exact <= bound)
    lower = max((bound for bound in BOUNDS if bound < exact), default=0.0)
    assert lower <= estimate <= upper
