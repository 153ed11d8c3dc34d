"""Counting what a worker has to do: never below nothing, back to nothing."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fleet.load import Load, PendingPrefill


def prefill(seconds: float = 1.0, tokens: float = 100.0, *, streams: bool = True) -> PendingPrefill:
    return PendingPrefill(seconds, tokens, streams=streams)


def test_nothing_to_do() -> None:
    load = Load()
    assert (load.inflight, load.pending_seconds(5.0), load.pending_tokens(5.0)) == (0, 0.0, 0.0)
    assert not load.pending


def test_requests_add_up() -> None:
    load = Load()
    load.enter(prefill(1.0, 100), 0.0)
    load.enter(prefill(2.0, 50), 0.0)
    assert (load.inflight, load.pending_seconds(0.0), load.pending_tokens(0.0)) == (2, 3.0, 150.0)
    assert load.pending
    assert len(list(load)) == 2
    assert repr(load) == "<Load 2 in flight, 2 pending>"


def test_the_first_one_makes_progress_but_is_not_done_until_its_token() -> None:
    load = Load()
    load.enter(prefill(1.0), 0.0)
    assert load.pending_seconds(0.5) == pytest.approx(0.5)
    assert load.pending_seconds(100.0) == pytest.approx(0.1)


def test_a_first_token_ends_its_prefill_but_not_the_request() -> None:
    load, first = Load(), prefill()
    load.enter(first, 0.0)
    load.prefilled(first, 1.0)
    load.prefilled(first, 2.0)
    assert (load.inflight, load.pending_seconds(1.0), load.pending_tokens(1.0)) == (1, 0.0, 0.0)


def test_the_next_one_runs_from_the_first_one_s_end() -> None:
    load, first, second = Load(), prefill(1.0), prefill(4.0)
    load.enter(first, 0.0)
    load.enter(second, 0.0)
    load.prefilled(first, 3.0)
    assert load.pending_seconds(3.0) == pytest.approx(4.0)
    assert load.pending_seconds(5.0) == pytest.approx(2.0)


@pytest.mark.parametrize("end", [Load.prefilled, Load.leave])
def test_one_that_is_not_running_does_not_set_the_running_one_back(
    end: Callable[[Load, PendingPrefill, float], None],
) -> None:
    load, first, second = Load(), prefill(10.0), prefill(1.0)
    load.enter(first, 0.0)
    load.enter(second, 0.0)
    end(load, second, 5.0)
    assert load.pending_seconds(5.0) == pytest.approx(5.0)


def test_an_answer_that_does_not_stream_is_prefilled_when_it_was_to_be() -> None:
    load = Load()
    load.enter(prefill(1.0, 100, streams=False), 0.0)
    load.enter(prefill(2.0, 50, streams=False), 0.0)
    load.enter(prefill(4.0, 25), 0.0)
    assert load.pending_tokens(0.5) == 175.0
    assert load.pending_tokens(1.5) == 75.0
    assert load.pending_seconds(4.0) == pytest.approx(3.0)
    assert load.inflight == 3


def test_a_request_after_a_pause_starts_when_it_comes() -> None:
    load, first = Load(), prefill(1.0)
    load.enter(first, 0.0)
    load.leave(first, 1.0)
    load.enter(prefill(2.0), 10.0)
    assert load.pending_seconds(10.5) == pytest.approx(1.5)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "token", "leave"]),
        st.integers(0, 9),
        st.floats(0, 10),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_is_never_below_nothing_and_ends_at_exactly_nothing(
    steps: list[tuple[str, int, float, bool]],
) -> None:
    load, running, now = Load(), list[PendingPrefill](), 0.0
    for kind, which, value, streams in steps:
        now += value / 3
        if kind == "enter":
            running.append(prefill(value, value * 1000 / 7, streams=streams))
            load.enter(running[-1], now)
        elif running and kind == "token":
            load.prefilled(running[which % len(running)], now)
        elif running:
            load.leave(running.pop(which % len(running)), now)
        assert load.inflight == len(running)
        assert 0 <= load.pending_seconds(now) <= sum(each.seconds for each in running) + 1e-6
        assert 0 <= load.pending_tokens(now) <= sum(each.tokens for each in running) + 1e-6
    for each in running:
        load.leave(each, now)
    assert (load.inflight, load.pending_seconds(now), load.pending_tokens(now)) == (0, 0.0, 0.0)
    assert list(load) == []
