"""A server's circuit over time, against a naive one."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.fleet.circuit import Circuit, CircuitOptions, State

OPTIONS = CircuitOptions(failures=3, open_s=5.0, most_s=60.0)


def opened(at: float = 0.0) -> Circuit:
    """One that too many failures have opened."""
    circuit = Circuit(OPTIONS)
    for _ in range(OPTIONS.failures):
        circuit.failed(at)
    return circuit


def closed_again(circuit: Circuit, now: float) -> int:
    """How many successes it takes on probation."""
    for successes in range(1, 100):
        if circuit.succeeded(now):
            return successes
    raise AssertionError("it never closes")


class TestOpening:
    def test_a_new_one_is_closed(self) -> None:
        circuit = Circuit()
        assert (circuit.state(0.0), circuit.plain, circuit.opened) == (State.CLOSED, True, 0)
        assert circuit.admits(10**6, 0.0)
        assert circuit.open_for(0.0) == 0.0

    @pytest.mark.parametrize(
        ("course", "opens"),
        [
            ("ff", False),
            ("fff", True),
            ("fsff", False),
            ("fsfff", True),
            ("sssssfff", True),
            ("ffsfs", False),
            ("ffsfsfsff", True),
            ("fs" * 50, False),
        ],
    )
    def test_so_many_more_failures_than_successes_open_it(self, course: str, opens: bool) -> None:
        """What went well before there was a failure counts for nothing."""
        circuit = Circuit(OPTIONS)
        told = [circuit.failed(0.0) for what in course if what == "f" or circuit.succeeded(0.0)]
        assert any(told) is opens
        assert (circuit.state(0.0) is State.OPEN) is opens
        assert circuit.plain is not opens

    def test_it_says_so_once(self) -> None:
        circuit = Circuit(OPTIONS)
        assert [circuit.failed(0.0) for _ in range(6)] == [False, False, True, False, False, False]
        assert circuit.opened == 1

    def test_what_was_sent_before_neither_lengthens_nor_shortens_it(self) -> None:
        circuit = opened(at=10.0)
        for _ in range(50):
            circuit.failed(11.0)
            assert not circuit.succeeded(12.0)
        assert circuit.open_for(12.0) == pytest.approx(3.0)


TABLE = [
    # time, state, open for, admits with 0, 1 in flight
    (10.0, State.OPEN, 5.0, False, False),
    (12.0, State.OPEN, 3.0, False, False),
    (14.999, State.OPEN, 0.001, False, False),
    (15.0, State.PROBATION, 0.0, True, False),
    (100.0, State.PROBATION, 0.0, True, False),
]


@pytest.mark.parametrize(("now", "state", "left", "first", "second"), TABLE)
def test_states_over_time(now: float, state: State, left: float, first: bool, second: bool) -> None:
    circuit = opened(at=10.0)
    assert circuit.state(now) is state
    assert circuit.open_for(now) == pytest.approx(left)
    assert (circuit.admits(0, now), circuit.admits(1, now)) == (first, second)
    assert not circuit.plain


class TestProbation:
    def test_it_is_trusted_with_twice_as_many_after_each_success(self) -> None:
        circuit = opened()
        for allowance in (1, 2, 4, 8, 16, 32):
            assert circuit.admits(allowance - 1, 6.0)
            assert not circuit.admits(allowance, 6.0)
            assert circuit.succeeded(6.0) is (allowance == 32)
        assert (circuit.state(6.0), circuit.plain) == (State.CLOSED, True)
        assert circuit.admits(10**6, 6.0)

    def test_one_failure_opens_it_again(self) -> None:
        circuit = opened()
        circuit.succeeded(6.0)
        assert circuit.failed(7.0)
        assert (circuit.state(7.0), circuit.open_for(7.0)) == (State.OPEN, 10.0)
        assert circuit.admits(0, 17.0)
        assert not circuit.admits(1, 17.0), "from the beginning"

    def test_after_it_so_many_failures_are_needed_again(self) -> None:
        circuit = opened()
        closed_again(circuit, 6.0)
        assert [circuit.failed(7.0) for _ in range(3)] == [False, False, True]


class TestTimes:
    def test_they_double_up_to_the_bound(self) -> None:
        circuit, now, times = opened(), 0.0, []
        for _ in range(40):
            times.append(circuit.open_for(now))
            now += times[-1]
            assert circuit.failed(now), "on probation"
        assert times[:6] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
        assert set(times[4:]) == {60.0}
        assert circuit.opened == 41

    @pytest.mark.parametrize(("well_s", "seconds"), [(1.0, 10.0), (300.0, 10.0), (301.0, 5.0)])
    def test_a_worker_that_was_well_for_long_is_forgiven(
        self, well_s: float, seconds: float
    ) -> None:
        circuit = opened()
        closed_again(circuit, 6.0)
        for _ in range(3):
            circuit.failed(6.0 + well_s)
        assert circuit.open_for(6.0 + well_s) == pytest.approx(seconds)

    def test_the_first_is_bounded_too(self) -> None:
        circuit = Circuit(CircuitOptions(failures=1, open_s=90.0, most_s=60.0))
        circuit.failed(0.0)
        assert circuit.open_for(0.0) == 60.0


class TestPause:
    def test_it_is_left_alone_meanwhile(self) -> None:
        circuit = Circuit(OPTIONS)
        circuit.pause(7.0, 10.0)
        assert not circuit.plain
        assert (circuit.admits(0, 16.9), circuit.open_for(16.0)) == (False, 1.0)
        assert circuit.state(11.0) is State.CLOSED, "it has not failed"
        assert circuit.admits(10**6, 17.0)
        assert circuit.plain

    @pytest.mark.parametrize("asked", [61.0, 3600.0, 999999.0])
    def test_not_for_as_long_as_it_may_ask(self, asked: float) -> None:
        circuit = Circuit(OPTIONS)
        circuit.pause(asked, 0.0)
        assert circuit.open_for(0.0) == 60.0
        assert circuit.admits(0, 60.0)

    def test_a_shorter_one_does_not_end_a_longer_one(self) -> None:
        circuit = Circuit(OPTIONS)
        circuit.pause(20.0, 0.0)
        circuit.pause(1.0, 2.0)
        assert circuit.open_for(2.0) == 18.0

    def test_the_longer_of_pause_and_ejection_counts(self) -> None:
        circuit = opened()
        circuit.pause(30.0, 0.0)
        assert not circuit.admits(0, 6.0)
        assert circuit.open_for(6.0) == 24.0
        assert circuit.admits(0, 30.0)
        assert circuit.state(30.0) is State.PROBATION


class Naive:
    """The rules, each as a sentence."""

    def __init__(self) -> None:
        self.now = 1.0
        self.more_failures = 0
        self.ejected_until: float | None = None
        self.paused_until = 0.0
        self.times = 0
        self.successes = 0
        self.closed_at: float | None = None

    @property
    def open(self) -> bool:
        return self.ejected_until is not None and self.now < self.ejected_until

    @property
    def probation(self) -> bool:
        return self.ejected_until is not None and self.now >= self.ejected_until

    def admits(self, inflight: int) -> bool:
        if self.now < self.paused_until or self.open:
            return False
        return inflight < 2**self.successes if self.probation else True

    def fail(self) -> None:
        if self.open:
            return
        self.more_failures += 1
        if self.probation or self.more_failures >= OPTIONS.failures:
            if self.closed_at is not None and self.now - self.closed_at > 300.0:
                self.times = 0
            self.ejected_until = self.now + min(5.0 * 2**self.times, 60.0)
            self.times += 1
            self.more_failures = self.successes = 0

    def succeed(self) -> None:
        if self.probation:
            self.successes += 1
            if self.successes == 6:
                self.ejected_until, self.closed_at = None, self.now
        elif not self.open:
            self.more_failures = max(0, self.more_failures - 1)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(OPTIONS)
        self.naive = Naive()
        self.was = State.CLOSED

    @rule(seconds=st.sampled_from([0.5, 2.5, 5.0, 10.0, 60.0, 301.0]))
    def passes(self, seconds: float) -> None:
        self.naive.now += seconds

    @rule(times=st.integers(1, 4))
    def fails(self, times: int) -> None:
        for _ in range(times):
            self.naive.fail()
            self.circuit.failed(self.naive.now)

    @rule(times=st.integers(1, 6))
    def succeeds(self, times: int) -> None:
        for _ in range(times):
            self.naive.succeed()
            closed = self.circuit.succeeded(self.naive.now)
            assert not closed or self.naive.closed_at == self.naive.now

    @rule(seconds=st.sampled_from([1.0, 30.0, 1000.0]))
    def pauses(self, seconds: float) -> None:
        self.naive.paused_until = max(self.naive.paused_until, self.naive.now + min(seconds, 60.0))
        self.circuit.pause(seconds, self.naive.now)

    @invariant()
    def they_agree(self) -> None:
        naive, circuit, now = self.naive, self.circuit, self.naive.now
        state = circuit.state(now)
        assert (state is State.OPEN, state is State.PROBATION) == (naive.open, naive.probation)
        for inflight in (0, 1, 3, 31, 32, 1000):
            assert circuit.admits(inflight, now) is naive.admits(inflight)
        until = max(naive.ejected_until or 0.0, naive.paused_until)
        assert circuit.open_for(now) == pytest.approx(max(0.0, until - now))

    @invariant()
    def it_opens_and_closes_in_order(self) -> None:
        state = self.circuit.state(self.naive.now)
        if state is State.OPEN:
            assert not self.circuit.admits(0, self.naive.now)
        if state is State.CLOSED:
            assert self.was is not State.OPEN, "by way of probation"
        self.was = state


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
