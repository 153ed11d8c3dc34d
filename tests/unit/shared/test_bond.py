"""When the store is asked and when it is left alone, by a clock that the test turns."""

import logging
from collections import Counter

import pytest

from router.shared.base import StoreError
from router.shared.bond import Bond

LATE = StoreError("late", "no answer in time")
FAILED = StoreError("failed", "connection refused")
FULL = StoreError("full", "OOM command not allowed")
READ_ONLY = StoreError("read_only", "a replica")


class Bench:
    """A bond that has begun, its clock, and what it counted as degraded."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.degraded: Counter[str] = Counter()
        self.bond = Bond(self._count, lambda: self.now)

    def _count(self, reason: str) -> None:
        self.degraded[reason] += 1

    def after(self, seconds: float) -> bool:
        """Whether the bond is up again when something works then."""
        self.now += seconds
        self.bond.worked()
        return self.bond.up

    def alone_after(self, seconds: float) -> bool:
        """Whether the router has to do without by then."""
        self.now += seconds
        return self.bond.alone


@pytest.fixture
def bench() -> Bench:
    """Connected."""
    bench = Bench()
    bench.bond.worked()
    return bench


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


class TestStart:
    def test_until_something_worked_requests_do_not_ask(self) -> None:
        bench = Bench()
        assert not bench.bond.up
        assert not bench.bond.asks()
        assert bench.degraded == {"shared_connecting": 1}

    def test_the_first_success_makes_it_up(self, bench: Bench) -> None:
        assert bench.bond.up
        assert bench.bond.asks()
        assert not bench.degraded

    def test_a_store_that_is_not_there_at_first_is_told(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench = Bench()
        bench.now += 0.6
        bench.bond.keep()
        assert "connecting: no answer yet" in caplog.text

    def test_nobody_need_count(self) -> None:
        bond = Bond()
        assert not bond.asks()
        bond.missed(LATE)


class TestPauses:
    def test_a_failure_takes_it_down(self, bench: Bench) -> None:
        bench.bond.failed(FAILED)
        assert not bench.bond.up
        assert not bench.bond.asks()

    def test_what_failed_beside_requests_is_over_with_the_next_success(self, bench: Bench) -> None:
        for _ in range(9):
            bench.bond.failed(FAILED)
        assert bench.after(0.0)

    def test_a_success_soon_after_a_request_got_no_answer_does_not_count(
        self, bench: Bench
    ) -> None:
        bench.bond.missed(LATE)
        assert not bench.after(0.09)
        assert bench.after(0.02)

    def test_each_question_without_answer_doubles_the_pause_up_to_two_seconds(
        self, bench: Bench
    ) -> None:
        for pause_s in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0):
            bench.bond.missed(LATE)
            assert not bench.after(pause_s - 0.01)
            assert bench.after(0.02)

    def test_questions_that_were_under_way_put_its_end_off(self, bench: Bench) -> None:
        bench.bond.missed(LATE)
        bench.now += 0.09
        bench.bond.missed(LATE)
        assert not bench.after(0.19)
        assert bench.after(0.02)

    def test_other_failures_do_not(self, bench: Bench) -> None:
        bench.bond.missed(LATE)
        bench.now += 0.09
        bench.bond.failed(LATE)
        assert bench.after(0.02)

    def test_only_an_answer_to_a_request_makes_pauses_short_again(self, bench: Bench) -> None:
        for _ in range(3):
            bench.bond.missed(LATE)
        assert bench.after(0.41)
        bench.bond.missed(LATE)
        assert not bench.after(0.79)
        assert bench.after(0.02)
        bench.bond.worked(asked=True)
        bench.bond.missed(LATE)
        assert bench.after(0.11)


class TestCounts:
    def test_failures_by_reason(self, bench: Bench) -> None:
        for error in (LATE, LATE, FAILED, FULL, READ_ONLY):
            bench.bond.failed(error)
        assert bench.bond.failures == {"late": 2, "failed": 1, "full": 1, "read_only": 1}
        assert not bench.degraded, "no request went without"

    def test_a_request_that_got_no_answer_is_degraded_and_a_failure(self, bench: Bench) -> None:
        bench.bond.missed(LATE)
        assert bench.degraded == {"shared_late": 1}
        assert bench.bond.failures == {"late": 1}
        assert not bench.bond.up

    def test_requests_in_a_break_are_degraded_by_its_last_reason(self, bench: Bench) -> None:
        bench.bond.failed(LATE)
        bench.bond.asks()
        bench.bond.failed(FAILED)
        bench.bond.asks()
        bench.bond.failed(FULL)
        bench.bond.asks()
        assert bench.degraded == {"shared_late": 1, "shared_failed": 2}


class TestOnlyWritesFail:
    @pytest.mark.parametrize("error", [FULL, READ_ONLY])
    def test_questions_are_still_asked(self, bench: Bench, error: StoreError) -> None:
        bench.bond.failed(error)
        assert bench.bond.up
        assert bench.bond.asks()
        assert not bench.degraded

    def test_that_is_told_once_a_minute(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(50):
            bench.bond.failed(FULL)
            bench.now += 1
        assert caplog.messages == [f"the shared Redis takes nothing in (full: {FULL})"]
        bench.now += 20
        bench.bond.failed(READ_ONLY)
        assert len(caplog.messages) == 2

    def test_a_break_is_not_ended_by_it(self, bench: Bench) -> None:
        bench.bond.failed(FAILED)
        bench.bond.failed(FULL)
        assert not bench.bond.up


class TestLog:
    def test_a_short_break_is_not_told(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.bond.failed(LATE)
        bench.now += 0.4
        bench.bond.keep()
        assert bench.after(0.1)
        bench.now += 10
        bench.bond.keep()
        assert caplog.messages == []

    def test_a_long_one_is_told_once_with_its_reason_and_its_end(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.bond.failed(FAILED)
        for _ in range(30):
            bench.now += 0.1
            bench.bond.keep()
            bench.bond.failed(FAILED)
        assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
            (
                "WARNING",
                "the shared Redis cannot be asked (failed: connection refused): "
                "going by what this router knows alone",
            )
        ]
        assert bench.after(2.1)
        assert caplog.messages[1:] == ["the shared Redis answers again, after 5.1 s"]
        bench.bond.worked()
        assert len(caplog.messages) == 2

    def test_the_next_break_is_told_anew(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            bench.bond.failed(LATE)
            bench.now += 1
            bench.bond.keep()
            assert bench.after(1)
        assert len(caplog.messages) == 4


class TestAlone:
    def test_after_ten_seconds_without_the_store(self, bench: Bench) -> None:
        bench.bond.failed(LATE)
        assert not bench.alone_after(9.9)
        assert bench.alone_after(0.2)

    def test_failures_do_not_put_that_off(self, bench: Bench) -> None:
        for _ in range(11):
            bench.bond.failed(LATE)
            bench.now += 1
        assert bench.bond.alone

    def test_after_two_where_there_never_was_one(self) -> None:
        bench = Bench()
        assert not bench.alone_after(1.9)
        assert bench.alone_after(0.2)

    def test_in_every_break_anew(self, bench: Bench) -> None:
        for _ in range(2):
            bench.bond.failed(LATE)
            assert not bench.alone_after(9.9)
            assert bench.alone_after(0.2)
            assert bench.after(0)

    def test_not_while_the_store_is_there(self, bench: Bench) -> None:
        bench.bond.failed(FULL)
        assert not bench.alone_after(1000)

    def test_not_once_it_is_back(self, bench: Bench) -> None:
        bench.bond.failed(LATE)
        assert bench.after(11)
        assert not bench.bond.alone
