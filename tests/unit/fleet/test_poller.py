"""Asking workers what they have to do, with a scripted engine."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from router import errors
from router.engines.base import Condition, Gauges, WorkerReport
from router.fleet import poller as module
from router.fleet.fleet import Fleet
from router.fleet.load import PendingPrefill
from router.fleet.poller import MetricsPoller
from router.upstream.pool import Pool
from tests.unit.support import fleet_of

BUSY = Gauges(3, 2, 0.5)


class ScriptedEngine:
    """Answers with `gauges_of` a server, by rank, or raises it; `during` is called meanwhile."""

    def __init__(self) -> None:
        self.gauges_of: dict[str, dict[int, Gauges] | Exception] = {}
        self.asked: Counter[str] = Counter()
        self.during: Callable[[], None] = lambda: None
        self.hung: set[str] = set()

    async def gauges(self, pool: Pool) -> dict[int, Gauges]:
        self.asked[pool.name] += 1
        if pool.name in self.hung:
            await asyncio.Event().wait()
        self.during()
        answer = self.gauges_of.get(pool.name, {0: BUSY})
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def condition(self, pool: Pool, report: WorkerReport) -> Condition:
        raise AssertionError("nobody asked for that")

    async def describe(self, pool: Pool) -> WorkerReport:
        raise AssertionError("nobody asked for that")


class Ward:
    """A fleet and its poller, and how often something was told."""

    def __init__(self, *names: str, interval_s: float = 0.01) -> None:
        self.fleet: Fleet = fleet_of(*(names or ("a",)))
        self.engine, self.told = ScriptedEngine(), 0
        self.poller = MetricsPoller(
            self.fleet, self.engine, interval_s=interval_s, on_report=self.note
        )
        self.workers = list(self.fleet)

    def note(self) -> None:
        self.told += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Run until something has happened."""
        running = asyncio.get_running_loop().create_task(self.poller.run())
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_what_a_worker_says_reaches_its_load() -> None:
    ward = Ward()
    (worker,) = ward.workers
    await ward.poller.ask(worker)
    load = worker.load
    assert (load.reported_running, load.reported_waiting, load.kv_usage) == (3, 2, 0.5)
    assert (load.foreign, ward.told) == (5, 1)


async def test_what_is_ours_while_it_is_asked_is_not_foreign() -> None:
    ward = Ward()
    (worker,) = ward.workers
    sent = [PendingPrefill(1.0, 10, streams=True) for _ in range(5)]
    for each in sent[:4]:
        worker.load.enter(each, 0.0)
    ward.engine.during = lambda: worker.load.leave(sent[0], 0.0)
    await ward.poller.ask(worker)
    assert worker.load.foreign == 1


@pytest.mark.parametrize(
    "answer", [{}, TimeoutError(), errors.connect_failed("a", "refused"), ZeroDivisionError()]
)
async def test_a_worker_that_does_not_tell_changes_nothing(
    answer: dict[int, Gauges] | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    ward = Ward()
    (worker,) = ward.workers
    await ward.poller.ask(worker)
    ward.engine.gauges_of["a:8000"] = answer
    await ward.poller.ask(worker)
    assert (worker.load.reported_running, ward.told) == (3, 1)
    assert ("failed" in caplog.text) is isinstance(answer, ZeroDivisionError)


async def test_all_that_are_up_are_asked_again_and_again() -> None:
    ward = Ward("a", "b", "c")
    ward.fleet.mark_down(ward.workers[2], "away")
    await ward.until(lambda: min(ward.engine.asked[name] for name in ("a:8000", "b:8000")) >= 3)
    assert ward.engine.asked["c:8000"] == 0


async def test_one_that_hangs_is_asked_once_and_keeps_no_other_waiting() -> None:
    ward = Ward("a", "b")
    ward.engine.hung.add("a:8000")
    await ward.until(lambda: ward.engine.asked["b:8000"] >= 4)
    assert ward.engine.asked["a:8000"] == 1


async def test_an_empty_fleet_may_grow() -> None:
    ward = Ward()
    ward.fleet.set_workers([])
    running = asyncio.get_running_loop().create_task(ward.poller.run())
    await asyncio.sleep(0.02)
    ward.fleet.set_workers(["http://z:8000"])
    (worker,) = ward.fleet
    ward.fleet.mark_up(worker)
    async with asyncio.timeout(5):
        while worker.load.kv_usage is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    running.cancel()


@pytest.mark.parametrize("silence", [{}, TimeoutError(), "hangs"])
async def test_what_a_silent_worker_told_is_forgotten(silence: Any) -> None:
    ward = Ward()
    (worker,) = ward.workers
    await ward.poller.ask(worker)
    if silence == "hangs":
        ward.engine.hung.add("a:8000")
    else:
        ward.engine.gauges_of["a:8000"] = silence
    await ward.until(lambda: worker.load.reported_running is None)
    assert (worker.load.kv_usage, worker.load.foreign) == (None, 0)
    assert ward.told == 2, "there may be room now"


async def test_not_after_one_missed_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ward = Ward(interval_s=1.0)
    clock = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    (worker,) = ward.workers
    await ward.poller.ask(worker)
    clock[0] += 2.9
    ward.poller._forget_the_silent([worker])
    assert worker.load.reported_running == 3
    clock[0] += 0.2
    ward.poller._forget_the_silent([worker])
    assert worker.load.reported_running is None


async def test_what_a_worker_told_before_it_went_down_is_forgotten() -> None:
    ward = Ward("a", "b")
    a, b = ward.workers
    for worker in (a, b):
        await ward.poller.ask(worker)
    ward.fleet.mark_down(a, "away")
    ward.fleet.set_workers(["http://a:8000"])
    ward.poller._forget_the_silent(list(ward.fleet))
    assert (a.load.kv_usage, b.load.kv_usage) == (None, None)
    assert ward.poller._told_at == {}


def ward_of_ranks(number: int) -> Ward:
    """A ward of one server with so many ranks."""
    ward = Ward()
    ward.fleet.set_report(ward.workers[0], WorkerReport({"m": {}}, ranks=number))
    ward.workers = list(ward.fleet)
    return ward


async def test_each_rank_is_told_what_is_its_own() -> None:
    ward = ward_of_ranks(3)
    ward.engine.gauges_of["a:8000"] = {0: Gauges(1, 0, 0.1), 1: Gauges(2, 0, 0.2), 2: Gauges(3, 0)}
    await ward.poller.ask(ward.workers[0])
    loads = [worker.load for worker in ward.workers]
    assert [load.reported_running for load in loads] == [1, 2, 3]
    assert [load.kv_usage for load in loads] == [0.1, 0.2, None]
    assert (ward.engine.asked["a:8000"], ward.told) == (1, 1)


async def test_a_rank_of_which_nothing_is_told_any_more_is_not_known() -> None:
    ward = ward_of_ranks(2)
    ward.engine.gauges_of["a:8000"] = {0: BUSY, 1: BUSY}
    await ward.poller.ask(ward.workers[0])
    ward.engine.gauges_of["a:8000"] = {0: BUSY}
    await ward.poller.ask(ward.workers[0])
    assert [worker.load.reported_running for worker in ward.workers] == [3, None]


async def test_a_server_is_asked_once_whatever_its_ranks() -> None:
    ward = ward_of_ranks(3)
    await ward.until(lambda: ward.engine.asked["a:8000"] >= 4)
    ward.poller._forget_the_silent(ward.fleet.processes())
    assert list(ward.poller._told_at) == [ward.workers[0]]


async def test_all_ranks_of_a_silent_server_are_forgotten() -> None:
    ward = ward_of_ranks(2)
    ward.engine.gauges_of["a:8000"] = {0: BUSY, 1: BUSY}
    await ward.poller.ask(ward.workers[0])
    ward.fleet.mark_down(ward.workers[0], "away")
    ward.poller._forget_the_silent(ward.fleet.processes())
    assert [worker.load.reported_running for worker in ward.workers] == [None, None]


async def test_workers_that_are_others_to_look_after_are_not_asked() -> None:
    ward = Ward("a", "b")
    mine = {"a:8000"}
    ward.poller.probes = lambda worker: worker.id in mine
    await ward.until(lambda: ward.engine.asked["a:8000"] >= 3)
    assert ward.engine.asked["b:8000"] == 0
    mine.add("b:8000")
    await ward.until(lambda: ward.engine.asked["b:8000"] >= 3)


async def test_what_one_told_that_is_anothers_now_is_forgotten() -> None:
    ward = Ward()
    (worker,) = ward.workers
    await ward.poller.ask(worker)
    ward.poller.probes = lambda _: False
    await ward.until(lambda: worker.load.reported_running is None)
    assert ward.engine.asked["a:8000"] == 1


async def test_what_others_tell_is_not_taken_for_silence() -> None:
    """A worker that is never asked here was told of by another router."""
    ward = Ward()
    (worker,) = ward.workers
    ward.poller.probes = lambda _: False
    worker.load.report(BUSY, worker.load.counts(), 0.0)
    ward.poller._forget_the_silent(ward.workers)
    assert (worker.load.reported_running, ward.told) == (3, 0)
