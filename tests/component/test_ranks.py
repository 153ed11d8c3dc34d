"""A worker of several data-parallel ranks: each has a cache of its own, and requests go where theirs is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import uvicorn

from router.simworker.app import App
from router.simworker.config import WorkerConfig
from router.simworker.worker import Worker as SimulatedWorker
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, Server, chat, eventually
from tests.fakes.client import Response
from tests.fakes.ports import free_ports
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

RANK = "X-data-parallel-rank"
LONG = "What was said before counts, wherever it was said. " * 20


def page(*running: int) -> bytes:
    """A metrics page of ranks that have so much to do."""
    lines = ["process_start_time_seconds 1.0"]
    for rank, count in enumerate(running):
        labels = f'engine="{rank}",model_name="m"'
        lines += [
            f"vllm:num_requests_running{{{labels}}} {count}.0",
            f"vllm:num_requests_waiting{{{labels}}} 0.0",
            f"vllm:kv_cache_usage_perc{{{labels}}} 0.{count}",
            f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="101",{labels}}} 1.0',
        ]
    return "\n".join(lines).encode() + b"\n"


async def ranks_are(router: RunningRouter, count: int) -> None:
    """The router knows of so many, and all are up."""
    await eventually(
        lambda: len(router.workers) == count and all(worker.up for worker in router.workers)
    )


async def slow(request: Request, wire: Wire) -> None:
    await asyncio.sleep(0.1)
    await wire.json({})


def who(answer: Response) -> str:
    name = answer.header("x-router-worker")
    assert answer.status == 200
    assert name is not None
    return name


class TestScripted:
    """Two ranks, whose worker does as it is told."""

    @pytest.fixture
    async def worker(self, start_worker: StartWorker) -> FakeWorker:
        worker = await start_worker()
        worker.metrics = page(0, 0)
        return worker

    @pytest.fixture
    async def router(self, worker: FakeWorker, start_router: StartRouter) -> RunningRouter:
        router = await start_router(worker)
        await ranks_are(router, 2)
        return router

    async def test_the_same_prompt_goes_to_the_same_rank_again(
        self, router: RunningRouter, worker: FakeWorker
    ) -> None:
        worker.script = slow
        prompts = [chat(f"{number} {LONG}") for number in range(12)]
        first = [who(each) for each in await asyncio.gather(*map(router.post, prompts))]
        shares = Counter(first)
        assert set(shares) == {worker.id, f"{worker.id}#1"}
        assert min(shares.values()) >= 3
        assert [who(await router.post(prompt)) for prompt in prompts] == first

    async def test_the_worker_is_told_the_rank(
        self, router: RunningRouter, worker: FakeWorker
    ) -> None:
        for number in range(8):
            name = who(await router.post(chat(f"{number} {LONG}")))
            rank = name.partition("#")[2] or "0"
            assert worker.requests[-1].header(RANK) == rank

    @pytest.mark.parametrize("rank", ["0", "1"])
    async def test_a_client_s_own_rank_is_kept(
        self, rank: str, router: RunningRouter, worker: FakeWorker
    ) -> None:
        name = worker.id if rank == "0" else f"{worker.id}#{rank}"
        for number in range(5):
            assert who(await router.post(chat(str(number)), headers=[(RANK, rank)])) == name
        assert {request.header(RANK) for request in worker.requests} == {rank}

    async def test_both_are_in_the_metrics_and_among_the_workers(
        self, router: RunningRouter, worker: FakeWorker
    ) -> None:
        names = [worker.id, f"{worker.id}#1"]
        for metric in ("router_worker_inflight_requests", "router_worker_up"):
            samples = router.samples(metric)
            assert {dict(labels)["worker"] for labels in samples} == set(names), metric
        shown = (await router.get("/workers")).json()["workers"]
        assert [each["id"] for each in shown] == names
        assert [(each["rank"], each["kv_cache_tokens"]) for each in shown] == [(0, 1600), (1, 1600)]
        assert {each["url"] for each in shown} == {worker.url}

    async def test_what_a_rank_has_to_do_is_told_of_it_alone(
        self, worker: FakeWorker, start_router: StartRouter
    ) -> None:
        worker.metrics = page(7, 2)
        router = await start_router(worker, metrics_interval_s=0.05)
        await ranks_are(router, 2)
        await eventually(lambda: [each.load.reported_running for each in router.workers] == [7, 2])
        assert [each.load.kv_usage for each in router.workers] == [0.7, 0.2]

    async def test_their_number_may_change(self, router: RunningRouter, worker: FakeWorker) -> None:
        worker.metrics = page(0, 0, 0)
        await ranks_are(router, 3)
        worker.metrics = page(0)
        await ranks_are(router, 1)
        await router.post(chat("alone"))
        assert worker.requests[-1].header(RANK) is None
        assert len(router.samples("router_worker_up")) == 1

    async def test_they_keep_while_the_worker_does_not_tell(
        self, router: RunningRouter, worker: FakeWorker
    ) -> None:
        worker.metrics = b""
        asked = len(worker.probes)
        await worker.until(lambda: len(worker.probes) > asked + 6)
        assert len(router.workers) == 2

    async def test_all_are_down_when_the_worker_is(
        self, router: RunningRouter, worker: FakeWorker
    ) -> None:
        await worker.stop()
        await eventually(lambda: not any(each.up for each in router.workers))
        await worker.start()
        await ranks_are(router, 2)

    async def test_when_their_engine_dies_its_requests_go_to_another_server(
        self, start_worker: StartWorker, start_router: StartRouter
    ) -> None:
        """All ranks of one server fail together: there is no use in asking each."""

        async def dead(request: Request, wire: Wire) -> None:
            message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
            await wire.json({"error": {"message": message, "code": 500}}, 500)

        many, other = await start_worker(script=dead), await start_worker(script=slow)
        many.metrics, other.metrics = page(0, 0, 0, 0), page(0)
        router = await start_router(many, other, health_interval_s=5)
        await ranks_are(router, 5)
        answers = await asyncio.gather(*(router.post(chat(f"q{n}")) for n in range(8)))
        assert {who(answer) for answer in answers} == {other.id}
        assert max([(await router.line(n))["attempts"] for n in range(8)]) == 2

    async def test_beside_a_worker_that_has_only_one(
        self, router: RunningRouter, worker: FakeWorker, start_worker: StartWorker
    ) -> None:
        single = await start_worker()
        router.app.fleet.set_workers([worker.url, single.url])
        await ranks_are(router, 3)
        served = {
            who(await router.post(chat(f"{number} {LONG}"), headers=[(RANK, "1")]))
            for number in range(20)
        }
        assert served == {f"{worker.id}#1", single.id}
        assert {request.header(RANK) for request in single.requests} == {"1"}


class TestSimulated:
    """Two ranks that compute, and publish what they hold."""

    @pytest.fixture
    async def simulated(self) -> AsyncIterator[SimulatedWorker]:
        port, events, *_ = free_ports(5)
        simulated = SimulatedWorker.create(
            WorkerConfig(
                models=("m",),
                time_scale=0.2,
                data_parallel_size=2,
                port=port,
                kv_events_port=events,
            )
        )
        app = App(simulated)
        server = Server(
            uvicorn.Config(
                app, port=port, lifespan="off", ws="none", log_config=None, access_log=False
            )
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(simulated.running())
            task = asyncio.get_running_loop().create_task(server.serve())
            await eventually(server.up.is_set)
            yield simulated
            server.stop.set()
            await task

    @pytest.fixture
    async def router(self, simulated: SimulatedWorker, start_router: StartRouter) -> RunningRouter:
        router = await start_router(f"http://127.0.0.1:{simulated.config.port}")
        await ranks_are(router, 2)
        return router

    async def test_what_was_computed_once_is_found_again(
        self, router: RunningRouter, simulated: SimulatedWorker
    ) -> None:
        prompts = [chat(f"{number} {LONG * 5}", max_tokens=1) for number in range(10)]
        first = [who(each) for each in await asyncio.gather(*map(router.post, prompts))]
        assert len(set(first)) == 2
        assert sum(engine.stats.hits for engine in simulated.engines) == 0
        assert [who(await router.post(prompt)) for prompt in prompts] == first
        for engine, name in zip(simulated.engines, router.workers, strict=True):
            assert engine.stats.hits > 0.8 * engine.stats.queries / 2
            assert engine.stats.prompt_tokens > 0
            assert first.count(name.id) > 0

    async def test_each_rank_s_events_are_its_own(
        self, router: RunningRouter, simulated: SimulatedWorker
    ) -> None:
        insight = router.app.insight
        for number, rank in enumerate(("0", "1", "1")):
            await router.post(chat(f"{number} {LONG}", max_tokens=1), headers=[(RANK, rank)])
        held = [engine.pool.cached for engine in simulated.engines]
        assert 0 < held[0] < held[1]
        await eventually(
            lambda: [insight.blocks(each.id)["gpu"] for each in router.workers] == held
        )
        assert [insight.known_by(each.id) for each in router.workers] == ["events"] * 2
