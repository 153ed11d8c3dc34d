"""What reaches what: the fleet's changes the index, the rates and the queue; their state the metrics."""

from dataclasses import replace
from time import perf_counter

import pytest

from router.engines.base import Gauges, WorkerReport
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.fleet.target import Service
from router.fleet.worker import Worker
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.insight import insight
from router.prompt.identity import TextIdentity
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, Rates
from router.routing.dispatch import Dispatch
from router.routing.lane import Ticket
from router.routing.options import QueueOptions
from router.routing.policy import Question
from router.routing.queue import LateBinding
from router.settings import Settings
from router.telemetry.metrics import Metrics
from router.wiring import tie
from tests.unit.support import FakeWaiter, chat, fleet_of, request


class Bench:
    """All parts that are tied, over a worker that is down and one that is up."""

    def __init__(self) -> None:
        self.fleet = fleet_of("a", "b", up=False)
        self.a, self.b = self.fleet
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = PredictedIndex(memory, default_kv_tokens=10**9)
        self.insight = insight(Settings(), self.fleet, self.index)
        self.cost, self.metrics = CostModel(Rates()), Metrics()
        chooser = Chooser(self.insight.knowledge, self.cost, self.metrics.lookup)
        self.queue = LateBinding(chooser, self.fleet.candidates, QueueOptions(max_inflight=0))
        self.dispatch = Dispatch(chooser, self.queue, self.queue, lambda asked: ("", 0))
        tie(self.fleet, self.insight, self.cost, self.dispatch, self.metrics)
        self.fleet.mark_up(self.b)

    def report(self, worker: Worker, started_at: float = 1.0) -> None:
        self.fleet.set_report(worker, WorkerReport({"m": {}}, 5000, 16, started_at))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_report_states_the_cache(bench: Bench) -> None:
    bench.report(bench.a)
    assert bench.index._capacity(bench.a.id) == 5000


def test_a_worker_that_was_started_anew_holds_nothing(bench: Bench) -> None:
    identity = TextIdentity().identify(request(chat("word " * 100)))
    bench.report(bench.a)
    bench.index.sent(bench.a.id, identity)
    bench.fleet.set_report(bench.a, WorkerReport({"m": {}, "n": {}}, 5000, 16, 1.0))
    assert bench.index.blocks(bench.a.id) > 0
    bench.report(bench.a, started_at=2.0)
    assert bench.index.blocks(bench.a.id) == 0


def test_what_is_kept_of_a_worker_goes_with_it(bench: Bench) -> None:
    bench.report(bench.a)
    bench.cost.rates.learn(bench.a.id, 0.1, 1.0)
    bench.fleet.set_workers(["http://b:8000"])
    assert bench.cost.rates.scales == {}
    assert bench.index._stated == {}


def test_a_scrape_sees_the_workers(bench: Bench) -> None:
    text = bench.metrics.exposition().decode()
    assert 'router_worker_up{worker="a:8000"} 0.0' in text
    assert 'router_worker_up{worker="b:8000"} 1.0' in text


async def test_a_scrape_sees_who_waits(bench: Bench) -> None:
    for model in ("m", "gone", None):
        asked = request(chat("q") | {"model": model})
        identity = TextIdentity().identify(asked)
        question = Question(asked, identity, [bench.b], {}, 0.0)
        bench.queue._tickets[FakeWaiter()] = Ticket(question, FakeWaiter(), 0)
    page = bench.metrics.exposition()
    assert b'\nrouter_queue_depth{model="m"} 1.0\n' in page
    assert b'\nrouter_queue_depth{model="unknown"} 2.0\n' in page
    assert b"\nrouter_inflight_requests 3.0\n" in page


def test_what_stands_in_for_workers_is_no_worker_that_is_up(bench: Bench) -> None:
    bench.b.target = replace(bench.b.target, service=Service(models={"m": "n"}))
    page = bench.metrics.exposition().decode()
    assert 'router_worker_state{state="fallback",worker="b:8000"} 1.0' in page
    assert 'state="up"' not in page


def test_models_that_nobody_waits_for(bench: Bench) -> None:
    bench.report(bench.a)
    assert b'\nrouter_queue_depth{model="m"} 0.0\n' in bench.metrics.exposition()


def test_a_scrape_sees_what_the_workers_of_a_model_have_to_read(bench: Bench) -> None:
    bench.fleet.set_report(bench.a, WorkerReport({"m": {}, "adapter": {}}, 5000, 16, 1.0))
    bench.fleet.set_report(bench.b, WorkerReport({"m": {}, "n": {}}, 5000, 16, 1.0))
    for worker, tokens in ((bench.a, 300.0), (bench.b, 50.0)):
        Lease(worker, PendingPrefill(60.0, tokens, streams=True), perf_counter())
    page = bench.metrics.exposition().decode()
    for model, pending in {"m": 350.0, "adapter": 300.0, "n": 50.0}.items():
        assert f'router_pending_prefill_tokens{{model="{model}"}} {pending}\n' in page
    bench.b.target = replace(bench.b.target, service=Service(models={"n": "elsewhere"}))
    assert 'router_pending_prefill_tokens{model="n"} 0.0\n' in bench.metrics.exposition().decode()


def test_a_scrape_sees_what_workers_say(bench: Bench) -> None:
    load = bench.b.load
    load.report(Gauges(running=3, waiting=2, kv_usage=0.25), load.counts(), 0.0)
    page = bench.metrics.exposition().decode()
    for name, value in {"running": 3.0, "queue": 2.0, "kv_usage": 0.25}.items():
        assert f'router_worker_{name}{{worker="b:8000"}} {value}\n' in page
        assert f'router_worker_{name}{{worker="a:8000"}}' not in page


async def test_changes_are_told_to_who_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, seen = request(chat("q")), list[str]()
    identity = TextIdentity().identify(asked)
    bench.dispatch.wait(Question(asked, identity, [bench.b], {}, 0.0), FakeWaiter())
    monkeypatch.setattr(bench.queue, "drain", lambda now: seen.append("drain"))
    bench.fleet.mark_up(bench.a)
    assert bench.dispatch._soon is not None
    bench.dispatch._drain_soon()
    assert seen == ["drain"]
