"""Each thing that an answer teaches reaches the part that learns it."""

from time import perf_counter

import msgspec
import pytest

from router.ids import Tier, WorkerId
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.prompt.identity import TextIdentity, TokenIdentity
from router.prompt.token_rates import TOKENS_PER_BYTE
from router.routing import learn
from router.routing.cost import CostModel, Rates
from router.routing.learn import Learner
from router.routing.policy import Decision
from router.telemetry.metrics import Metrics
from tests.unit.support import chat, knowledge_of, request, workers_of

ASKED = request(chat("word " * 2000))
IDENTITY = TextIdentity().identify(ASKED)
(WORKER,) = workers_of("a")
DECISION = Decision(
    worker=WORKER,
    policy="prefix",
    reason="cached",
    blocks=3,
    cached_tokens=1000.4,
    uncached_tokens=200.0,
    scale=1.0,
    prefill_s=0.2,
    waiting_s=0.3,
    ttft_s=1.0,
)


TIMES = ("prefill_s", "waiting_s", "ttft_s")


class Bench:
    """A learner and what it feeds."""

    def __init__(self) -> None:
        self.memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = knowledge_of(PredictedIndex(self.memory, default_kv_tokens=10**9))
        self.identities, self.rates, self.metrics = TextIdentity(), Rates(), Metrics()
        self.cost = CostModel(self.rates)
        self.learner = Learner(self.index, self.identities, self.cost, self.metrics)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_first_token_teaches_the_worker_s_rate(bench: Bench) -> None:
    for _ in range(300):
        bench.learner.first_token(DECISION, 2 * DECISION.ttft_s)
    assert bench.rates.scale(WORKER.id) == pytest.approx(2.0, rel=0.02)


def test_what_was_expected_at_a_scale_is_learned_at_that_scale(bench: Bench) -> None:
    """A prediction that comes true changes nothing, whatever the scale."""
    for _ in range(300):
        bench.rates.learn(WORKER.id, 0.1, 1.0)
    decision = msgspec.structs.replace(DECISION, scale=bench.rates.scale(WORKER.id))
    for _ in range(50):
        bench.learner.first_token(decision, decision.ttft_s)
    assert bench.rates.scale(WORKER.id) == pytest.approx(10.0, rel=0.02)


def test_the_error_of_the_prediction_is_a_metric(bench: Bench) -> None:
    bench.learner.first_token(DECISION, 0.25)
    assert bench.metrics.ttft_error.total == pytest.approx(-0.75)


LOADED = msgspec.structs.replace(DECISION, tier=Tier.CPU, loaded_tokens=600.0, load_s=0.1)


class TestLoading:
    """Some of the prompt came from a lower tier."""

    def test_a_first_token_teaches_how_long_that_takes(self, bench: Bench) -> None:
        loads = bench.cost.loads
        for _ in range(300):
            load_s = loads.seconds(Tier.CPU, 600, 1.0)
            expected = msgspec.structs.replace(LOADED, load_s=load_s, ttft_s=0.9 + load_s)
            bench.learner.first_token(expected, 0.9 + 0.03)
        assert loads.seconds(Tier.CPU, 600, 1.0) == pytest.approx(0.03, rel=0.02)
        assert list(loads.per_token_s()) == ["cpu"]

    def test_and_not_how_fast_the_worker_is(self, bench: Bench) -> None:
        for _ in range(50):
            bench.learner.first_token(LOADED, 20.0)
        assert bench.rates.scales == {}
        assert bench.metrics.ttft_error.total > 0

    def test_without_a_load_it_is_the_worker_s(self, bench: Bench) -> None:
        bench.learner.first_token(DECISION, 2.0)
        assert WORKER.id in bench.rates.scales
        assert bench.cost.loads.per_token_s() == {}

    @pytest.mark.parametrize(
        ("actual", "gpu", "cpu"),
        [(1000, 400, 600), (900, 400, 500), (400, 400, 0), (300, 300, 0), (1200, 400, 800)],
    )
    def test_cached_tokens_are_counted_by_tier(
        self, bench: Bench, actual: int, gpu: int, cpu: int
    ) -> None:
        """What is missing is missing from below; what is more came from there."""
        bench.learner.cached_tokens(LOADED, IDENTITY, actual)
        assert dict(bench.metrics.cached_tokens) == {
            ("predicted", "gpu"): 400,
            ("predicted", "cpu"): 600,
            ("actual", "gpu"): gpu,
            ("actual", "cpu"): cpu,
        }


@pytest.mark.parametrize(("telling", "by"), [({WORKER.id: 16}, "events"), ({}, "predictions")])
def test_the_error_is_counted_by_what_the_prediction_rests_on(
    bench: Bench, telling: dict[WorkerId, int], by: str
) -> None:
    bench.index.keep(telling, 0.0)
    known = TokenIdentity.of(list(range(70)), 1200, 16, IDENTITY)
    bench.learner.cached_tokens(DECISION, known, 990)
    errors = {name: each.total for name, each in bench.metrics.cached_error.items() if each.total}
    assert errors == {by: pytest.approx(-10.4)}


def test_a_prompt_known_by_its_tokens_teaches_about_its_text(bench: Bench) -> None:
    known = TokenIdentity.of(list(range(70)), 1200, 16, IDENTITY)
    bench.learner.prompt_tokens(ASKED, known, len(ASKED.prompt) // 2)
    assert bench.identities.identify(ASKED).tokens_per_byte == pytest.approx(0.5, rel=0.01)


def test_prompt_tokens_teach_the_tokens_per_byte(bench: Bench) -> None:
    bench.learner.prompt_tokens(ASKED, IDENTITY, len(ASKED.prompt) // 2)
    learned = bench.identities.identify(ASKED).tokens_per_byte
    assert learned == pytest.approx(0.5, rel=0.01)
    assert learned != TOKENS_PER_BYTE


def test_cached_tokens_are_counted_and_audited(bench: Bench) -> None:
    bench.index.sent(WORKER.id, IDENTITY)
    other = TextIdentity().identify(request(chat("other " * 100)))
    bench.index.sent(WORKER.id, other)
    bench.learner.cached_tokens(DECISION, IDENTITY, 900)
    assert dict(bench.metrics.cached_tokens) == {
        ("predicted", "gpu"): 1000,
        ("actual", "gpu"): 900,
    }
    assert bench.index.lookup(other)
    for _ in range(3):
        bench.learner.cached_tokens(DECISION, IDENTITY, 0)
    assert not bench.index.lookup(other), "a lost cache is forgotten"


def test_an_answer_takes_room_and_is_remembered(bench: Bench) -> None:
    bench.index.sent(WORKER.id, IDENTITY)
    before = bench.memory.used_tokens(WORKER.id)
    bench.learner.answered(WORKER.id, IDENTITY, 2500, 64)
    assert bench.memory.used_tokens(WORKER.id) == before + 64
    assert bench.index.cached_tokens(WORKER.id, IDENTITY, len(IDENTITY.keys)) == 2499


def test_answers_teach_how_long_answers_are(bench: Bench) -> None:
    for _ in range(1000):
        bench.learner.answer(700)
    assert bench.cost.mean_answer == pytest.approx(700, rel=0.01)


class TestUnstreamed:
    """Answers that come as a whole show how fast a worker is at least."""

    def test_one_that_is_there_sooner_than_predicted(self, bench: Bench) -> None:
        """Step by step, as each prediction comes nearer to what is."""
        scale = bench.rates.scale(WORKER.id)
        for _ in range(500):
            now = msgspec.structs.replace(
                DECISION, scale=scale, **{name: getattr(DECISION, name) * scale for name in TIMES}
            )
            bench.learner.unstreamed(now, 10, 0.25 * (1.0 + 10 * 0.5))
            scale = bench.rates.scale(WORKER.id)
        assert scale == pytest.approx(0.25, rel=0.05)

    @pytest.mark.parametrize("seconds", [6.0, 100.0])
    def test_one_that_is_not_shows_nothing(self, bench: Bench, seconds: float) -> None:
        bench.learner.unstreamed(DECISION, 10, seconds)
        assert bench.rates.scales == {}

    def test_streams_show_more(self, bench: Bench) -> None:
        bench.learner.first_token(DECISION, DECISION.ttft_s)
        before = dict(bench.rates._observed)
        bench.learner.unstreamed(DECISION, 10, 0.1)
        assert bench.rates._observed == before

    def test_until_there_are_none(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.learner.first_token(DECISION, DECISION.ttft_s)
        later = perf_counter() + 61
        monkeypatch.setattr(learn, "perf_counter", lambda: later)
        before = dict(bench.rates._observed)
        bench.learner.unstreamed(DECISION, 10, 0.1)
        assert bench.rates._observed != before
