"""Faults are the same for a seed, cover all kinds, and spare somebody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos.schedule import FIRST_S, LAST_S, LASTS_S, Fault, Kind, Parts, may_fail, plan

PARTS = Parts(("w0", "w1", "w2"), ("r0", "r1"), ("redis",))


def test_a_seed_gives_the_same_faults() -> None:
    assert plan(7, 100, PARTS) == plan(7, 100, PARTS)
    assert plan(7, 100, PARTS) != plan(8, 100, PARTS)


@given(st.integers(), st.floats(20, 300), st.floats(0.5, 10))
def test_faults_fit_their_parts_and_spare_one(seed: int, seconds: float, every_s: float) -> None:
    faults = plan(seed, seconds, PARTS, every_s=every_s)
    for fault in faults:
        low, high = LASTS_S[fault.kind]
        assert FIRST_S <= fault.at_s < seconds - LAST_S
        assert low <= fault.lasts_s <= high
        assert fault.target in PARTS.group(fault.kind)
        for group in (PARTS.workers, PARTS.routers):
            assert set(group) - failing(faults, fault.at_s)


def failing(faults: list[Fault], now: float) -> set[str]:
    return {each.target for each in faults if each.at_s <= now < each.at_s + each.lasts_s}


def test_every_kind_comes_soon() -> None:
    parts = Parts(tuple(f"w{i}" for i in range(8)), ("r0", "r1"), ("redis",))
    assert {fault.kind for fault in plan(1, 90, parts)} == set(Kind)


def test_without_a_redis_only_the_rest_fails() -> None:
    kinds = {fault.kind for fault in plan(1, 200, Parts(("w0", "w1"), ("r0",)))}
    assert not kinds & {Kind.REDIS_KILL, Kind.REDIS_HANG, Kind.ROUTER_KILL, Kind.ROUTER_DRAIN}
    assert kinds


def test_only_what_is_asked_for() -> None:
    assert {fault.kind for fault in plan(1, 200, PARTS, kinds=[Kind.HANG])} == {Kind.HANG}
    assert plan(1, 200, Parts((), ())) == []


@pytest.mark.parametrize(
    ("target", "down", "spare", "may"),
    [
        ("w0", [], True, True),
        ("w0", ["w0"], True, False),
        ("w0", ["w1"], True, True),
        ("w0", ["w1", "w2"], True, False),
        ("w0", ["w1", "w2"], False, True),
        ("r0", ["w1", "w2"], True, True),
        ("redis", [], True, True),
        ("redis", ["redis"], False, False),
    ],
)
def test_who_may_fail(target: str, down: list[str], spare: bool, may: bool) -> None:
    assert may_fail(target, down, PARTS, spare=spare) is may
