"""A choice together with what is expected of it."""

from time import perf_counter

import pytest

from router.fleet.load import PendingPrefill
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.prompt.identity import TextIdentity
from router.routing.chooser import Chooser
from router.routing.cost import STEP_SECONDS, Rates, prefill_seconds
from router.routing.policy import Choice, Question
from router.telemetry.metrics import LOOKUP_BUCKETS_S, Histogram
from tests.unit.support import chat, request, workers_of

ASKED = request(chat("word " * 2000))
IDENTITY = TextIdentity().identify(ASKED)


class Bench:
    """A chooser whose policy always takes the last candidate."""

    def __init__(self) -> None:
        self.memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = PredictedIndex(self.memory, default_kv_tokens=10**9)
        self.rates = Rates()
        self.lookups = Histogram(LOOKUP_BUCKETS_S)
        self.questions: list[Question] = []
        self.chooser = Chooser("last", self.last, self.index, self.rates, self.lookups)

    def last(self, question: Question) -> Choice:
        self.questions.append(question)
        return Choice(question.candidates[-1], "last")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_looking_up_is_timed(bench: Bench) -> None:
    (a,) = workers_of("a")
    bench.index.sent(a.id, IDENTITY)
    assert bench.chooser.look_up(IDENTITY) == {a.id: len(IDENTITY.keys)}
    assert sum(bench.lookups.counts) == 1


def test_a_single_candidate_needs_no_policy(bench: Bench) -> None:
    (a,) = workers_of("a")
    decision = bench.chooser.choose(ASKED, IDENTITY, [a], {a.id: 3})
    assert (decision.worker, decision.policy, decision.reason) == (a, "last", "only_candidate")
    assert decision.cached_tokens > 0
    assert bench.questions == []


def test_the_policy_is_asked_with_all_that_is_known(bench: Bench) -> None:
    a, b = workers_of("a", "b")
    decision = bench.chooser.choose(ASKED, IDENTITY, [a, b], {a.id: 3})
    assert (decision.worker, decision.reason) == (b, "last")
    (question,) = bench.questions
    assert question.request is ASKED
    assert question.identity is IDENTITY
    assert question.overlaps == {a.id: 3}


def test_nothing_cached_is_expected_in_full(bench: Bench) -> None:
    (a,) = workers_of("a")
    decision = bench.chooser.choose(ASKED, IDENTITY, [a], {})
    assert (decision.cached_tokens, decision.uncached_tokens) == (0.0, IDENTITY.tokens)
    assert decision.waiting_s == 0.0
    assert decision.prefill_s == prefill_seconds(IDENTITY.tokens, 0.0)
    assert decision.ttft_s == decision.prefill_s + STEP_SECONDS


def test_what_is_cached_and_what_waits_are_expected(bench: Bench) -> None:
    (a,) = workers_of("a")
    blocks = len(IDENTITY.keys)
    cold = bench.chooser.choose(ASKED, IDENTITY, [a], {})
    a.load.enter(PendingPrefill(1000.0, 10, streams=True), 0.0)
    warm = bench.chooser.choose(ASKED, IDENTITY, [a], {a.id: blocks})
    assert warm.prefill_s < cold.prefill_s
    assert warm.cached_tokens + warm.uncached_tokens == pytest.approx(IDENTITY.tokens)
    assert warm.waiting_s > 50
    assert warm.ttft_s == pytest.approx(warm.prefill_s + warm.waiting_s + STEP_SECONDS)


def test_the_expected_time_is_the_worker_s_own(bench: Bench) -> None:
    (a,) = workers_of("a")
    before = bench.chooser.choose(ASKED, IDENTITY, [a], {})
    for _ in range(300):
        bench.rates.learn(a.id, 0.1, 0.5)
    after = bench.chooser.choose(ASKED, IDENTITY, [a], {})
    assert after.prefill_s == pytest.approx(5 * before.prefill_s, rel=0.05)
    assert after.ttft_s == pytest.approx(5 * before.ttft_s, rel=0.05)
    assert after.scale == pytest.approx(5, rel=0.05)


def test_work_that_waits_is_in_the_worker_s_own_seconds(bench: Bench) -> None:
    """A slow worker's prefill takes as long by the clock as it was predicted to."""
    (a,) = workers_of("a")
    for _ in range(300):
        bench.rates.learn(a.id, 0.1, 2.0)
    first = bench.chooser.choose(ASKED, IDENTITY, [a], {})
    a.load.enter(PendingPrefill(first.prefill_s, 1.0, streams=True), perf_counter())
    second = bench.chooser.choose(ASKED, IDENTITY, [a], {})
    assert second.waiting_s == pytest.approx(first.prefill_s, rel=0.05)
    assert second.ttft_s == pytest.approx(first.ttft_s + first.prefill_s, rel=0.05)
