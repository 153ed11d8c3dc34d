"""Three routers as processes, one shared Redis, and whatever can happen to it: no request fails."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic

import pytest
import redis

from tests.e2e.harness import Answer, Router, ask, metric, router_process, wait_until
from tests.e2e.test_sim_clients import sim_workers
from tests.e2e.traffic import Traffic, summary, traffic
from tests.fakes.redis_cluster import Cluster, cluster
from tests.fakes.redis_server import Server, server

MODEL = "sim-model"
PATIENCE_S = 30.0
ROUTERS = 3

Report = Callable[[str], None]


@pytest.fixture(scope="module")
def workers() -> Iterator[list[str]]:
    with sim_workers(MODEL, MODEL, MODEL, MODEL) as urls:
        yield urls


@contextlib.contextmanager
def routers(workers: Sequence[str], redis_url: str, folder: Path) -> Iterator[list[Router]]:
    """Routers that have found each other."""
    with contextlib.ExitStack() as stack:
        running = []
        for number in range(ROUTERS):
            own = folder / str(number)
            own.mkdir()
            running.append(
                stack.enter_context(router_process(workers, own, "--redis-url", redis_url))
            )
        asyncio.run(until(lambda: all(shares(each) == ROUTERS for each in running), "they meet"))
        yield running


def shares(router: Router) -> float:
    """How many routers this one knows of; 0 while its Redis is away."""
    return metric(router.url, "router_shared_routers") * metric(router.url, "router_shared_up")


async def until(condition: Callable[[], bool], what: str) -> float:
    """The seconds it took."""
    started = monotonic()
    while not await asyncio.to_thread(condition):
        assert monotonic() - started < PATIENCE_S, f"{what}: not in time"
        await asyncio.sleep(0.05)
    return monotonic() - started


def ready(router: Router) -> bool:
    return ask(router.url, "/ready", method="GET").status == 200


def degraded(router: Router) -> dict[str, float]:
    """Requests that went without the shared Redis, by reason."""
    text = ask(router.url, "/metrics", method="GET").body.decode()
    found = re.findall(
        r'^router_degraded_total\{reason="shared_(\w+)"\} (\S+)$', text, re.MULTILINE
    )
    return {reason: float(count) for reason, count in found}


async def through(
    running: Sequence[Router],
    fault: Callable[[], Awaitable[None]],
    report: Report,
    title: str,
) -> Traffic:
    """Traffic before, during and after a fault; all routers stay ready and find the Redis again."""
    async with traffic([each.url for each in running], MODEL) as requests:
        await asyncio.sleep(3.0)
        began = monotonic()
        task = asyncio.create_task(fault())
        while not task.done():
            assert await asyncio.to_thread(lambda: all(map(ready, running)))
            await asyncio.sleep(0.2)
        await task
        ended = monotonic()
        back_s = await until(lambda: all(shares(each) == ROUTERS for each in running), "recovery")
        recovered = monotonic()
        await asyncio.sleep(3.0)
    report(f"{title}: before {summary(requests.since(began - 2, began))}")
    report(f"{title}: meanwhile {summary(requests.since(began, ended))}")
    report(f"{title}: back after {back_s:.1f} s; then {summary(requests.since(recovered))}")
    assert requests.failures == []
    assert len(requests.since(began, ended)) > 0
    assert len(requests.since(recovered)) > 0
    return requests


@pytest.mark.timeout(180)
class TestOneServer:
    @pytest.fixture(scope="class")
    @classmethod
    def store(cls) -> Iterator[Server]:
        with server("redis") as running:
            yield running

    @pytest.fixture(scope="class")
    @classmethod
    def running(
        cls, store: Server, workers: list[str], tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[list[Router]]:
        with routers(workers, store.url, tmp_path_factory.mktemp("shared")) as found:
            yield found

    def test_what_one_has_sent_all_know(self, running: list[Router]) -> None:
        one, *others = running
        found = 0
        for number in range(6):
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"topic {number} " + "and on " * 800}],
                "max_tokens": 1,
            }
            first = ask(one.url, "/v1/chat/completions", body)
            for other in others:
                again = ask(other.url, "/v1/chat/completions", body, {"x-router-explain": "1"})
                found += again.header("x-router-worker") == first.header("x-router-worker")
                found += again.header("x-router-reason") == "cached" and again.cached_tokens > 0
        assert found >= 20, "on a busy machine some questions are late"

    def test_a_response_is_found_where_it_is_stored(self, running: list[Router]) -> None:
        """By whichever router is asked, although only one has seen the answer."""
        for number in range(4):
            first = running[number % ROUTERS]
            body = {"model": MODEL, "input": f"remember {number}", "max_output_tokens": 4}
            stored = ask(first.url, "/v1/responses", body)
            response_id = stored.json()["id"]
            home = stored.header("x-router-worker")
            for router in running:
                found = ask(router.url, f"/v1/responses/{response_id}", method="GET")
                assert (found.status, found.header("x-router-worker")) == (200, home)
                more = body | {"previous_response_id": response_id}
                again = ask(router.url, "/v1/responses", more)
                assert (again.status, again.header("x-router-worker")) == (200, home)

    def test_every_worker_is_looked_after_by_one(
        self, running: list[Router], workers: list[str]
    ) -> None:
        def leased() -> list[float]:
            return [metric(each.url, "router_shared_leased_workers") for each in running]

        wait_until(
            lambda: sum(leased()) == len(workers) and max(leased()) <= 2,
            20,
            f"shared out {leased()}",
        )

    async def test_it_is_killed_and_comes_back_empty(
        self, running: list[Router], store: Server, report: Report
    ) -> None:
        async def fault() -> None:
            store.kill()
            await asyncio.sleep(4.0)
            await asyncio.to_thread(store.restart)

        await through(running, fault, report, "Redis killed for 4 s")
        assert all(degraded(each) for each in running)

    async def test_it_hangs(self, running: list[Router], store: Server, report: Report) -> None:
        async def fault() -> None:
            store.stop()
            await asyncio.sleep(10.0)
            store.go_on()

        await through(running, fault, report, "Redis stopped for 10 s")
        assert all(degraded(each).get("late") for each in running)

    async def test_it_is_full(self, running: list[Router], store: Server, report: Report) -> None:
        before = [metric(each.url, "router_shared_failures_total") for each in running]
        with redis.Redis.from_url(store.url) as client:

            async def fault() -> None:
                client.config_set("maxmemory", "1mb")
                await asyncio.sleep(4.0)
                client.config_set("maxmemory", "0")

            await through(running, fault, report, "Redis full for 4 s")
        after = [metric(each.url, "router_shared_failures_total") for each in running]
        assert all(a > b for a, b in zip(after, before, strict=True))

    async def test_it_is_read_only(
        self, running: list[Router], store: Server, report: Report
    ) -> None:
        with redis.Redis.from_url(store.url) as client:

            async def fault() -> None:
                client.replicaof("127.0.0.1", 1)
                await asyncio.sleep(4.0)
                client.replicaof("NO", "ONE")

            await through(running, fault, report, "Redis read-only for 4 s")

    async def test_a_router_dies(
        self, running: list[Router], workers: list[str], report: Report
    ) -> None:
        """The last test of these: it is not started again."""
        dead, *others = running
        async with traffic([each.url for each in running], MODEL) as requests:
            await asyncio.sleep(2.0)
            del requests.routers[dead.url]
            dead.process.kill()
            noticed_s = await until(
                lambda: all(shares(each) == ROUTERS - 1 for each in others), "its absence"
            )
            taken_s = noticed_s + await until(
                lambda: (
                    sum(metric(each.url, "router_shared_leased_workers") for each in others)
                    == len(workers)
                ),
                "its workers",
            )
            await asyncio.sleep(2.0)
        report(
            f"a router killed: off the board after {noticed_s:.1f} s, its workers taken over after {taken_s:.1f} s"
        )
        assert requests.failures == []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked is answered, also on a busy machine."""
    monkeypatch.setenv("PREFIX_ROUTER_REDIS_DEADLINE_S", "1")


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("patient")
class TestEvents:
    def test_one_follows_a_worker_and_all_know(self, tmp_path: Path, report: Report) -> None:
        with (
            server("valkey") as store,
            sim_workers(MODEL, MODEL, MODEL, events=True) as workers,
            routers(workers, store.url, tmp_path) as running,
        ):
            texts = [f"{number} " + "what was said " * 400 for number in range(12)]
            for number, text in enumerate(texts):
                _complete(running[number % ROUTERS], text)
            for router in running:
                wait_until(lambda r=router: _knows_by_events(r), 20, "all workers known by events")
            follows = [metric(each.url, "router_kv_events_total") > 0 for each in running]
            leased = [metric(each.url, "router_shared_leased_workers") for each in running]
            assert sum(leased) == len(workers)
            assert [bool(count) for count in leased] == follows
            exact = 0
            for number, text in enumerate(texts):
                for router in running:
                    answer = _complete(router, f"{text} {number}")
                    predicted = int(answer.header("x-router-cached-tokens") or 0)
                    exact += predicted == answer.cached_tokens > 0
            report(f"events shared: {exact} of {len(texts) * ROUTERS} predicted exactly")
            assert exact >= 0.9 * len(texts) * ROUTERS  # events may be a moment behind
            holder = next(each for each, count in zip(running, leased, strict=True) if count)
            holder.process.kill()
            others = [each for each in running if each is not holder]
            wait_until(
                lambda: sum(metric(o.url, "router_shared_leased_workers") for o in others) == 3,
                20,
                "its workers are taken over",
            )
            for router in others:
                wait_until(lambda r=router: _knows_by_events(r), 20, "all known by events again")
            after = 0
            for number, text in enumerate(texts):
                for router in others:
                    answer = _complete(router, f"{text} {number}, once more")
                    predicted = int(answer.header("x-router-cached-tokens") or 0)
                    after += predicted == answer.cached_tokens > 0
            report(f"after a holder died: {after} of {len(texts) * 2} predicted exactly")
            assert after >= 0.9 * len(texts) * 2


def _complete(router: Router, text: str) -> Answer:
    body = {"model": MODEL, "prompt": text, "max_tokens": 1}
    return ask(router.url, "/v1/completions", body, {"x-router-explain": "1"})


def _knows_by_events(router: Router) -> bool:
    return all(worker["known_by"] == "events" for worker in router.workers()["workers"])


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("patient")
class TestSidecar:
    def test_it_goes_by_what_others_say(
        self, workers: list[str], tmp_path: Path, report: Report
    ) -> None:
        (tmp_path / "router").mkdir()
        (tmp_path / "sidecar").mkdir()
        with (
            server("valkey") as store,
            router_process(workers, tmp_path / "router", "--redis-url", store.url) as router,
        ):
            wait_until(
                lambda: metric(router.url, "router_shared_leased_workers") == 4, 20, "leases"
            )
            started = monotonic()
            with router_process(
                workers, tmp_path / "sidecar", "--redis-url", store.url, "--sidecar"
            ) as sidecar:
                ready_s = monotonic() - started
                wait_until(lambda: metric(sidecar.url, "router_worker_up") == 4, 20, "workers")
                body = {"model": MODEL, "prompt": "shared with all " * 500, "max_tokens": 1}
                first = ask(router.url, "/v1/completions", body)
                again = ask(sidecar.url, "/v1/completions", body)
                assert again.header("x-router-worker") == first.header("x-router-worker")
                assert metric(sidecar.url, "router_shared_leased_workers") == 0
                pages = Path(f"/proc/{sidecar.process.pid}/statm").read_text().split()[1]
                report(
                    f"sidecar: ready after {ready_s:.1f} s, {int(pages) * 4 / 1024:.0f} MB resident"
                )
                router.process.kill()
                wait_until(
                    lambda: metric(sidecar.url, "router_shared_leased_workers") == 4,
                    30,
                    "it looks after the workers, as nobody else does",
                )
                assert ask(sidecar.url, "/v1/completions", body).status == 200


@pytest.mark.timeout(180)
class TestCluster:
    async def test_a_master_dies(self, workers: list[str], tmp_path: Path, report: Report) -> None:
        with cluster("redis", replicas=1) as store:
            running_in = asyncio.to_thread(contextlib.ExitStack)
            with await running_in as stack:
                running = await asyncio.to_thread(
                    stack.enter_context, routers(workers, store.url, tmp_path)
                )
                try:
                    await through(running, lambda: _lose_a_master(store), report, "a master killed")
                finally:
                    await asyncio.to_thread(stack.close)


async def _lose_a_master(store: Cluster) -> None:
    """The one that has the board."""
    with redis.RedisCluster.from_url(store.nodes[0].url) as client:
        node = client.get_node_from_key("pr:1:{board}:rows")
        assert node is not None
        port = node.port
    next(each for each in store.nodes if each.port == port).kill()
    await asyncio.sleep(1.0)
