"""How much of what workers are sent is this router's, seen from the counts of its own and of all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ids import WorkerId
from router.shared.shares import Shares

A, B = WorkerId("a:8000"), WorkerId("b:8000")
STEP = 10_000


class Bench:
    """Shares, and what was told of them."""

    def __init__(self) -> None:
        self.shares = Shares()
        self.told: list[tuple[WorkerId, float]] = []
        self.shares.on_share = lambda worker, share: self.told.append((worker, share))
        self.own = self.all = 0

    def observe(self, own: int, everybody: int, times: int = 1) -> None:
        """So much more was sent to `A`."""
        for _ in range(times):
            self.own, self.all = self.own + own, (self.all + everybody) % 2**32
            self.shares.observe(A, self.own, self.all)

    @property
    def share(self) -> float:
        return self.told[-1][1]


@pytest.fixture
def bench() -> Bench:
    """It has seen where the counts of `A` stand."""
    bench = Bench()
    bench.observe(700, 123_456)
    return bench


def test_what_was_sent_before_says_nothing(bench: Bench) -> None:
    assert bench.told == []


def test_a_share_comes_near_to_what_is_sent(bench: Bench) -> None:
    bench.observe(STEP // 4, STEP, times=30)
    assert bench.share == pytest.approx(0.25, rel=0.1)
    seen = [share for _, share in bench.told]
    assert seen == sorted(seen, reverse=True), "a little at a time"
    assert {worker for worker, _ in bench.told} == {A}


def test_and_back(bench: Bench) -> None:
    bench.observe(0, STEP, times=30)
    bench.observe(STEP, STEP, times=30)
    assert bench.share == pytest.approx(1.0, rel=0.1)


def test_who_sends_all_is_told_nothing(bench: Bench) -> None:
    bench.observe(STEP, STEP, times=30)
    assert bench.told == []


def test_little_changes_are_not_told(bench: Bench) -> None:
    bench.observe(STEP // 2, STEP, times=60)
    before = len(bench.told)
    bench.observe(STEP // 2 + STEP // 100, STEP, times=60)
    assert len(bench.told) == before


def test_few_tokens_are_gathered_first(bench: Bench) -> None:
    bench.observe(0, 1000, times=4)
    assert bench.told == []
    bench.observe(0, 1000)
    assert len(bench.told) == 1


def test_who_sends_nothing_has_a_little(bench: Bench) -> None:
    bench.observe(0, STEP, times=100)
    assert 0.04 < bench.share < 0.06


def test_own_tokens_that_the_board_does_not_have_yet_make_no_more_than_all(bench: Bench) -> None:
    bench.observe(0, STEP, times=10)
    bench.observe(3 * STEP, STEP, times=50)
    assert max(share for _, share in bench.told) <= 1.0


def test_the_clock_of_all_runs_over() -> None:
    bench = Bench()
    bench.shares.observe(A, 0, 2**32 - STEP)
    bench.shares.observe(A, STEP, STEP)
    assert len(bench.told) == 1
    assert bench.share == pytest.approx(0.85)


def test_each_worker_has_its_own(bench: Bench) -> None:
    bench.shares.observe(B, 0, 0)
    bench.observe(0, STEP)
    bench.shares.observe(B, STEP, STEP)
    assert [worker for worker, _ in bench.told] == [A]


def test_alone_all_is_its_own_again(bench: Bench) -> None:
    bench.observe(0, STEP, times=10)
    bench.shares.forget()
    assert bench.told[-1] == (A, 1.0)
    before = len(bench.told)
    bench.shares.forget()
    bench.observe(0, STEP)
    assert len(bench.told) == before, "it counts from there"
    bench.observe(0, STEP)
    assert bench.share == pytest.approx(0.715)


@given(st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)), max_size=40))
def test_whatever_is_sent_a_share_is_one(sent: list[tuple[int, int]]) -> None:
    bench = Bench()
    for own, others in sent:
        bench.observe(own, own + others)
    assert all(0.05 <= share <= 1.0 for _, share in bench.told)


def test_nobody_need_listen() -> None:
    shares = Shares()
    for everybody in (0, STEP):
        shares.observe(A, 0, everybody)
    shares.forget()
