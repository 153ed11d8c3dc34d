"""A token bucket, by a clock that the test turns."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.access.bucket import Bucket

T0 = 1000.0


def emptied(limit: int) -> Bucket:
    bucket = Bucket(limit, T0)
    bucket.take(limit, T0)
    return bucket


def test_a_minute_s_worth_may_come_at_once() -> None:
    bucket = Bucket(60, T0)
    assert bucket.wait_s(60, T0) == 0.0
    bucket.take(60, T0)
    assert bucket.level == 0.0


def test_then_it_fills_again_by_the_minute() -> None:
    bucket = emptied(60)
    assert bucket.wait_s(1, T0) == pytest.approx(1.0)
    assert bucket.wait_s(1, T0 + 1.0) == 0.0
    assert bucket.refill(T0 + 30.0) == pytest.approx(30.0)
    assert bucket.refill(T0 + 600.0) == 60.0


def test_of_more_than_it_holds_it_must_only_be_full() -> None:
    bucket = Bucket(60, T0)
    assert bucket.wait_s(1000, T0) == 0.0
    bucket.take(1000, T0)
    assert bucket.wait_s(1, T0) == pytest.approx(941.0)
    assert bucket.wait_s(1000, T0) == pytest.approx(1000.0)


def test_what_is_given_back_is_there_at_once_but_never_more_than_fits() -> None:
    bucket = emptied(60)
    bucket.take(-10, T0)
    assert bucket.level == 10.0
    bucket.take(-1000, T0)
    assert bucket.level == 60.0


def test_while_it_was_full_nothing_was_saved_up() -> None:
    bucket = Bucket(60, T0)
    bucket.take(1, T0 + 3600.0)
    assert bucket.refill(T0 + 3600.0) == 59.0


def test_a_part_of_it() -> None:
    bucket = Bucket(60, T0)
    bucket.divide(0.25)
    assert bucket.refill(T0) == 15.0
    bucket.take(15, T0)
    assert bucket.wait_s(1, T0) == pytest.approx(4.0)
    assert bucket.refill(T0 + 3600.0) == 15.0
    assert bucket.wait_s(60, T0 + 3600.0) == 0.0


def test_another_size_leaves_the_same_part_of_it() -> None:
    bucket = Bucket(60, T0)
    bucket.take(30, T0)
    bucket.resize(600)
    assert bucket.refill(T0) == 300.0


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.1, 50.0)), max_size=200),
)
def test_over_any_time_no_more_goes_out_than_the_burst_and_the_rate(
    limit: int, asked: list[Any]
) -> None:
    """By a naive count: what was let through, against what a minute allows."""
    bucket, now, out = Bucket(limit, T0), T0, 0.0
    for after_s, wanted in asked:
        now += after_s
        amount = min(wanted, limit)
        if bucket.wait_s(amount, now) == 0.0:
            bucket.take(amount, now)
            out += amount
        assert out <= limit + (now - T0) * limit / 60.0 + 1e-6
        assert bucket.level >= -1e-6


@given(st.integers(1, 1000), st.floats(0.1, 1e6))
def test_who_waits_as_long_as_told_is_let_through(limit: int, amount: float) -> None:
    bucket = emptied(limit)
    wait_s = bucket.wait_s(amount, T0)
    assert bucket.wait_s(amount, T0 + wait_s + 1e-6) == pytest.approx(0.0, abs=1e-6)
