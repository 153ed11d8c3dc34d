"""Blocks are found when the delay is over, by those who do not know better, for as long as they may be there."""

import pytest

from router.ids import WorkerId
from router.simulate.blocks import Blocks
from tests.unit.simulate.clock import Clock

WORKERS = [WorkerId("a"), WorkerId("b")]
KEYS = [7, 8, 9]
KV_TOKENS = 64 << 10


@pytest.fixture
def clock() -> Clock:
    return Clock()


def blocks(clock: Clock, knowledge: str, clocks: list[int] | None = None) -> Blocks:
    return Blocks(WORKERS, KV_TOKENS, knowledge, clocks or [0, 0], 0.01, clock.at)


def found(shared: Blocks, now: float, *own: int) -> dict[str, int]:
    return dict(shared.runs(KEYS, now, own=lambda worker: worker in own))


@pytest.mark.parametrize("knowledge", ["both", "predictions"])
def test_what_was_sent_is_found_after_the_delay(clock: Clock, knowledge: str) -> None:
    shared = blocks(clock, knowledge)
    shared.sent(1, KEYS[:2], 0.0)
    clock.until(0.009)
    assert found(shared, 0.009) == {}
    clock.until(0.01)
    assert found(shared, 0.01) == {"b": 2}


@pytest.mark.parametrize("knowledge", ["events", "none"])
def test_where_predictions_do_not_count_it_is_not(clock: Clock, knowledge: str) -> None:
    shared = blocks(clock, knowledge)
    shared.sent(1, KEYS, 0.0)
    clock.until(1.0)
    assert found(shared, 1.0) == {}


@pytest.mark.parametrize("knowledge", ["both", "events"])
def test_what_events_tell(clock: Clock, knowledge: str) -> None:
    shared = blocks(clock, knowledge)
    shared.told(0, KEYS, 0.0, stored=True)
    clock.until(0.01)
    assert found(shared, 0.01) == {"a": 3}
    shared.told(0, KEYS[2:], 0.02, stored=False)
    clock.until(0.03)
    assert found(shared, 0.03) == {"a": 2}


@pytest.mark.parametrize(
    ("knowledge", "seen"), [("both", {"b": 3}), ("predictions", {"a": 3, "b": 3})]
)
def test_who_follows_a_worker_s_events_knows_better(
    clock: Clock, knowledge: str, seen: dict[str, int]
) -> None:
    shared = blocks(clock, knowledge)
    for worker in range(2):
        shared.sent(worker, KEYS, 0.0)
    clock.until(0.01)
    assert found(shared, 0.01, 0) == seen


def test_text_counts_until_the_cache_was_filled_anew(clock: Clock) -> None:
    clocks = [0, 0]
    shared = blocks(clock, "predictions", clocks)
    shared.sent(0, KEYS, 0.0)
    clock.until(0.01)
    clocks[0] = KV_TOKENS
    assert found(shared, 1.0) == {"a": 3}
    clocks[0] = KV_TOKENS + 1024
    assert found(shared, 2.0) == {}
    shared.sent(0, KEYS, 2.0)
    clock.until(3.0)
    assert found(shared, 3.0) == {"a": 3}


@pytest.mark.parametrize("knowledge", ["both", "predictions"])
def test_of_a_worker_that_was_started_anew_nothing_is_left(clock: Clock, knowledge: str) -> None:
    shared = blocks(clock, knowledge)
    for worker in range(2):
        shared.sent(worker, KEYS, 0.0)
    clock.until(0.01)
    assert found(shared, 0.01) == {"a": 3, "b": 3}
    shared.lost(0)
    assert found(shared, 0.02) == {"b": 3}
    shared.sent(0, KEYS, 0.02)
    clock.until(0.03)
    assert found(shared, 0.03) == {"a": 3, "b": 3}
