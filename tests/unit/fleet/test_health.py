"""Active health checks with a scripted engine."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import pytest

from router import errors
from router.engines.base import Condition, Gauges, WorkerReport
from router.fleet.fleet import Fleet
from router.fleet.health import HealthChecker
from router.fleet.worker import Worker
from router.upstream.pool import Pool
from tests.unit.support import fleet_of

REPORT = WorkerReport({"m": {"id": "m"}}, 1000)
UNREACHABLE = errors.connect_failed("a:8000", "refused")


class ScriptedEngine:
    """Answers per worker with what `health` and `reports` say: a value, or an error to raise."""

    def __init__(self) -> None:
        self.health: dict[str, bool | Condition | Exception] = {}
        self.reports: dict[str, WorkerReport | Exception] = {}
        self.asked: defaultdict[str, int] = defaultdict(int)
        self.described: defaultdict[str, int] = defaultdict(int)

    async def condition(self, pool: Pool, report: WorkerReport) -> Condition:
        self.asked[pool.name] += 1
        answer = self.health.get(pool.name, True)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Condition):
            return answer
        return Condition.SERVING if answer else Condition.ILL

    async def gauges(self, pool: Pool) -> dict[int, Gauges]:
        return {}

    async def describe(self, pool: Pool) -> WorkerReport:
        self.described[pool.name] += 1
        report = self.reports.get(pool.name, REPORT)
        if isinstance(report, Exception):
            raise report
        return report


class Ward:
    """A fleet of one worker under observation."""

    def __init__(self, *, describe_s: float = 1000.0) -> None:
        self.fleet: Fleet = fleet_of("a", models=(), up=False)
        self.engine = ScriptedEngine()
        self.checker = HealthChecker(
            self.fleet, self.engine, interval_s=0.0, describe_s=describe_s, failures=3
        )
        (self.worker,) = self.fleet

    async def probe(self, times: int = 1) -> Worker:
        for _ in range(times):
            for worker in self.fleet:
                await self.checker.probe(worker)
        return self.worker


async def test_a_worker_comes_up_with_its_models() -> None:
    ward = Ward()
    worker = await ward.probe()
    assert worker.up
    assert worker.models == ["m"]
    assert ward.fleet.ready


async def test_models_are_asked_for_every_so_often() -> None:
    ward = Ward()
    await ward.probe(5)
    assert (ward.engine.asked["a:8000"], ward.engine.described["a:8000"]) == (5, 1)
    eager = Ward(describe_s=0.0)
    await eager.probe(5)
    assert eager.engine.described["a:8000"] == 5


async def test_one_slow_answer_takes_nobody_down() -> None:
    ward = Ward()
    await ward.probe()
    ward.engine.health["a:8000"] = TimeoutError()
    assert (await ward.probe(2)).up
    worker = await ward.probe()
    assert not worker.up
    assert worker.last_error == "no answer to a probe in time"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "/health does not answer 200"),
        ("/team", "/team/health does not answer 200"),
        ("/v1", "/v1/health does not answer 200; a worker's URL ends before its /v1"),
    ],
)
async def test_what_was_asked_is_told(path: str, told: str) -> None:
    fleet = fleet_of("a", up=False)
    fleet.set_workers([f"http://a:8000{path}"])
    (worker,) = fleet
    engine = ScriptedEngine()
    engine.health[worker.pool.name] = False
    await HealthChecker(fleet, engine, interval_s=1.0, describe_s=1.0).probe(worker)
    assert worker.last_error == told


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (False, "/health does not answer 200"),
        (errors.worker_lost("a", "early"), "closed the connection early"),
    ],
)
async def test_other_failures_are_given_the_same_patience(
    answer: bool | Exception, why: str
) -> None:
    ward = Ward()
    await ward.probe()
    ward.engine.health["a:8000"] = answer
    assert (await ward.probe(2)).up
    assert not (await ward.probe()).up
    assert why in str(ward.worker.last_error)


async def test_a_success_between_starts_the_count_over() -> None:
    ward = Ward()
    await ward.probe()
    for _ in range(4):
        ward.engine.health["a:8000"] = False
        await ward.probe(2)
        ward.engine.health["a:8000"] = True
        assert (await ward.probe()).up


async def test_a_worker_that_cannot_be_reached_is_down_at_once() -> None:
    ward = Ward()
    await ward.probe()
    ward.engine.health["a:8000"] = UNREACHABLE
    assert not (await ward.probe()).up


async def test_a_router_without_sockets_takes_nobody_down() -> None:
    ward = Ward()
    await ward.probe()
    ward.engine.health["a:8000"] = errors.out_of_sockets("a:8000", "Too many open files")
    for _ in range(5):
        await ward.probe()
    assert ward.worker.up
    assert ward.worker.last_error is None


async def test_a_worker_back_up_is_asked_for_its_models_at_once() -> None:
    ward = Ward()
    await ward.probe()
    ward.engine.health["a:8000"] = UNREACHABLE
    await ward.probe()
    ward.engine.health["a:8000"] = True
    ward.engine.reports["a:8000"] = WorkerReport({"n": {}})
    worker = await ward.probe()
    assert (worker.up, worker.models) == (True, ["n"])


async def test_a_worker_that_cannot_describe_itself_does_not_come_up() -> None:
    ward = Ward()
    ward.engine.reports["a:8000"] = errors.bad_response("a:8000", "no list")
    worker = await ward.probe()
    assert not worker.up
    assert "no list" in str(worker.last_error)


async def round_of(checker: HealthChecker, fleet: Fleet) -> None:
    """One round of the checker's own loop."""
    running = asyncio.get_running_loop().create_task(checker.run())
    async with asyncio.timeout(5):
        while not all(worker.up or worker.last_error for worker in fleet):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()


async def test_workers_are_probed_side_by_side() -> None:
    fleet, engine = fleet_of("a", "b", "c", up=False), ScriptedEngine()
    meeting = asyncio.Barrier(3)

    async def condition(pool: Pool, report: WorkerReport) -> Condition:
        await meeting.wait()
        return Condition.SERVING

    engine.condition = condition  # type: ignore[method-assign]
    await round_of(HealthChecker(fleet, engine, interval_s=1.0, describe_s=1.0), fleet)
    assert all(worker.up for worker in fleet)


async def test_a_worker_that_does_not_answer_keeps_no_other_waiting() -> None:
    fleet, engine = fleet_of("a", "b", up=False), ScriptedEngine()
    asked: list[str] = []

    async def condition(pool: Pool, report: WorkerReport) -> Condition:
        asked.append(pool.name)
        if pool.name == "a:8000":
            await asyncio.Event().wait()
        return Condition.SERVING

    engine.condition = condition  # type: ignore[method-assign]
    checker = HealthChecker(fleet, engine, interval_s=0.01, describe_s=1.0)
    running = asyncio.get_running_loop().create_task(checker.run())
    async with asyncio.timeout(5):
        while asked.count("b:8000") < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    assert asked.count("a:8000") == 1, "one probe per worker at a time"


async def test_one_worker_s_failure_is_not_another_s() -> None:
    fleet, engine = fleet_of("a", "b", up=False), ScriptedEngine()
    engine.health["a:8000"] = UNREACHABLE
    await round_of(HealthChecker(fleet, engine, interval_s=1.0, describe_s=1.0), fleet)
    assert {worker.id: worker.up for worker in fleet} == {"a:8000": False, "b:8000": True}


async def test_what_is_known_of_a_worker_that_left_is_dropped() -> None:
    ward = Ward()
    await ward.probe()
    ward.fleet.set_workers(["http://b:8000"])
    await round_of(ward.checker, ward.fleet)
    assert [worker.id for worker in ward.checker._missed] == ["b:8000"]
    assert [worker.id for worker in ward.checker._described] == ["b:8000"]


async def test_a_server_is_probed_once_whatever_its_ranks() -> None:
    ward = Ward()
    ward.engine.reports["a:8000"] = WorkerReport({"m": {}}, ranks=3)
    await ward.checker.probe(ward.worker)
    for _ in range(2):
        checker = HealthChecker(ward.fleet, ward.engine, interval_s=1000.0, describe_s=1000.0)
        await round_of(checker, ward.fleet)
    assert [worker.up for worker in ward.fleet] == [True] * 3
    assert ward.engine.asked["a:8000"] <= 3, "one by hand and one a round"
    ward.engine.health["a:8000"] = UNREACHABLE
    await ward.checker.probe(ward.worker)
    assert [worker.up for worker in ward.fleet] == [False] * 3


async def test_it_runs_until_cancelled() -> None:
    ward = Ward()
    checker = HealthChecker(ward.fleet, ward.engine, interval_s=0.01, describe_s=1.0)
    running = asyncio.get_running_loop().create_task(checker.run())
    async with asyncio.timeout(5):
        while ward.engine.asked["a:8000"] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_workers_that_are_others_to_look_after_are_not_probed() -> None:
    fleet, engine = fleet_of("a", "b", up=False), ScriptedEngine()
    checker = HealthChecker(fleet, engine, interval_s=0.001, describe_s=1.0)
    mine = {"a:8000"}
    checker.probes = lambda worker: worker.id in mine
    running = asyncio.get_running_loop().create_task(checker.run())
    async with asyncio.timeout(5):
        while engine.asked["a:8000"] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert engine.asked["b:8000"] == 0
        mine.add("b:8000")
        while engine.asked["b:8000"] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert all(worker.up for worker in fleet)


async def test_unless_it_is_said_otherwise_all_are() -> None:
    ward = Ward()
    assert ward.checker.probes(ward.worker)


class TestConditions:
    @pytest.mark.parametrize(
        "condition",
        [Condition.SERVING, Condition.DRAINING, Condition.ASLEEP, Condition.PAUSED],
    )
    async def test_what_a_probe_finds_is_the_worker_s(self, condition: Condition) -> None:
        ward = Ward()
        ward.engine.health["a:8000"] = condition
        worker = await ward.probe()
        assert (worker.up, worker.condition, worker.models) == (True, condition, ["m"])
        assert worker.serves is (condition is Condition.SERVING)
        ward.engine.health["a:8000"] = Condition.SERVING
        assert (await ward.probe()).serves

    async def test_an_ill_worker_is_down_and_keeps_its_condition(self) -> None:
        ward = Ward()
        ward.engine.health["a:8000"] = Condition.DRAINING
        await ward.probe()
        ward.engine.health["a:8000"] = Condition.ILL
        worker = await ward.probe(3)
        assert (worker.up, worker.condition) == (False, Condition.DRAINING)

    async def test_the_engine_is_told_what_is_known_of_the_worker(self) -> None:
        ward, known = Ward(), list[WorkerReport]()

        async def condition(pool: Pool, report: WorkerReport) -> Condition:
            known.append(report)
            return Condition.SERVING

        ward.engine.condition = condition  # type: ignore[method-assign]
        await ward.probe(2)
        assert [list(report.models) for report in known] == [[], ["m"]]


class FlowingPool:
    """Of a worker from which answers come while it does not answer probes."""

    name = "a:8000"

    def __init__(self) -> None:
        self.reads = 0

    def drop_idle(self) -> None:
        pass


class TestBusy:
    @pytest.mark.parametrize("flowing", [True, False])
    async def test_only_a_worker_of_which_nothing_comes_is_taken_down(self, flowing: bool) -> None:
        ward = Ward()
        await ward.probe()
        pool = FlowingPool()
        ward.worker.pool = pool  # type: ignore[assignment]

        async def condition(pool: FlowingPool, report: WorkerReport) -> Condition:
            pool.reads += flowing
            raise TimeoutError

        ward.engine.condition = condition  # type: ignore[method-assign, assignment]
        assert (await ward.probe(10)).up is flowing

    async def test_what_came_before_the_probe_does_not_count(self) -> None:
        ward = Ward()
        await ward.probe()
        pool = FlowingPool()
        pool.reads = 1000
        ward.worker.pool = pool  # type: ignore[assignment]
        ward.engine.health["a:8000"] = TimeoutError()
        assert not (await ward.probe(3)).up

    @pytest.mark.parametrize("answer", [False, UNREACHABLE])
    async def test_a_probe_that_is_answered_badly_counts_whatever_flows(
        self, answer: bool | Exception
    ) -> None:
        ward = Ward()
        await ward.probe()
        ward.worker.pool = FlowingPool()  # type: ignore[assignment]
        ward.engine.health["a:8000"] = answer
        assert not (await ward.probe(3)).up


class Round:
    """A checker whose rounds are far apart, past its first one."""

    def __init__(self, *names: str) -> None:
        self.fleet, self.engine = fleet_of(*names, up=False), ScriptedEngine()
        self.checker = HealthChecker(self.fleet, self.engine, interval_s=1000.0, describe_s=1000.0)
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Round":
        self.task = asyncio.get_running_loop().create_task(self.checker.run())
        await self.until(lambda: all(self.engine.asked[w.id] for w in self.fleet.processes()))
        await self.until(lambda: not self.checker._probing)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed probes are repeated without a pause."""
    monkeypatch.setattr("router.fleet.health._AGAIN_S", 0.001)


def asked_times(checked: Round, times: int) -> bool:
    return checked.engine.asked["b:8000"] == times


class TestSuspects:
    @pytest.mark.usefixtures("at_once")
    async def test_they_are_probed_now(self) -> None:
        async with Round("a", "b") as checked:
            first, second = checked.fleet
            for times in (2, 3):
                checked.checker.suspect(second)
                await checked.until(partial(asked_times, checked, times))
                await checked.until(lambda: not checked.checker._probing)
                await asyncio.sleep(0.002)
            assert checked.engine.asked["a:8000"] == 1
            assert first.up

    @pytest.mark.usefixtures("at_once")
    @pytest.mark.parametrize("answer", [False, TimeoutError()])
    async def test_a_failed_probe_is_repeated_until_it_is_certain(
        self, answer: bool | Exception
    ) -> None:
        async with Round("a", "b") as checked:
            first, second = checked.fleet
            checked.engine.health["b:8000"] = answer
            checked.checker.suspect(second)
            await checked.until(lambda: not second.up)
            assert checked.engine.asked["b:8000"] == 1 + 3
            await checked.until(lambda: not checked.checker._probing)
            assert checked.engine.asked["b:8000"] == 1 + 3, "one that is down waits for its round"
            assert first.up

    async def test_not_each_time_that_a_request_fails(self) -> None:
        async with Round("a") as checked:
            (worker,) = checked.fleet
            for _ in range(100):
                checked.checker.suspect(worker)
                await asyncio.sleep(0)
            assert checked.engine.asked["a:8000"] <= 2 + 1, "half a second may have passed"

    @pytest.mark.usefixtures("at_once")
    async def test_or_until_it_answers(self) -> None:
        async with Round("a") as checked:
            (worker,) = checked.fleet
            checked.engine.health["a:8000"] = TimeoutError()
            checked.checker.suspect(worker)
            await checked.until(lambda: checked.engine.asked["a:8000"] >= 2)
            checked.engine.health["a:8000"] = True
            await checked.until(lambda: not checked.checker._probing)
            assert worker.up

    async def test_whoever_looks_after_them(self) -> None:
        async with Round("a") as checked:
            checked.checker.probes = lambda worker: False
            (worker,) = checked.fleet
            checked.checker.suspect(worker)
            await checked.until(lambda: checked.engine.asked["a:8000"] == 2)

    async def test_not_if_they_left(self) -> None:
        async with Round("a", "b") as checked:
            first, second = checked.fleet
            checked.fleet.set_workers(["http://a:8000"])
            checked.checker.suspect(second)
            checked.checker.suspect(first)
            await checked.until(lambda: checked.engine.asked["a:8000"] == 2)
            assert checked.engine.asked["b:8000"] == 1

    async def test_a_rank_s_server_is(self) -> None:
        async with Round("a") as checked:
            (first,) = checked.fleet
            checked.fleet.set_report(first, WorkerReport({"m": {}}, ranks=2))
            checked.checker.suspect(list(checked.fleet)[-1])
            await checked.until(lambda: checked.engine.asked["a:8000"] == 2)


@pytest.mark.parametrize("turns", range(8))
async def test_it_ends_when_it_is_told_to_whatever_else_happens(turns: int) -> None:
    """As when the router stops: workers are suspected in the same turn of the loop in which it is cancelled."""
    ward = Ward()
    checker = HealthChecker(ward.fleet, ward.engine, interval_s=1000.0, describe_s=1000.0)
    running = asyncio.get_running_loop().create_task(checker.run())
    await asyncio.sleep(0.01)
    checker.suspect(ward.worker)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.done()
