"""What every policy keeps to, whatever its algorithm."""

from collections import Counter
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from router.fleet.fleet import Fleet
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, Rates
from router.routing.policies import Tools
from router.routing.policy import Decision
from router.routing.registry import POLICIES, admission
from router.settings import Settings
from router.telemetry.metrics import Histogram
from tests.unit.routing.table import decode, prefill, prompt, question
from tests.unit.support import fleet_of

STAY = {"session", "chwbl", "prefix_hash", "round_robin"}
"""What these take follows from the request alone, or from whose turn it is."""


class Router:
    """A policy over a fleet, with an index of its own decisions."""

    def __init__(self, name: str, *workers: str) -> None:
        self.fleet: Fleet = fleet_of(*workers)
        memory = MemoryIndex(capacity_tokens=100_000, max_blocks=10_000)
        self.index = PredictedIndex(memory, default_kv_tokens=100_000)
        cost = CostModel(Rates())
        self.chooser = Chooser(self.index, cost, Histogram((1.0,)))
        tools = Tools(cost, lambda request: request.session, seed=1)
        self.admission = admission(name, tools, self.chooser, self.fleet.candidates)

    @property
    def workers(self) -> Sequence[Worker]:
        return self.fleet.candidates("m")

    def decide(self, *parts: int, now: float = 100.0, session: str | None = None) -> Decision:
        """A request comes and is sent at once."""
        asked = question(self.workers, keys=prompt(*parts), now=now, session=session)
        asked.overlaps = self.chooser.look_up(asked.identity)
        decision = self.admission.offer(asked)
        assert decision is not None
        assert len(self.admission) == 0
        self.index.sent(decision.worker.id, asked.identity)
        return decision


@pytest.fixture(params=POLICIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_policy_can_be_set(name: str) -> None:
    assert Settings(policy=name).policy == name


def test_no_other_can() -> None:
    with pytest.raises(ValidationError, match="there are prefix, prefix_direct, "):
        Settings(policy="prefiks")


def test_names_are_unique() -> None:
    assert [policy for policy, count in Counter(POLICIES).items() if count > 1] == []


def test_it_picks_one_of_the_candidates_and_says_why(name: str) -> None:
    router = Router(name, "a", "b", "c")
    for number in range(30):
        decision = router.decide(number % 7, session=str(number % 5))
        assert decision.worker in router.workers
        assert decision.policy == name
        assert decision.reason


def test_choosing_changes_no_load(name: str) -> None:
    router = Router(name, "a", "b")
    decode(router.workers[0], 3, context=500.0)
    prefill(router.workers[1], 70.0, seconds=0.1)
    before = [repr(worker.load) for worker in router.workers]
    for number in range(10):
        router.decide(number)
    assert [repr(worker.load) for worker in router.workers] == before
    assert [worker.load.pending_tokens(100.0) for worker in router.workers] == [0.0, 70.0]


def test_one_worker_serves_everything(name: str) -> None:
    router = Router(name, "a")
    assert {router.decide(number).worker for number in range(5)} == set(router.workers)


def test_a_prompt_without_a_full_block_is_sent(name: str) -> None:
    router = Router(name, "a", "b")
    decision = router.admission.offer(question(router.workers, keys=()))
    assert decision is not None
    assert decision.worker in router.workers


def test_metrics_are_no_condition(name: str) -> None:
    router = Router(name, "a", "b")
    for worker in router.workers:
        assert worker.load.kv_usage is worker.load.reported_waiting is None
    for number in range(10):
        decision = router.decide(number)
        Lease(decision.worker, PendingPrefill(0.1, 50.0, 100.0, streams=True), 100.0)


def test_metrics_may_be_there_for_some(name: str) -> None:
    router = Router(name, "a", "b")
    load = router.workers[0].load
    load.kv_usage, load.reported_waiting, load.reported_running = 0.4, 2, 5
    assert router.decide(1).worker in router.workers


def test_equal_workers_share_new_prompts(name: str) -> None:
    router = Router(name, "a", "b", "c")
    picked = Counter(router.decide(n, session=str(n)).worker.id for n in range(300))
    assert all(picked[worker.id] > (60 if name in STAY else 50) for worker in router.workers)


def test_workers_come_and_go(name: str) -> None:
    router = Router(name, "a", "b", "c")
    for number in range(60):
        router.decide(number % 10, session=str(number % 10))
    for gone in list(router.workers)[:2]:
        router.fleet.mark_down(gone, "test")
        router.index.clear(gone.id)
        for number in range(10):
            assert router.decide(number, session=str(number)).worker is not gone
    for worker in router.fleet:
        router.fleet.mark_up(worker)
    assert {router.decide(n, session=str(n)).worker for n in range(200)} == set(router.workers)


def test_a_seed_decides_what_is_drawn(name: str) -> None:
    one, two = Router(name, "a", "b", "c"), Router(name, "a", "b", "c")
    picks = [[r.decide(n % 9).worker.id for n in range(40)] for r in (one, two)]
    assert picks[0] == picks[1]
