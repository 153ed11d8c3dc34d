"""The engine: against the rules written down naively, and each rule by itself."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.simulate.engine import Engine
from router.simulate.hardware import NETWORK_S, PRESETS, Hardware
from router.simulate.job import Job
from tests.unit.simulate.naive_engine import NaiveEngine

SMALL = Hardware(
    name="small",
    base_s=0.00317,
    weights_s=0.0059,
    token_s=0.00041,
    kv_s=1.7e-5,
    attention_s=2.3e-6,
    budget=40,
    max_seqs=6,
    kv_tokens=64,
    slo_ttft_s=1.0,
    slo_itl_s=0.1,
)
Report = tuple[float, Job, bool]


@dataclass(frozen=True)
class Request:
    """A job to be made twice, once per engine; ids are drawn from few texts so that they are shared."""

    text: int
    prompt: int
    output: int
    hashed: bool
    answer: int

    def job(self, size: int) -> Job:
        full = (self.prompt + self.output - 1) // size
        own = 1000 * (1 + self.answer)
        prompt_blocks = [100 * (1 + self.text) + n for n in range(self.prompt // size)]
        answer_blocks = [own + self.prompt * 10_000 + n for n in range(full - len(prompt_blocks))]
        if self.answer == 0:  # the answer is the text's own continuation
            answer_blocks = [100 * (1 + self.text) + n for n in range(len(prompt_blocks), full)]
        return Job(
            self.prompt,
            self.output,
            prompt_blocks if self.hashed else [],
            answer_blocks if self.hashed and self.answer < 3 else [],
        )


requests = st.builds(
    Request,
    text=st.integers(0, 2),
    prompt=st.integers(1, 40),
    output=st.integers(1, 24),
    hashed=st.sampled_from([True, True, True, False]),
    answer=st.integers(0, 3),
)
Call = Request | int | None
"""A request arrives, the client of one leaves, or everything crashes."""

pauses = st.sampled_from([0.0, 0.0, 0.0013, 0.0137, 0.061, 0.31, 3.3])
calls = st.lists(
    st.tuples(
        pauses,
        requests | requests | requests | st.integers(0, 30) | st.none(),
    ),
    max_size=40,
)


class Pair:
    """Both engines under the same calls; every answer of the one is compared with the other's."""

    def __init__(self, hardware: Hardware, size: int, speed: float) -> None:
        self.size = size
        self.fast = Engine(hardware, size, speed=speed, record_changes=True)
        self.naive = NaiveEngine(hardware, size, speed=speed)
        self.jobs: list[tuple[Job, Job]] = []

    def submit(self, number: int, now: float) -> None:
        self.fast.submit(self.jobs[number][0], now)
        self.naive.submit(self.jobs[number][1], now)

    def call(self, what: Call, now: float) -> None:
        if isinstance(what, Request):
            self.jobs.append((what.job(self.size), what.job(self.size)))
            self.submit(len(self.jobs) - 1, now)
        elif isinstance(what, int):
            if self.jobs:
                mine, other = self.jobs[what % len(self.jobs)]
                self.fast.abort(mine, now)
                self.naive.abort(other, now)
        else:
            lost = self.numbers(self.fast.crash(now))
            assert sorted(lost) == sorted(self.numbers(self.naive.crash(now)))
            for number in lost[::2]:
                self.submit(number, now)

    def numbers(self, jobs: Iterable[Job]) -> list[int]:
        """Which of the jobs they are."""
        places = {job: n for n, pair in enumerate(self.jobs) for job in pair}
        return [places[job] for job in jobs]

    def compare(self, fast: list[Report], naive: list[Report]) -> None:
        assert self.numbers(r[1] for r in fast) == self.numbers(r[1] for r in naive)
        assert [r[2] for r in fast] == [r[2] for r in naive]
        assert_close([r[0] for r in fast], [r[0] for r in naive])
        for mine, other in self.jobs:
            assert outcome(mine) == outcome(other)
            assert_close(times(mine), times(other))
        assert self.fast.waiting == len(self.naive.waiting)
        assert self.fast.running == len(self.naive.running)
        assert self.fast.waiting_tokens == sum(r.length for r in self.naive.waiting)
        assert self.fast.kv_usage == pytest.approx(self.naive.kv_usage)
        assert [c[1:] for c in self.fast.changes] == [c[1:] for c in self.naive.changes]
        assert_close([c[0] for c in self.fast.changes], [c[0] for c in self.naive.changes])
        self.fast.changes.clear()
        self.naive.changes.clear()

    def advance(self, until: float) -> None:
        self.compare(self.fast.advance(until), self.naive.advance(until))

    def follow(self, until: float) -> None:
        """The same from one `next_time` to the next, as a fleet does it."""
        reports: list[Report] = []
        while (time := self.fast.next_time) <= until and time < inf:
            news = self.fast.advance(time)
            assert all(at == time for at, _, _ in news), "something came before next_time"
            reports += news
        assert self.fast.advance(until) == []
        self.compare(reports, self.naive.advance(until))


def outcome(job: Job) -> tuple[int, int, int]:
    return job.cached_tokens, job.preemptions, job.recomputed


def times(job: Job) -> list[float]:
    return [job.arrived_at, job.first_at, job.ended_at]


def assert_close(some: list[float], others: list[float]) -> None:
    assert some == pytest.approx(others, rel=1e-9, nan_ok=True)


@settings(max_examples=200)
@given(
    calls=calls,
    size=st.sampled_from([1, 2, 4, 8]),
    budget=st.sampled_from([4, 16, 40]),
    max_seqs=st.sampled_from([2, 6, 50]),
    speed=st.sampled_from([0.7, 1.0]),
    mode=st.sampled_from(["follow", "advance", "end"]),
)
def test_equals_the_rules(
    calls: list[tuple[float, Call]], size: int, budget: int, max_seqs: int, speed: float, mode: str
) -> None:
    pair = Pair(replace(SMALL, budget=budget, max_seqs=max_seqs), size, speed)
    now = 0.00123
    for pause, what in calls:
        now += pause
        if mode == "follow":
            pair.follow(now)
        elif mode == "advance":
            pair.advance(now)
        pair.call(what, now)
    if mode == "end":
        pair.advance(now)
    pair.follow(inf)


# -- each rule by itself ---------------------------------------------------------------------------

H100 = PRESETS["h100-8b"]


def play(engine: Engine, *jobs: Job, now: float = 0.0) -> list[Report]:
    for job in jobs:
        engine.submit(job, now)
    return engine.advance(inf)


def test_golden() -> None:
    """The study's figures for one request of 1000 tokens, answered with 10."""
    job = Job(1000, 10, [], [])
    play(Engine(H100, 16), job)
    assert job.first_at + 2 * NETWORK_S == pytest.approx(0.0431, abs=6e-5)
    assert (job.ended_at - job.first_at) / 9 == pytest.approx(0.00905, abs=5e-6)


def test_first_token_and_end_of_one_step_are_two_reports() -> None:
    job = Job(5, 1, [], [])
    (at, _, first), (end_at, _, end) = play(Engine(H100, 16), job, now=3.0)
    assert (first, end) == (True, False)
    assert at == end_at == job.first_at == job.ended_at == 3.0 + 0.003 + 0.006 + 1.3e-9 * 12.5


def test_a_slow_worker_takes_longer_for_everything() -> None:
    job, slow = Job(1000, 10, [], []), Job(1000, 10, [], [])
    play(Engine(H100, 16), job)
    play(Engine(H100, 16, speed=0.25), slow)
    assert times(slow) == pytest.approx([4 * time for time in times(job)])


def test_a_step_in_progress_does_not_change() -> None:
    engine = Engine(H100, 16)
    first, second = Job(1000, 1, [], []), Job(1000, 1, [], [])
    engine.submit(first, 1.0)
    end = engine.next_time
    engine.submit(second, 1.01)
    assert engine.next_time == end
    assert (engine.running, engine.waiting, engine.waiting_tokens) == (1, 1, 1000)
    engine.advance(inf)
    assert first.first_at == end
    assert second.first_at == pytest.approx(end + (end - 1.0))


def test_decoding_is_not_disturbed_by_looking_at_it() -> None:
    """Many small advances, one large one: the same times to the last bit."""
    once, often = Job(100, 300, [], []), Job(100, 300, [], [])
    play(Engine(H100, 16), once)
    engine = Engine(H100, 16)
    engine.submit(often, 0.0)
    for tick in range(1000):
        engine.advance(tick * 0.0071)
    assert (often.first_at, often.ended_at) == (once.first_at, once.ended_at)


def test_next_time_is_the_time_of_the_next_report() -> None:
    engine = Engine(H100, 16)
    assert engine.next_time == inf
    job = Job(1000, 200, [], [])
    engine.submit(job, 0.0)
    reported = [engine.advance(engine.next_time) for _ in range(2)]
    assert [[first for _, _, first in reports] for reports in reported] == [[True], [False]]
    assert engine.next_time == inf


def test_next_time_is_not_too_late_if_the_queue_may_move_before() -> None:
    """The second is short of one block until the first has answered so far that they share it."""
    engine = Engine(replace(SMALL, kv_tokens=48), 8)
    first, second = Job(9, 30, [0], [1, 2, 3, 4]), Job(41, 1, [0, 1, 2, 3, 4], [])
    engine.submit(first, 0.0)
    engine.advance(engine.next_time)
    engine.submit(second, first.first_at + 0.001)
    engine.advance(first.first_at + 0.02)
    assert (engine.running, engine.waiting) == (1, 1)
    while not (reports := engine.advance(time := engine.next_time)):
        pass
    assert [(at, job) for at, job, _ in reports] == [(time, second)] * 2
    assert second.cached_tokens == 16


def test_what_happened_before_a_call_is_reported_after_it() -> None:
    engine = Engine(H100, 16)
    first, second = Job(1000, 1, [], []), Job(1000, 1, [], [])
    engine.submit(first, 0.0)
    engine.submit(second, 5.0)
    assert [job for _, job, _ in engine.advance(5.0)] == [first, first]


def test_a_job_that_never_fits_is_refused() -> None:
    engine = Engine(SMALL, 8)
    with pytest.raises(ValueError, match="65 tokens do not fit into 8 blocks"):
        engine.submit(Job(60, 5, [], []), 0.0)
    engine.submit(Job(60, 4, [], []), 0.0)
    assert engine.running == 1


def test_blocks_are_stored_when_their_step_begins_and_removed_when_others_need_the_place() -> None:
    engine = Engine(SMALL, 8, record_changes=True)
    engine.submit(Job(39, 1, [1, 2, 3, 4], []), 1.0)
    assert engine.kv_usage == 5 / 8
    assert engine.changes == [(1.0, block, True) for block in (1, 2, 3, 4)]
    engine.advance(2.0)
    assert engine.kv_usage == 0
    engine.changes.clear()
    engine.submit(Job(39, 1, [5, 6, 7, 8], []), 3.0)
    assert engine.changes == [(3.0, 4, False)] + [(3.0, block, True) for block in (5, 6, 7, 8)]


def test_a_crash_loses_jobs_and_cache() -> None:
    engine = Engine(H100, 8, record_changes=True)
    ended, running, gone = (Job(24, tokens, [1, 2, 3], []) for tokens in (1, 900, 900))
    play(engine, ended)
    engine.submit(running, 1.0)
    engine.submit(gone, 1.1)
    engine.abort(gone, 1.2)
    assert running.cached_tokens == 16
    assert engine.crash(2.0) == [running]
    assert (engine.next_time, engine.running, engine.waiting) == (inf, 0, 0)
    assert engine.changes == []
    engine.submit(running, 3.0)
    assert running.cached_tokens == 0
    assert running.arrived_at == 3.0


def test_a_client_that_leaves_frees_its_blocks_with_the_step() -> None:
    engine = Engine(H100, 16)
    job = Job(1000, 500, [], [])
    engine.submit(job, 0.0)
    engine.advance(0.1)
    engine.abort(job, 0.1)
    end = engine.next_time
    assert 0.1 < end < 0.11
    assert engine.running == 1
    assert engine.advance(end) == []
    assert (engine.running, engine.kv_usage, engine.next_time) == (0, 0, inf)


def test_nothing_is_heard_of_a_job_whose_client_left() -> None:
    engine = Engine(H100, 16)
    first, second = Job(1000, 50, [], []), Job(1000, 50, [], [])
    engine.submit(first, 0.0)
    engine.submit(second, 0.01)
    engine.abort(first, 0.02)
    engine.abort(first, 0.02)
    assert [job for _, job, _ in engine.advance(inf)] == [second, second]
    assert isnan(first.first_at)
    engine.abort(second, 9.0)
    assert engine.kv_usage == 0
