"""Sums of growing durations, against adding them up."""

from math import nextafter

from hypothesis import given
from hypothesis import strategies as st

from router.simulate.series import Series


@given(
    start=st.floats(0, 1e4),
    first=st.floats(1e-3, 1.0),
    growth=st.floats(0, 1e-3),
    origin=st.integers(0, 10),
    count=st.integers(0, 300),
)
def test_end_is_the_sum(start: float, first: float, growth: float, origin: int, count: int) -> None:
    time = start
    for step in range(count):
        time += first + growth * step
    assert abs(Series(origin, start, first, growth).end(origin + count - 1) - time) <= 1e-9 * time


@given(
    start=st.floats(0, 1e4),
    first=st.floats(1e-3, 1.0),
    growth=st.just(0.0) | st.floats(1e-9, 1e-3),
    later=st.floats(0, 1e4),
)
def test_at_is_the_step_in_progress(
    start: float, first: float, growth: float, later: float
) -> None:
    series = Series(7, start, first, growth)
    step = series.at(start + later)
    assert series.end(step - 1) <= start + later < series.end(step)


@given(
    start=st.floats(0, 1e4),
    first=st.floats(1e-3, 1.0),
    growth=st.floats(0, 1e-3),
    step=st.integers(0, 100_000),
)
def test_a_step_is_over_when_it_ends(start: float, first: float, growth: float, step: int) -> None:
    series = Series(0, start, first, growth)
    end = series.end(step)
    assert series.at(end) == step + 1
    assert series.at(nextafter(end, 0)) == step
