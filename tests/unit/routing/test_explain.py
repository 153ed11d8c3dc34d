"""What is explained is what happens, under every policy, and explaining changes nothing."""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest

from router.engines.base import Gauges, WorkerReport
from router.errors import RouterError
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.prompt.caller import Callers
from router.prompt.identity import Identity, TextIdentity
from router.prompt.request import Request
from router.prompt.session import SessionKeys
from router.routing import intake as intake_module
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Chooser, Immediate
from router.routing.cost import CostModel, Rates
from router.routing.dispatch import Dispatch
from router.routing.explain import Explainer, Explanation, Prospect, told
from router.routing.intake import Intake
from router.routing.options import QueueOptions
from router.routing.peers import HELD
from router.routing.policies import Tools, least_load
from router.routing.policy import Choice, Decision, Question
from router.routing.registry import POLICIES, admission
from router.telemetry.metrics import LOOKUP_BUCKETS_S, Histogram
from tests.unit.support import FakeWaiter, at_once, chat, fleet_of, incoming

OPTIONS = QueueOptions(room_tokens=600, max_inflight=6)


async def by_text(request: Request, text: Identity, candidates: Sequence[Worker]) -> Identity:
    del request, candidates
    return text


class Scene:
    """A small fleet under one policy, with a clock of its own."""

    def __init__(self, policy: str = "prefix", options: QueueOptions = OPTIONS) -> None:
        self.now = 100.0
        self.fleet = fleet_of("a", "b", "c")
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = PredictedIndex(memory, default_kv_tokens=10**9)
        self.cost, self.homes, identities = CostModel(Rates()), ResponseHomes(), TextIdentity()
        self.lookups = Histogram(LOOKUP_BUCKETS_S)
        self.chooser = Chooser(self.index, self.cost, self.lookups)
        self.tools = Tools(self.cost, SessionKeys().key, seed=7)
        self.admission = admission(policy, self.tools, self.chooser, self.fleet.candidates, options)
        aside = Immediate(policy, least_load(self.tools), self.chooser)
        self.dispatch = Dispatch(self.chooser, self.admission, aside, Callers(None))
        self.intake = Intake(self.fleet, identities, self.homes, self.chooser.look_up)
        aloof = Intake(self.fleet, identities, self.homes, self.index.lookup)
        self.explainer = Explainer(
            *(self.fleet, aloof, by_text, self.dispatch, self.chooser, self.tools.random)
        )
        self.leases: list[Lease] = []

    def explain(self, body: dict[str, Any], **rest: Any) -> Explanation:
        return at_once(self.explainer.explain(incoming(body, **rest)))

    def question(self, body: dict[str, Any], **rest: Any) -> tuple[Question, str, bool]:
        request = Request(incoming(body, **rest))
        return *self.intake.question(request, self.now), request.endpoint.works

    def ask(self, body: dict[str, Any], **rest: Any) -> Decision | None:
        """Have it decided; it may have to wait."""
        question, bound, works = self.question(body, **rest)
        decision = self.dispatch.decide(question, bound=bound, works=works)
        if decision is not None:
            self.send(question, decision)
            return decision
        waiter = Sender(self, question)
        self.admission.wait(question, waiter)
        return next(iter(waiter.decisions), None)

    def send(self, question: Question, decision: Decision) -> None:
        self.index.sent(decision.worker.id, question.identity)
        prefill = PendingPrefill(
            decision.prefill_s, decision.uncached_tokens, question.identity.tokens, streams=True
        )
        self.leases.append(Lease(decision.worker, prefill, self.now))

    def end_all(self) -> None:
        """Everything that was sent is answered; those that wait go."""
        leases, self.leases = self.leases, []
        for lease in leases:
            lease.release(self.now)
        self.admission.drain(self.now)


class Sender(FakeWaiter):
    """Sends what has waited."""

    def __init__(self, scene: Scene, question: Question) -> None:
        super().__init__()
        self.scene, self.question = scene, question

    def go(self, decision: Decision) -> None:
        super().go(decision)
        self.scene.send(self.question, decision)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    scenes: list[Scene] = []
    monkeypatch.setattr(intake_module, "perf_counter", lambda: scenes[-1].now)

    def make(*args: Any) -> Scene:
        scenes.append(Scene(*args))
        return scenes[-1]

    return make


def bodies(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Prompts that share beginnings; some carry a session."""
    for number in count():
        text = f"{rng.randrange(4)} " * 800 + f"{rng.randrange(6)} " * 300 + str(number)
        yield chat(text[: rng.randrange(100, len(text))], session_id=f"s{rng.randrange(3)}")


def traffic(
    scene: Scene, *, explained: bool
) -> Iterator[tuple[Explanation | None, Decision | None]]:
    """Requests that come, sometimes end, and find a worker that is slow and others' traffic."""
    rng = random.Random(3)
    slow, busy, _ = scene.fleet
    for _ in range(40):
        scene.cost.rates.learn(slow.id, 0.1, 0.3)
    busy.load.report(Gauges(2, 1, 0.3), busy.load.counts(), scene.now)
    for body, _ in zip(bodies(rng), range(60), strict=False):
        scene.now += rng.random() * 0.05
        if rng.random() < 0.15:
            scene.end_all()
        explanation = scene.explain(body) if explained else None
        yield explanation, scene.ask(body)


@pytest.mark.parametrize("policy", POLICIES)
class TestUnderEveryPolicy:
    def test_it_goes_where_was_said(self, policy: str, scene: Callable[..., Scene]) -> None:
        outcomes = set()
        for explanation, decision in traffic(scene(policy), explained=True):
            assert explanation is not None
            outcomes.add(explanation.outcome)
            if explanation.outcome == "sent":
                assert decision is not None
                assert decision.worker.id in (explanation.worker, *explanation.equal)
                row = next(row for row in explanation.workers if row.id == decision.worker.id)
                assert (row.chosen, row.reason) == (True, decision.reason)
                assert row.predicted_ttft_ms == pytest.approx(decision.ttft_s * 1e3, abs=0.001)
                assert row.cached_tokens == round(decision.cached_tokens)
            elif explanation.waits != "others_wait":
                assert decision is None
        assert "sent" in outcomes
        assert ("waits" in outcomes) is (policy in ("prefix", *HELD))

    def test_explaining_changes_no_decision(self, policy: str, scene: Callable[..., Scene]) -> None:
        went = [
            [decision and decision.worker.id for _, decision in traffic(each, explained=explained)]
            for explained in (True, False)
            for each in [scene(policy)]
        ]
        assert went[0] == went[1]

    def test_nothing_is_counted(self, policy: str, scene: Callable[..., Scene]) -> None:
        there = scene(policy)
        there.ask(chat("word " * 300))
        before = [worker.load.counts() for worker in there.fleet], list(there.lookups.counts)
        blocks = [there.index.blocks(worker.id) for worker in there.fleet]
        for _ in range(5):
            there.explain(chat("word " * 300))
        assert before == ([w.load.counts() for w in there.fleet], list(there.lookups.counts))
        assert blocks == [there.index.blocks(worker.id) for worker in there.fleet]
        assert len(there.dispatch) == 0

    def test_room_is_only_spoken_of_where_it_counts(
        self, policy: str, scene: Callable[..., Scene]
    ) -> None:
        rooms = {row.room for row in scene(policy).explain(chat("word")).workers}
        assert rooms == ({True} if policy == "prefix" else {None})


class TestPrefix:
    def test_the_figures(self, scene: Callable[..., Scene]) -> None:
        there = scene()
        asked = chat("word " * 1000)
        there.ask(asked)
        there.now += 0.02  # half of that is computed
        explanation = there.explain({**asked, "messages": [*asked["messages"], {"role": "user"}]})
        best, *others = explanation.workers
        assert [row.id for row in explanation.workers if row.chosen] == [explanation.worker]
        question, *_ = there.question(asked)
        tokens = round(question.identity.tokens)
        assert (explanation.policy, explanation.endpoint) == ("prefix", "chat_completions")
        assert explanation.model == "m"
        assert explanation.prompt.blocks == len(question.identity.keys)
        assert explanation.prompt.tokens == pytest.approx(tokens, abs=10)
        assert explanation.excluded == []
        assert best.blocks == explanation.prompt.blocks
        assert best.covered_tokens == round(question.identity.covered_tokens(best.blocks))
        assert 0.9 * tokens < best.cached_tokens <= tokens
        assert best.cached_tokens + best.uncached_tokens == explanation.prompt.tokens
        assert (best.inflight, best.foreign, best.scale, best.up) == (1, 0, 1.0, True)
        assert best.pending_prefill_tokens == tokens
        assert [row.blocks + row.cached_tokens + row.inflight for row in others] == [0, 0]
        for row in explanation.workers:
            parts = row.waiting_ms + row.prefill_ms + row.step_ms
            assert row.predicted_ttft_ms == pytest.approx(parts, abs=0.01)
            assert row.cost_ms > row.predicted_ttft_ms

    def test_the_lowest_cost_is_chosen_and_comes_first(self, scene: Callable[..., Scene]) -> None:
        for explanation, _ in traffic(scene(), explained=True):
            assert explanation is not None
            rows = explanation.workers
            assert [row.cost_ms for row in rows] == sorted(row.cost_ms for row in rows)
            chosen = [row.id for row in rows if row.chosen]
            assert rows[0].chosen
            assert chosen == [explanation.worker] or sorted(chosen) == explanation.equal

    def test_equal_ones_are_drawn_by_lot(self, scene: Callable[..., Scene]) -> None:
        explanation = scene().explain(chat("word"))
        assert explanation.worker is None
        assert explanation.equal == ["a:8000", "b:8000", "c:8000"]
        assert explanation.reason == "least_wait"

    def test_no_room_for_prefill(self, scene: Callable[..., Scene]) -> None:
        there = scene("prefix", QueueOptions(room_tokens=1))
        for worker in there.fleet:
            worker.load.enter(PendingPrefill(1.0, 5000, streams=True), there.now)
        explanation = there.explain(chat("word"))
        assert (explanation.outcome, explanation.waits) == ("waits", "prefill_pending")
        assert {(row.room, row.lacks) for row in explanation.workers} == {
            (False, "prefill_pending")
        }

    def test_no_sequence_free_beside_others_requests(self, scene: Callable[..., Scene]) -> None:
        there = scene()
        for worker in there.fleet:
            worker.load.report(Gauges(6, 0, 0.5), worker.load.counts(), there.now)
        explanation = there.explain(chat("word"))
        assert explanation.waits == "max_inflight"
        best = explanation.workers[0]
        assert (best.foreign, best.kv_cache_usage) == (6, 0.5)

    def test_no_memory(self, scene: Callable[..., Scene]) -> None:
        there = scene()
        for worker in there.fleet:
            there.fleet.set_report(worker, WorkerReport({"m": {}}, kv_tokens=10_000))
            worker.load.enter(PendingPrefill(0.0, 0.0, streams=True), there.now)
            worker.load.report(Gauges(1, 0, 0.9), worker.load.counts(), there.now)
        explanation = there.explain(chat("word " * 1000))
        assert (explanation.outcome, explanation.waits) == ("waits", "kv_cache_full")

    def test_others_wait_already(self, scene: Callable[..., Scene]) -> None:
        there = scene("prefix", QueueOptions(room_tokens=1))
        for worker in there.fleet:
            worker.load.enter(PendingPrefill(1.0, 5000, streams=True), there.now)
        assert there.ask(chat("first")) is None
        explanation = there.explain(chat("second"))
        assert (explanation.outcome, explanation.waits) == ("waits", "others_wait")
        assert explanation.queue_depth == 1

    @pytest.mark.parametrize("policy", ["prefix", *HELD])
    def test_too_many_wait(self, policy: str, scene: Callable[..., Scene]) -> None:
        there = scene(policy, QueueOptions(room_tokens=1, limit=0))
        for worker in there.fleet:
            worker.load.enter(PendingPrefill(1.0, 5000, streams=True), there.now)
            worker.load.report(Gauges(1, 90, 0.9), worker.load.counts(), there.now)
        explanation = there.explain(chat("word"))
        assert (explanation.outcome, explanation.waits) == ("turned_away", "queue_full")
        with pytest.raises(RouterError) as caught:
            there.ask(chat("word"))
        assert caught.value.code == "queue_full"


class TestCandidates:
    @pytest.mark.parametrize(
        ("body", "rest", "bound", "why"),
        [
            (
                chat("q"),
                {"headers": [(b"x-router-worker", b"b:8000")]},
                "pinned",
                "pinned_elsewhere",
            ),
            (
                {"model": "m", "input": "q", "previous_response_id": "r"},
                {"path": "/v1/responses"},
                "home",
                "stored_elsewhere",
            ),
        ],
    )
    def test_only_one_will_do(
        self,
        body: dict[str, Any],
        rest: dict[str, Any],
        bound: str,
        why: str,
        scene: Callable[..., Scene],
    ) -> None:
        there = scene("prefix", QueueOptions(room_tokens=1))
        there.homes.remember("r", WorkerId("b:8000"))
        for worker in there.fleet:
            worker.load.enter(PendingPrefill(1.0, 5000, streams=True), there.now)
        explanation = there.explain(body, **rest)
        assert (explanation.outcome, explanation.worker) == ("sent", "b:8000")
        assert explanation.reason == bound
        assert [(each.id, each.why) for each in explanation.excluded] == [
            ("a:8000", why),
            ("c:8000", why),
        ]

    def test_those_that_are_down_or_do_not_serve_the_model_are_left_out(
        self, scene: Callable[..., Scene]
    ) -> None:
        there = scene()
        a, b, _ = there.fleet
        there.fleet.mark_down(a, "away")
        there.fleet.set_report(b, WorkerReport({"other": {}}))
        explanation = there.explain(chat("q"))
        assert explanation.worker == "c:8000"
        assert [row.id for row in explanation.workers] == ["c:8000"]
        assert [(each.id, each.why) for each in explanation.excluded] == [
            ("a:8000", "down"),
            ("b:8000", "model_not_served"),
        ]

    def test_none_is_up(self, scene: Callable[..., Scene]) -> None:
        """They are asked all the same: one of them may be back."""
        there = scene()
        for worker in there.fleet:
            there.fleet.mark_down(worker, "away")
        rows = there.explain(chat("q")).workers
        assert [row.up for row in rows] == [False] * 3

    def test_an_error_is_the_one_that_the_request_would_get(
        self, scene: Callable[..., Scene]
    ) -> None:
        with pytest.raises(RouterError) as caught:
            scene().explain({"model": "other", "messages": []})
        assert caught.value.code == "model_not_found"

    def test_what_gives_the_model_no_work_goes_at_once(self, scene: Callable[..., Scene]) -> None:
        there = scene("prefix", QueueOptions(room_tokens=1))
        a, *_ = there.fleet
        for worker in there.fleet:
            worker.load.enter(PendingPrefill(1.0, 5000, streams=True), there.now)
        a.load.enter(PendingPrefill(0.0, 0.0, streams=False), there.now)
        explanation = there.explain(chat("q"), path="/tokenize")
        assert (explanation.outcome, explanation.reason) == ("sent", "least_inflight")
        assert explanation.equal == ["b:8000", "c:8000"]


def test_it_is_json(scene: Callable[..., Scene]) -> None:
    explanation = scene().explain(chat("word"))
    document = msgspec.json.decode(msgspec.json.encode(explanation))
    assert msgspec.convert(document, Explanation) == explanation
    assert document["workers"][0].keys() == set(Prospect.__struct_fields__)


def test_a_decision_in_header_fields(scene: Callable[..., Scene]) -> None:
    there = scene()
    question, *_ = there.question(chat("word " * 100))
    decision = there.chooser.expect("p", Choice(question.candidates[0], "why"), question)
    fields = dict(told(decision, 0.0125))
    assert fields == {
        b"x-router-policy": b"p",
        b"x-router-reason": b"why",
        b"x-router-cached-tokens": b"0",
        b"x-router-predicted-ttft-ms": b"%.1f" % (decision.ttft_s * 1e3),
        b"x-router-queue-ms": b"12.5",
    }
