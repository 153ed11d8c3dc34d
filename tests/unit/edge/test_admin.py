"""The router's own paths stay its own, whatever is allowed."""

import re
from time import perf_counter
from typing import Any

import pytest

from router.edge.admin import WorkerView, admin_app
from router.edge.console import add_console
from router.edge.explain import add_explain
from router.edge.limits import Drain
from router.edge.operations import add_operations
from router.engines.base import Gauges
from router.fleet.load import PendingPrefill
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.insight import insight
from router.prompt.endpoints import EndpointTable, canonical_path
from router.routing.chooser import Chooser, Immediate
from router.routing.cost import CostModel, Rates
from router.routing.options import QueueOptions
from router.routing.policies import Tools, at_random
from router.routing.queue import LateBinding
from router.settings import Settings
from router.telemetry.metrics import LOOKUP_BUCKETS_S, Histogram
from tests.unit.edge.support import edge_services
from tests.unit.support import fleet_of

PATTERNS = ["*", "/*", "/v1/*", "/[a-z]*", "/v1/models", "/v1/models/*", "/health"]


def own_paths() -> list[str]:
    nothing: Any = None
    app = admin_app(nothing, nothing, nothing, "0", Drain())
    add_explain(app, edge_services(nothing, nothing), nothing)
    add_operations(app, nothing)
    add_console(app, nothing, "0")
    paths = [
        re.sub(r"\{[^}]*\}", "org/name", route.path)
        for route in app.routes
        if hasattr(route, "path")
    ]
    known = {"/", "/health", "/ready", "/metrics", "/explain", "/v1/models/org/name", "/docs"}
    known |= {"/workers/org/name/drain", "/console/stream", "/console/org/name"}
    assert known <= set(paths)
    return paths


@pytest.mark.parametrize("pattern", PATTERNS)
def test_they_are_never_the_gateway_s(pattern: str) -> None:
    table = EndpointTable([pattern])
    for path in own_paths():
        for written in (path, path + "/", "/" + path, path.replace("e", "%65", 1)):
            assert table.resolve(canonical_path(written.encode())) is None, written


@pytest.mark.parametrize("path", ["/healthy", "/v1/model", "/v1/modelsx", "/v1/x", "/metrics/x"])
def test_what_only_looks_like_them_can_be_allowed(path: str) -> None:
    endpoint = EndpointTable(["*"]).resolve(path.encode())
    assert endpoint is not None
    assert endpoint.name == "other"


class Bench:
    """A fleet and what describes its first worker."""

    def __init__(self, *, waits: bool = True) -> None:
        self.fleet = fleet_of("a", "b", "c")
        self.worker = next(iter(self.fleet))
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        index, self.cost = PredictedIndex(memory, default_kv_tokens=10**9), CostModel(Rates())
        chooser = Chooser(index, self.cost, Histogram(LOOKUP_BUCKETS_S))
        admission: Any = Immediate("random", at_random(Tools(self.cost, str)), chooser)
        if waits:
            options = QueueOptions(room_tokens=5000)
            admission = LateBinding(chooser, self.fleet.candidates, options)
        known = insight(Settings(), self.fleet, index)
        self._view = WorkerView(known, self.cost.rates, admission, lambda _: "configuration")

    @property
    def seen(self) -> dict[str, Any]:
        return self._view(self.worker)


class TestWorkers:
    def test_an_idle_worker(self) -> None:
        assert Bench().seen == {
            "id": "a:8000",
            "rank": None,
            "url": "http://a:8000",
            "name": "",
            "source": "configuration",
            "role": "both",
            "up": True,
            "state": "up",
            "circuit": {"state": "closed", "opened": 0, "back_in_s": 0.0},
            "error": None,
            "models": ["m"],
            "kv_cache_tokens": None,
            "kv_cache_usage": None,
            "requests_running": None,
            "requests_waiting": None,
            "inflight": 0,
            "pending_prefill_tokens": 0,
            "pending_seconds": 0.0,
            "speed": 1.0,
            "room": True,
            "index_blocks": {"gpu": 0},
            "known_by": "predictions",
            "mismatches": [],
        }

    def test_its_work(self) -> None:
        bench = Bench()
        bench.worker.load.enter(PendingPrefill(100.0, 6000.4, streams=True), perf_counter())
        seen = bench.seen
        assert (seen["inflight"], seen["pending_prefill_tokens"]) == (1, 6000)
        assert seen["pending_seconds"] == pytest.approx(100, rel=0.01)
        assert seen["room"] is False

    def test_what_it_says_itself(self) -> None:
        bench = Bench()
        load = bench.worker.load
        load.report(Gauges(3, 0, 0.97), load.counts(), perf_counter())
        seen = bench.seen
        assert (seen["requests_running"], seen["requests_waiting"]) == (3, 0)
        assert seen["kv_cache_usage"] == 0.97

    def test_its_speed_is_of_the_fleet_s_median(self) -> None:
        bench = Bench()
        for worker, seconds in zip(bench.fleet, (0.2, 0.1, 0.1), strict=True):
            for _ in range(500):
                bench.cost.rates.learn(worker.id, 0.1, seconds)
        assert bench.seen["speed"] == pytest.approx(0.5, rel=0.05)

    def test_where_nobody_waits_there_is_no_room_to_speak_of(self) -> None:
        assert Bench(waits=False).seen["room"] is None
