"""Loads reach the other routers when they were published and the delay is over, and no sooner."""

import pytest

from router.fleet.load import Load, PendingPrefill
from router.shared.board import FRESH_PER_WORKER_S, FRESH_S
from router.simulate.loads import Loads
from tests.unit.simulate.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def routers() -> list[list[Load]]:
    """Three routers, two workers."""
    return [[Load(), Load()] for _ in range(3)]


@pytest.fixture
def shared(routers: list[list[Load]], clock: Clock) -> Loads:
    return Loads(routers, 0.01, clock.at)


def prefill(tokens: float = 1000.0) -> PendingPrefill:
    return PendingPrefill(0.5, tokens, 3000.0, streams=True)


def test_what_one_has_under_way_the_others_see_after_the_delay(
    routers: list[list[Load]], shared: Loads, clock: Clock
) -> None:
    routers[0][1].enter(prefill(), 0.0)
    shared.publish(0, 0.0)
    clock.until(0.009)
    shared.read(1, 0.009)
    assert routers[1][1].inflight == 0
    clock.until(0.01)
    for router in range(3):
        shared.read(router, 0.01)
    for loads in routers:
        assert [load.inflight for load in loads] == [0, 1]
        assert loads[1].pending_tokens(0.01) == 1000
        assert loads[1].context_tokens == 3000
    assert [loads[1].own for loads in routers] == [1, 0, 0]


def test_what_is_not_published_nobody_sees(
    routers: list[list[Load]], shared: Loads, clock: Clock
) -> None:
    routers[0][0].enter(prefill(), 0.0)
    clock.until(1.0)
    shared.read(1, 1.0)
    assert routers[1][0].inflight == 0


def test_several_add_up_and_what_ended_is_gone(
    routers: list[list[Load]], shared: Loads, clock: Clock
) -> None:
    sent = [prefill(100.0 * (number + 1)) for number in range(3)]
    for number in range(3):
        routers[number][0].enter(sent[number], 0.0)
        shared.publish(number, 0.0)
    clock.until(0.01)
    for number in range(3):
        shared.read(number, 0.01)
        assert routers[number][0].inflight == 3
        assert routers[number][0].pending_tokens(0.01) == 600
    for number in range(3):
        routers[number][0].leave(sent[number], 0.02)
        shared.publish(number, 0.02)
    clock.until(0.03)
    for number in range(3):
        shared.read(number, 0.03)
        assert (routers[number][0].inflight, routers[number][0].context_tokens) == (0, 0)
        assert not routers[number][0].pending


def test_clocks_count_what_workers_were_sent(
    routers: list[list[Load]], shared: Loads, clock: Clock
) -> None:
    for number in range(2):
        routers[number][1].enter(prefill(), 0.0)
        shared.publish(number, 0.0)
    routers[0][1].spent += 50
    shared.publish(0, 0.0)
    assert shared.clocks == [0, 0]
    clock.until(0.01)
    assert shared.clocks == [0, 2050]


def test_who_reads_is_told_what_is_its_own(
    routers: list[list[Load]], shared: Loads, clock: Clock
) -> None:
    told: list[tuple[int, int, int]] = []
    shared.on_read = lambda *what: told.append(what)
    for number in range(2):
        routers[number][1].enter(prefill(), 0.0)
        shared.publish(number, 0.0)
    clock.until(0.01)
    for number in (0, 2):
        shared.read(number, 0.01)
    shared.read(0, 0.02)
    assert told == [(0, 1, 1000), (2, 1, 0)]


def test_a_fresh_board_is_not_read_again(
    routers: list[list[Load]], shared: Loads, clock: Clock
) -> None:
    shared.read(1, 0.01)
    routers[0][0].enter(prefill(), 0.0)
    shared.publish(0, 0.0)
    clock.until(0.01)
    fresh_s = 2 * FRESH_PER_WORKER_S
    shared.refresh(1, 0.01 + 0.9 * fresh_s)
    assert routers[1][0].inflight == 0
    shared.refresh(1, 0.01 + 1.1 * fresh_s)
    assert routers[1][0].inflight == 1


def test_a_board_of_many_workers_is_fresh_for_longer(clock: Clock) -> None:
    routers = [[Load() for _ in range(2000)] for _ in range(2)]
    shared = Loads(routers, 0.01, clock.at)
    shared.read(1, 0.01)
    routers[0][0].enter(prefill(), 0.0)
    shared.publish(0, 0.0)
    clock.until(0.01)
    shared.refresh(1, 0.01 + 0.9 * FRESH_S)
    assert routers[1][0].inflight == 0
    shared.refresh(1, 0.01 + 1.1 * FRESH_S)
    assert routers[1][0].inflight == 1
