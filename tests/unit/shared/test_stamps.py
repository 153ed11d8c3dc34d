"""Stamps and windows as the store is told them."""

from hypothesis import given
from hypothesis import strategies as st

from router.shared.base import CPU, DISK, GPU, IGNORED, KINDS, TEXT, stamp_of
from router.shared.stamps import CLOCK_BITS, of_clock, of_worker, packed


def test_text_counts_until_the_cache_is_filled_anew() -> None:
    valid = packed({0: of_worker(70 << CLOCK_BITS, 24 << CLOCK_BITS, 3)})
    assert stamp_of(valid, TEXT) == (70, 24)


def test_tokens_count_in_the_worker_s_life() -> None:
    valid = packed({0: of_worker(0, 1, 70_000)})
    assert [stamp_of(valid, kind) for kind in (GPU, CPU, DISK)] == [(70_000 - 65_536, 0)] * 3


def test_without_a_life_nothing_is_known_of_tokens() -> None:
    valid = packed({0: of_worker(5 << CLOCK_BITS, 1 << CLOCK_BITS, 0)})
    assert stamp_of(valid, TEXT) == (5, 1)
    assert [stamp_of(valid, kind) for kind in (GPU, CPU, DISK)] == [IGNORED] * 3


def test_who_has_no_number_is_ignored() -> None:
    valid = packed({2: of_worker(1 << CLOCK_BITS, 1 << CLOCK_BITS, 1)})
    assert all(stamp_of(valid, holder) == IGNORED for holder in range(2 * KINDS))
    assert stamp_of(valid, 2 * KINDS + TEXT) == (1, 1)
    assert stamp_of(valid, 3 * KINDS) == IGNORED
    assert packed({}) == b""


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(0, 2**40))
def test_whatever_the_figures_it_can_be_written(clock: int, kv_tokens: int, life: int) -> None:
    now, window = stamp_of(packed({0: of_worker(clock, kv_tokens, life)}), TEXT)
    assert now == of_clock(clock) < 2**16
    assert window <= 0x7FFF
