"""What is expected of a choice, and policies that send at once."""

import pytest

from router.errors import SHUTTING_DOWN
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.ids import Tier
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.prompt.identity import TextIdentity, TokenIdentity
from router.prompt.stored import Loadable
from router.routing.chooser import Chooser, Immediate, Lookup
from router.routing.cost import CostModel, Rates
from router.routing.policy import Choice, Decision, Preview, Question
from router.telemetry.metrics import LOOKUP_BUCKETS_S, Histogram
from tests.unit.support import FakeWaiter, chat, knowledge_of, request, workers_of

ASKED = request(chat("word " * 2000))
IDENTITY = TextIdentity().identify(ASKED)
NOW = 100.0


def ask(workers: list[Worker], overlaps: Lookup | None = None) -> Question:
    return Question(ASKED, IDENTITY, workers, overlaps or {}, NOW)


class Bench:
    """A chooser, and an admission whose policy always takes the last candidate."""

    def __init__(self) -> None:
        self.memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = PredictedIndex(self.memory, default_kv_tokens=10**9)
        self.cost = CostModel(Rates())
        self.lookups = Histogram(LOOKUP_BUCKETS_S)
        self.chooser = Chooser(self.index, self.cost, self.lookups)
        self.questions: list[Question] = []
        self.immediate = Immediate("last", self.last, self.chooser)

    def last(self, question: Question) -> Choice:
        self.questions.append(question)
        return Choice(question.candidates[-1], "last")

    def expect(self, worker: Worker, overlaps: Lookup | None = None) -> Decision:
        return self.chooser.expect("p", Choice(worker, "why"), ask([worker], overlaps))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_looking_up_is_timed(bench: Bench) -> None:
    (a,) = workers_of("a")
    bench.index.sent(a.id, IDENTITY)
    assert bench.chooser.look_up(IDENTITY) == {a.id: len(IDENTITY.keys)}
    assert sum(bench.lookups.counts) == 1


class TestExpecting:
    def test_it_is_said_what_was_chosen_and_why(self, bench: Bench) -> None:
        (a,) = workers_of("a")
        decision = bench.expect(a, {a.id: 3})
        assert (decision.worker, decision.policy, decision.reason) == (a, "p", "why")
        assert decision.blocks == 3

    def test_nothing_cached_is_expected_in_full(self, bench: Bench) -> None:
        (a,) = workers_of("a")
        decision, cost = bench.expect(a), bench.cost
        assert (decision.cached_tokens, decision.uncached_tokens) == (0.0, IDENTITY.tokens)
        assert decision.waiting_s == 0.0
        assert decision.prefill_s == cost.engine.prefill_s(IDENTITY.tokens, 0.0)
        assert decision.ttft_s == decision.prefill_s + cost.step_s(a.load)

    def test_what_is_cached_and_what_waits_are_expected(self, bench: Bench) -> None:
        (a,) = workers_of("a")
        cold = bench.expect(a)
        a.load.enter(PendingPrefill(1000.0, 10, streams=True), NOW)
        warm = bench.expect(a, {a.id: len(IDENTITY.keys)})
        assert warm.prefill_s < cold.prefill_s
        assert warm.cached_tokens + warm.uncached_tokens == pytest.approx(IDENTITY.tokens)
        assert warm.waiting_s == pytest.approx(1000.0)
        assert warm.ttft_s == pytest.approx(
            warm.prefill_s + warm.waiting_s + bench.cost.step_s(a.load)
        )

    def test_the_expected_time_is_the_worker_s_own(self, bench: Bench) -> None:
        (a,) = workers_of("a")
        before = bench.expect(a)
        for _ in range(300):
            bench.cost.rates.learn(a.id, 0.1, 0.5)
        after = bench.expect(a)
        assert after.prefill_s == pytest.approx(5 * before.prefill_s, rel=0.05)
        assert after.ttft_s == pytest.approx(5 * before.ttft_s, rel=0.05)
        assert after.scale == pytest.approx(5, rel=0.05)

    def test_work_that_waits_is_in_the_worker_s_own_seconds(self, bench: Bench) -> None:
        """A slow worker's prefill takes as long by the clock as it was predicted to."""
        (a,) = workers_of("a")
        for _ in range(300):
            bench.cost.rates.learn(a.id, 0.1, 2.0)
        first = bench.expect(a)
        a.load.enter(PendingPrefill(first.prefill_s, 1.0, streams=True), NOW)
        assert bench.expect(a).waiting_s == pytest.approx(first.prefill_s, rel=0.05)


class TestLoading:
    """Lower tiers hold the first 800 of 1000 tokens, the worker itself some of them."""

    BLOCK = 100

    def expect(
        self,
        bench: Bench,
        worker: Worker,
        blocks: int = 0,
        *,
        below: int = 800,
        tells: bool = True,
        sent: bool = False,
    ) -> Decision:
        """What is to be expected of a worker that tells its blocks, or was sent its first part."""
        index = knowledge_of(bench.index)
        index.keep({worker.id: self.BLOCK} if tells else {}, 0.0)
        identity = TokenIdentity.of(list(range(10)), 1000, self.BLOCK, IDENTITY).with_stored(
            {worker.id: Loadable(Tier.DISK, below)}
        )
        if sent:
            index.sent(worker.id, TextIdentity().identify(request(chat("word " * 600))))
            blocks = index.lookup(identity)[worker.id]
        chooser = Chooser(index, bench.cost, bench.lookups)
        question = Question(ASKED, identity, [worker], {worker.id: blocks} if blocks else {}, NOW)
        return chooser.expect("p", Choice(worker, "why"), question)

    @pytest.mark.parametrize("blocks", [0, 3])
    def test_what_it_does_not_have_itself_is_loaded(self, bench: Bench, blocks: int) -> None:
        (a,), cost = workers_of("a"), bench.cost
        decision = self.expect(bench, a, blocks)
        loaded = 800 - blocks * self.BLOCK
        assert (decision.tier, decision.loaded_tokens) == (Tier.DISK, loaded)
        assert (decision.cached_tokens, decision.uncached_tokens) == (800, 200)
        assert decision.load_s == cost.loads.seconds(Tier.DISK, loaded, 1.0) > 0
        own = cost.engine.prefill_s(1000, 800)
        assert decision.prefill_s == pytest.approx(own + decision.load_s)
        assert decision.ttft_s == pytest.approx(decision.prefill_s + cost.step_s(a.load))

    @pytest.mark.parametrize("blocks", [8, 9, 10])
    def test_what_it_has_itself_is_not(self, bench: Bench, blocks: int) -> None:
        (a,) = workers_of("a")
        decision = self.expect(bench, a, blocks)
        assert (decision.tier, decision.loaded_tokens, decision.load_s) == (Tier.GPU, 0.0, 0.0)

    def test_a_guess_about_its_own_memory_is_no_load(self, bench: Bench) -> None:
        """A guess is no multiple of a block; what is beyond its last block is not taken to come from below."""
        (a,) = workers_of("a")
        decision = self.expect(bench, a, below=300, tells=False, sent=True)
        assert decision.cached_tokens > decision.blocks * self.BLOCK > 300
        assert (decision.tier, decision.loaded_tokens, decision.load_s) == (Tier.GPU, 0.0, 0.0)

    def test_for_another_worker_nothing_is_loaded(self, bench: Bench) -> None:
        a, b = workers_of("a", "b")
        decision = self.expect(bench, a)
        other = bench.chooser.expect("p", Choice(b, "why"), Question(ASKED, IDENTITY, [b], {}, NOW))
        assert (other.tier, other.load_s) == (Tier.GPU, 0.0)
        assert decision.prefill_s < other.prefill_s


class TestImmediate:
    def test_a_single_candidate_needs_no_policy(self, bench: Bench) -> None:
        (a,) = workers_of("a")
        decision = bench.immediate.offer(ask([a]))
        assert (decision.worker, decision.policy, decision.reason) == (a, "last", "only_candidate")
        assert bench.questions == []

    def test_the_policy_is_asked(self, bench: Bench) -> None:
        a, b = workers_of("a", "b")
        question = ask([a, b], {a.id: 3})
        decision = bench.immediate.offer(question)
        assert (decision.worker, decision.policy, decision.reason) == (b, "last", "last")
        assert bench.questions == [question]

    def test_what_it_would_choose(self, bench: Bench) -> None:
        a, b = workers_of("a", "b")
        assert bench.immediate.preview(ask([a])) == Preview([Choice(a, "only_candidate")])
        assert bench.questions == []
        assert bench.immediate.preview(ask([a, b])) == Preview((Choice(b, "last"),))

    def test_nobody_waits(self, bench: Bench) -> None:
        (a,), waiter = workers_of("a"), FakeWaiter()
        a.load.enter(PendingPrefill(1e6, 1e6, streams=True), NOW)
        bench.immediate.wait(ask([a]), waiter)
        assert [decision.worker for decision in waiter.decisions] == [a]
        bench.immediate.drain(NOW)
        bench.immediate.expire(NOW + 1e6)
        bench.immediate.withdraw(waiter)
        bench.immediate.close(SHUTTING_DOWN)
        assert len(bench.immediate) == 0
        assert waiter.errors == []
