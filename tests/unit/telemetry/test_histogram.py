"""Counts per bucket, and what a scrape is told of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.telemetry import histogram as module
from router.telemetry.histogram import ERROR_BUCKETS_S, Histogram, histogram_family

BOUNDS = [value for name, value in vars(module).items() if "BUCKETS" in name]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


class TestHistogram:
    def test_a_bound_belongs_to_its_bucket(self) -> None:
        histogram = Histogram((1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 2.0, 3.0):
            histogram.observe(value)
        assert histogram.buckets() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)]
        assert histogram.total == 8.0

    def test_several_equal_observations_at_once(self) -> None:
        histogram = Histogram((1.0,))
        histogram.observe(0.5, 3)
        assert histogram.buckets() == [("1.0", 3.0), ("+Inf", 3.0)]
        assert histogram.total == 1.5

    @given(st.lists(st.floats(-1e3, 1e3), max_size=20))
    def test_buckets_are_cumulative(self, values: list[float]) -> None:
        histogram = Histogram(ERROR_BUCKETS_S)
        for value in values:
            histogram.observe(value)
        buckets = histogram.buckets()
        assert [count for _, count in buckets] == [
            sum(value <= float(bound) for value in values) for bound, _ in buckets
        ]
        assert histogram.total == pytest.approx(math.fsum(values), abs=1e-6)


class TestFamily:
    def test_every_series_has_a_count(self) -> None:
        """Also one that may fall below 0; a sum that can fall cannot be told from a restart."""
        plain, signed = Histogram((1.0,)), Histogram((-1.0, 1.0))
        plain.observe(0.5)
        signed.observe(-0.5, 2)
        found = {
            (sample.name, sample.labels["by"]): sample.value
            for family in (
                histogram_family("a", "", ("by",), [(("x",), plain)]),
                histogram_family("b", "", ("by",), [(("y",), signed)]),
            )
            for sample in family.samples
            if not sample.name.endswith("_bucket")
        }
        assert found == {("a_count", "x"): 1, ("a_sum", "x"): 0.5, ("b_count", "y"): 2}
