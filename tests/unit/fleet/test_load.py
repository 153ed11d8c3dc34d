"""Counting what a worker has to do: never below nothing, back to nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.engines.base import Gauges
from router.fleet.load import Counts, Load, Part, PendingPrefill


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


class TestReports:
    """What the worker's metrics say, of whoever's requests."""

    @staticmethod
    def report(load: Load, running: int, waiting: int, now: float = 0.0) -> None:
        load.report(Gauges(running, waiting, 0.5), load.counts(), now)

    def test_nothing_is_known_at_first(self) -> None:
        load = Load()
        assert (load.kv_usage, load.reported_running, load.reported_waiting) == (None, None, None)
        assert load.foreign == 0

    def test_what_it_says_is_kept_until_it_is_silent(self) -> None:
        load = Load()
        self.report(load, 3, 7)
        assert (load.kv_usage, load.reported_running, load.reported_waiting) == (0.5, 3, 7)
        assert load.foreign == 10
        load.forget_report(1.0)
        assert (load.kv_usage, load.reported_running, load.reported_waiting) == (None, None, None)
        assert (load.foreign, load.pending_tokens(1.0), load.pending_seconds(1.0)) == (0, 0.0, 0.0)

    def test_our_own_requests_are_not_foreign(self) -> None:
        load, mine = Load(), [prefill() for _ in range(4)]
        for each in mine:
            load.enter(each, 0.0)
        load.prefilled(mine[0], 0.5)
        self.report(load, 1, 3, 0.5)
        assert (load.foreign, load.pending_tokens(0.5)) == (0, 300.0)

    def test_neither_are_those_that_came_or_went_while_it_was_asked(self) -> None:
        load, going, coming = Load(), prefill(), prefill()
        load.enter(going, 0.0)
        before = load.counts()
        load.leave(going, 0.1)
        load.report(Gauges(0, 1), before, 0.2)
        assert (load.foreign, load.pending_tokens(0.2)) == (0, 0.0)
        before = load.counts()
        load.enter(coming, 0.3)
        load.report(Gauges(0, 1), before, 0.4)
        assert (load.foreign, load.pending_tokens(0.4)) == (0, 100.0)

    def test_what_waits_for_others_is_work_that_runs_down(self) -> None:
        load = Load()
        self.report(load, 10, 8)
        seconds = load.pending_seconds(0.0)
        assert load.foreign == 18
        assert (load.pending_tokens(0.0), seconds) == (8 * 1000.0, pytest.approx(8 * 0.03))
        assert load.pending_seconds(seconds / 2) == pytest.approx(seconds / 2)
        assert load.pending_tokens(seconds * 1.1) == 0.0
        assert load.inflight == 0

    def test_it_is_taken_to_be_like_ours(self) -> None:
        load = Load()
        for _ in range(300):
            mine = prefill(2.0, 5000.0)
            load.enter(mine, 0.0)
            load.leave(mine, 0.0)
        self.report(load, 0, 3)
        assert load.pending_tokens(0.0) == pytest.approx(15_000, rel=0.01)
        assert load.pending_seconds(0.0) == pytest.approx(6.0, rel=0.01)

    def test_requests_without_a_prefill_are_not_like_any(self) -> None:
        load, nothing = Load(), prefill(0.0, 0.0, streams=False)
        for _ in range(300):
            load.enter(nothing, 0.0)
            load.leave(nothing, 0.0)
        self.report(load, 0, 1)
        assert load.pending_tokens(0.0) == 1000.0

    def test_a_new_report_replaces_the_last(self) -> None:
        load = Load()
        for waiting in (8, 2, 0):
            self.report(load, 0, waiting, 0.001)
            assert load.pending_tokens(0.001) == waiting * 1000.0
        assert not load.pending

    def test_it_comes_after_what_we_sent_before(self) -> None:
        load, mine = Load(), prefill(1.0, 100)
        load.enter(mine, 0.0)
        self.report(load, 0, 3, 0.0)
        assert load.pending_seconds(0.0) == pytest.approx(1.0 + 2 * load._typical_seconds)
        load.prefilled(mine, 0.5)
        assert load.pending_seconds(0.5) == pytest.approx(2 * load._typical_seconds)

    def test_an_answer_that_takes_longer_than_predicted_waits_on(self) -> None:
        """It does not stream, so it was taken to be prefilled; the worker says that it still waits."""
        load, mine = Load(), prefill(1.0, 1000.0, streams=False)
        load.enter(mine, 0.0)
        assert load.pending_tokens(2.0) == 0.0
        self.report(load, 0, 1, 2.0)
        assert (load.foreign, load.pending_tokens(2.0)) == (0, 1000.0)
        load.leave(mine, 2.5)
        self.report(load, 0, 1, 2.5)
        assert load.foreign == 1

    def test_a_stream_s_first_token_is_believed(self) -> None:
        """The worker's figures are a little old: what waited when they were made need not wait now."""
        load, mine = Load(), prefill(1.0, 1000.0)
        load.enter(mine, 0.0)
        load.prefilled(mine, 1.0)
        self.report(load, 0, 1, 1.0)
        assert (load.foreign, load.pending_tokens(1.0)) == (0, 0.0)

    @given(STEPS, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=9))
    def test_reports_leave_nothing_behind(
        self,
        steps: list[tuple[str, int, float, bool]],
        reports: list[tuple[int, int]],
    ) -> None:
        load, running, now = Load(), list[PendingPrefill](), 0.0
        for place, (kind, which, value, streams) in enumerate(steps):
            now += value / 3
            if kind == "enter":
                running.append(prefill(value, value * 1000 / 7, streams=streams))
                load.enter(running[-1], now)
            elif running and kind == "token":
                load.prefilled(running[which % len(running)], now)
            elif running:
                load.leave(running.pop(which % len(running)), now)
            if place < len(reports):
                self.report(load, *reports[place], now)
            assert load.pending_seconds(now) >= 0.0
            assert load.pending_tokens(now) >= 0.0
            assert 0 <= load.counts().pending <= load.inflight == len(running)
        for each in running:
            load.leave(each, now)
        load.forget_report(now)
        assert (load.inflight, load.pending_seconds(now), load.pending_tokens(now)) == (0, 0.0, 0.0)
        assert (load._assumed, list(load)) == (0, [])


def test_own_requests_and_what_they_brought_are_counted() -> None:
    load, first = Load(), prefill(1.0, 100.7)
    load.enter(first, 0.0)
    load.enter(prefill(1.0, 50.0), 0.0)
    assert (load.own, load.spent) == (2, 150)
    load.leave(first, 1.0)
    assert (load.own, load.spent) == (1, 150)


class TestOthers:
    """What other routers have under way."""

    PART = Part(4, 2, 700.0, 3.0, 9000.0)

    def test_nobody_has_anything_at_first(self) -> None:
        assert Load().part(0.0) == Part()

    def test_theirs_counts_with_ours(self) -> None:
        load, mine = Load(), PendingPrefill(1.0, 100.0, 5000.0, streams=True)
        load.enter(mine, 0.0)
        load.share(self.PART, 0.0)
        assert (load.inflight, load.own, load.context_tokens) == (5, 1, 14_000)
        assert (load.pending_tokens(0.0), load.pending_seconds(0.0)) == (800, 4.0)
        assert load.counts() == Counts(5, 3)
        assert load.spent == 100

    def test_it_runs_down_with_time(self) -> None:
        load = Load()
        load.share(self.PART, 10.0)
        assert load.pending_seconds(12.0) == pytest.approx(1.0)
        assert load.pending_tokens(12.0) == 700
        assert (load.pending_seconds(13.1), load.pending_tokens(13.1)) == (0, 0)
        assert (load.inflight, load.context_tokens) == (4, 9000), "these are not over"
        assert load.part(13.1) == Part()

    def test_ours_goes_first(self) -> None:
        load, mine = Load(), prefill(2.0, 100.0)
        load.enter(mine, 0.0)
        load.share(self.PART, 1.0)
        assert load.pending_seconds(1.0) == pytest.approx(1.0 + 3.0)
        load.prefilled(mine, 2.0)
        assert load.pending_seconds(4.0) == pytest.approx(1.0)

    def test_what_they_tell_next_replaces_it(self) -> None:
        load = Load()
        for part in (self.PART, Part(9, 1, 50.0, 1.0, 100.0), self.PART, self.PART):
            load.share(part, 0.0)
            assert (load.inflight, load.context_tokens) == (part.inflight, part.context)
            assert load.pending_tokens(0.0) == part.tokens
            assert load.pending_seconds(0.0) == part.seconds
            assert load.counts() == part[:2]
        load.share(Part(), 0.0)
        assert (load.inflight, load.context_tokens, list(load)) == (0, 0, [])

    def test_requests_behind_their_first_token_wait_for_nothing(self) -> None:
        load = Load()
        load.share(Part(3, 0, 0.0, 0.0, 500.0), 0.0)
        assert (load.inflight, load.counts()) == (3, Counts(3, 0))
        assert not load.pending

    def test_ours_is_told_without_theirs(self) -> None:
        load, first = Load(), PendingPrefill(2.0, 100.0, 5000.0, streams=True)
        load.enter(first, 0.0)
        load.enter(PendingPrefill(1.0, 50.0, 70.0, streams=True), 0.0)
        mine = load.part(0.5)
        assert mine == Part(2, 2, 150.0, 2.5, 5070.0)
        load.share(self.PART, 0.5)
        assert load.part(0.5) == mine
        load.prefilled(first, 0.5)
        assert load.part(0.5) == Part(2, 1, 50.0, 1.0, 5070.0)
        load.share(Part(), 0.5)
        assert load.part(0.5) == Part(2, 1, 50.0, 1.0, 5070.0)

    def test_and_without_what_metrics_told(self) -> None:
        load = Load()
        load.enter(prefill(1.0, 100.0), 0.0)
        load.report(Gauges(3, 6, 0.5), load.counts(), 0.0)
        assert load.pending_tokens(0.0) > 100
        load.share(self.PART, 0.0)
        assert load.part(0.0) == Part(1, 1, 100.0, 1.0, 0.0)

    def test_theirs_explains_what_metrics_tell(self) -> None:
        load = Load()
        load.enter(prefill(1.0, 100.0), 0.0)
        load.share(self.PART, 0.0)
        load.report(Gauges(3, 2, 0.5), load.counts(), 0.0)
        assert load.foreign == 0
        assert load.pending_tokens(0.0) == 800
        load.report(Gauges(4, 4, 0.5), load.counts(), 0.0)
        assert load.foreign == 3
        assert load.pending_tokens(0.0) > 800

    def test_what_ours_ends_is_not_theirs(self) -> None:
        load, mine = Load(), PendingPrefill(1.0, 100.0, 0.1, streams=True)
        load.share(self.PART, 0.0)
        load.enter(mine, 0.0)
        load.leave(mine, 1.0)
        assert (load.inflight, load.own, load.context_tokens) == (4, 0, 9000)

    def test_ours_takes_as_long_behind_theirs(self) -> None:
        load = Load()
        load.share(Part(1, 1, 1000.0, 10.0, 0.0), 0.0)
        load.enter(prefill(2.0, 100.0), 0.0)
        assert load.part(5.0).seconds == pytest.approx(2.0)


PARTS = st.builds(
    lambda pending, more, tokens, seconds, context: Part(
        pending + more, pending, tokens if pending else 0, seconds if pending else 0, context
    ),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5000),
    st.integers(0, 5000).map(lambda ms: ms / 1000),
    st.integers(0, 50_000),
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 3000), st.booleans()),
        st.tuples(st.sampled_from(["token", "leave", "expire"]), st.integers(0, 9), st.just(False)),
        st.tuples(st.just("share"), PARTS, st.just(False)),
        st.tuples(
            st.just("report"), st.tuples(st.integers(0, 9), st.integers(0, 9)), st.just(False)
        ),
    ),
    max_size=60,
)


class Mix:
    """A load, what is running of ours, and what others told last."""

    def __init__(self) -> None:
        self.load, self.now = Load(), 0.0
        self.running: list[PendingPrefill] = []
        self.others = Part()

    def step(self, kind: str, value: Any, streams: bool) -> None:
        self.now += 0.1
        load, running, now = self.load, self.running, self.now
        if kind == "enter":
            running.append(PendingPrefill(value / 1000, value, 2 * value, streams=streams))
            load.enter(running[-1], now)
        elif kind == "share":
            self.others = value
            load.share(value, now)
        elif kind == "report":
            load.report(Gauges(*value), load.counts(), now)
        elif kind == "expire":
            self.now += value / 3
        elif running and kind == "token":
            load.prefilled(running[value % len(running)], now)
        elif running:
            load.leave(running.pop(value % len(running)), now)

    def check(self) -> None:
        load, now, others = self.load, self.now, self.others
        part = load.part(now)
        assert load.own == part.inflight == len(self.running)
        assert load.inflight == load.own + others.inflight
        assert 0 <= part.pending <= part.inflight
        ours = [each for each in self.running if each in load.pending]
        assert part.pending == len(ours)
        assert part.tokens == pytest.approx(sum(each.tokens for each in ours), abs=1e-6)
        assert 0 <= part.seconds <= sum(each.seconds for each in ours) + 1e-6
        assert part.context == pytest.approx(sum(each.context for each in self.running))
        assert load.context_tokens == pytest.approx(part.context + others.context)
        assert load.pending_seconds(now) >= 0
        assert load.pending_tokens(now) >= 0
        assert load.counts() == Counts(load.inflight, part.pending + others.pending)


@given(EVENTS)
def test_whatever_happens_ours_and_theirs_are_kept_apart(
    events: list[tuple[str, Any, bool]],
) -> None:
    mix = Mix()
    for event in events:
        mix.step(*event)
        mix.check()
    load = mix.load
    for each in mix.running:
        load.leave(each, mix.now)
    load.share(Part(), mix.now)
    load.forget_report(mix.now)
    assert (load.own, load.inflight, load.context_tokens, load.foreign) == (0, 0, 0, 0)
    assert (load.pending_seconds(mix.now), load.pending_tokens(mix.now)) == (0, 0)
    assert (load._assumed, list(load)) == (0, [])
    assert load.part(mix.now) == Part()
