"""What those who watch are told, and when."""

import json
from collections.abc import AsyncGenerator
from time import perf_counter
from typing import Any

import pytest

from router.console.console import Console, Sources
from router.console.feed import COLUMNS
from router.errors import RouterError
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.telemetry.sharing import SharedSample
from tests.unit.console.lines import line
from tests.unit.console.test_snapshot import SEEN
from tests.unit.support import fleet_of

Event = tuple[str, dict[str, Any]]


def events(data: bytes) -> list[Event]:
    """Server-sent events as names and data."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        name, value = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(value.removeprefix("data: "))))
    return found


class Bench:
    """A console over a fleet of two, whose clock a test turns."""

    def __init__(self) -> None:
        self.fleet = fleet_of("a", "b")
        self.stopping = False
        self.shared: SharedSample | None = None
        self.seen: dict[str, Any] = {}
        sources = Sources(
            self.fleet,
            self.describe,
            tuple,
            lambda: 7,
            lambda: self.shared,
            lambda: self.stopping,
        )
        self.console = Console(sources, {"version": "1"}, clock=lambda: 1000.0)
        self.now = perf_counter()

    def describe(self, worker: Worker) -> dict[str, Any]:
        return {**SEEN, "id": worker.id, "inflight": worker.load.inflight, **self.seen}

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            self.console.keep(self.now)

    async def watch(self) -> tuple[AsyncGenerator[bytes, None], list[Event]]:
        watching = self.console.watch(self.console.join())
        return watching, events(await anext(watching))


async def test_first_everything() -> None:
    bench = Bench()
    bench.console.take(line())
    bench.pass_time(4.0)
    _, told = await bench.watch()
    (_, hello), (_, fleet), (_, points), (_, requests) = told
    assert [name for name, _ in told] == ["hello", "fleet", "points", "requests"]
    assert (hello["version"], hello["started"], hello["request_columns"]) == (
        "1",
        1000,
        list(COLUMNS),
    )
    assert fleet["full"]
    assert [worker for worker, _ in fleet["rows"]] == ["a:8000", "b:8000"]
    assert (fleet["workers"], fleet["up"], fleet["queue"], fleet["hit"]) == (2, 2, 7, 0.5)
    assert fleet["models"] == ["m"]
    assert points["full"]
    assert len(points["t"]) == 2
    assert len(requests["rows"]) == 1


async def test_then_what_changes() -> None:
    bench = Bench()
    bench.pass_time(1.0)
    watching, _ = await bench.watch()
    worker = next(iter(bench.fleet))
    worker.load.enter(PendingPrefill(1.0, 10, streams=True), 0.0)
    bench.console.take(line(request_id="new"))
    bench.pass_time(4.0)
    told = events(await anext(watching))
    rows = [row for name, data in told if name == "fleet" for row in data["rows"]]
    assert rows == [["a:8000", {"inflight": 1}]]
    assert [data["inflight"] for name, data in told if name == "fleet"][-1] == 1
    (requests,) = [data for name, data in told if name == "requests"]
    assert requests["rows"][0][COLUMNS.index("request_id")] == "new"
    assert all(len(data["t"]) == 1 for name, data in told if name == "points")


async def test_what_happened_between_joining_and_watching_is_told_once() -> None:
    bench = Bench()
    watching = bench.console.watch(bench.console.join())
    bench.console.take(line())
    bench.pass_time(3.0)
    told = events(await anext(watching))
    assert sum(len(data["rows"]) for name, data in told if name == "requests") == 1
    bench.console.take(line())
    bench.pass_time(0.25)
    assert len(events(await anext(watching))[0][1]["rows"]) == 1


async def test_workers_come_and_go() -> None:
    bench = Bench()
    watching, _ = await bench.watch()
    bench.fleet.set_workers(["http://b:8000", "http://c:8000"])
    bench.pass_time(1.25)
    (fleet,) = [data for name, data in events(await anext(watching)) if name == "fleet"][:1]
    assert [worker for worker, _ in fleet["rows"]] == ["c:8000"]
    assert fleet["removed"] == ["a:8000"]


async def test_only_so_many_requests_are_shown_at_a_time() -> None:
    bench = Bench()
    watching, _ = await bench.watch()
    for _ in range(120):
        bench.console.take(line())
    bench.pass_time(0.25)
    told = dict(events(await anext(watching)))
    assert (len(told["requests"]["rows"]), told["requests"]["skipped"]) == (50, 70)


async def test_who_reads_slowly_is_told_everything_anew() -> None:
    bench = Bench()
    watching, _ = await bench.watch()
    for _ in range(400):
        for _ in range(50):
            bench.console.take(line(error="x" * 250))
        bench.pass_time(0.25)
    told = events(await anext(watching))
    assert [name for name, _ in told] == ["hello", "fleet", "points", "requests"]
    assert len(told[3][1]["rows"]) == 200


async def test_without_anybody_who_watches_nothing_is_looked_at() -> None:
    bench = Bench()
    bench.seen = {"index_blocks": None}  # a look would fail
    bench.pass_time(20.0)


async def test_the_end_of_the_router_is_the_end_of_watching() -> None:
    bench = Bench()
    watching, _ = await bench.watch()
    bench.stopping = True
    bench.pass_time(0.25)
    rest = [each async for each in watching]
    assert events(b"".join(rest))[-1] == ("bye", {})
    with pytest.raises(RouterError) as error:
        bench.console.join()
    assert (error.value.status, error.value.code) == (503, "router_stopping")


async def test_the_shared_redis() -> None:
    bench = Bench()
    bench.shared = SharedSample(True, {}, 0, 0, 0, leaders=2, followers=1, leased=0)
    _, told = await bench.watch()
    assert told[1][1]["shared"] == {"up": True, "routers": 3}


def test_one_worker() -> None:
    bench = Bench()
    assert (bench.console.details("a:8000") or {})["id"] == "a:8000"
    assert bench.console.details("nobody") is None


def test_who_left_is_not_counted() -> None:
    console = Bench().console
    viewer = console.join()
    assert console.watched_by == 1
    console.leave(viewer)
    assert console.watched_by == 0
