"""Requests that wait in the router: when they go, in which order, and who is told what when they do not."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from typing import Any

import pytest
import uvicorn

from router import app as composition
from router.settings import Settings
from router.telemetry.logs import RequestLog
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.client import Client, Fields, Response, connect
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

TOKEN = {"choices": [{"delta": {"content": "a"}}]}
SOON_S = 0.15
"""Long enough for what should not happen to happen."""


class Prompts:
    """A script for workers: each answer begins when its prompt is told to `go`, and ends when it is told to `end`."""

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Event] = {}
        self.arrived: list[str] = []

    async def __call__(self, request: Request, wire: Wire) -> None:
        name = request.json()["messages"][0]["content"].split()[0]
        self.arrived.append(name)
        await self._until(f"go {name}", wire)
        await wire.stream(sse(TOKEN, done=False), end=False)
        await self._until(f"end {name}", wire)
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end()

    def go(self, *names: str) -> None:
        """Their first tokens come."""
        for name in names:
            self._turn(f"go {name}").set()

    def finish(self, *names: str) -> None:
        """Their answers come whole."""
        self.go(*names)
        for name in names:
            self._turn(f"end {name}").set()

    def _turn(self, what: str) -> asyncio.Event:
        return self._turns.setdefault(what, asyncio.Event())

    async def _until(self, what: str, wire: Wire) -> None:
        """It is told so, or the router closed the connection."""
        turn = asyncio.ensure_future(self._turn(what).wait())
        closed = asyncio.ensure_future(wire.closed.wait())
        try:
            await asyncio.wait({turn, closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            turn.cancel()
            closed.cancel()


Ask = Callable[..., Awaitable[Client]]


@pytest.fixture
def prompts() -> Prompts:
    return Prompts()


@pytest.fixture
async def hall(
    prompts: Prompts, start_worker: StartWorker, start_router: StartRouter
) -> Callable[..., Awaitable[tuple[RunningRouter, list[FakeWorker]]]]:
    """Workers that take one prefill at a time, and a router before them."""

    async def start(count: int = 1, **settings: Any) -> tuple[RunningRouter, list[FakeWorker]]:
        workers = [await start_worker(script=prompts) for _ in range(count)]
        return await start_router(*workers, **{"room_tokens": 1, **settings}), workers

    return start


@pytest.fixture
async def asking(stack: Any) -> Callable[[RunningRouter], Ask]:
    """Sends prompts, each on a connection of its own."""

    def at(router: RunningRouter) -> Ask:
        async def ask(
            name: str, headers: Fields = (), *, target: str = CHAT, **body: Any
        ) -> Client:
            client = await stack.enter_async_context(router.connect())
            text = f"{name} " * 50
            await client.post(target, chat(text, stream=True, **body), headers)
            return client

        return ask

    return at


Hall = Callable[..., Awaitable[tuple[RunningRouter, list[FakeWorker]]]]
Asking = Callable[[RunningRouter], Ask]


def waiting(router: RunningRouter) -> float:
    return router.total("router_queue_depth")


async def wait_for(router: RunningRouter, count: int) -> None:
    """So many wait."""
    await eventually(lambda: waiting(router) == count)


def error_in(answer: Response) -> Any:
    return answer.json()["error"]


class TestGoing:
    async def test_it_goes_with_the_first_token_of_the_one_before(
        self, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        router, _ = await hall()
        ask = asking(router)
        await ask("p")
        await eventually(lambda: prompts.arrived == ["p"])
        second = await ask("q")
        await wait_for(router, 1)
        await asyncio.sleep(SOON_S)
        assert prompts.arrived == ["p"]
        prompts.go("p")
        await eventually(lambda: prompts.arrived == ["p", "q"])
        assert waiting(router) == 0
        prompts.finish("p", "q")
        answer = await second.response()
        assert answer.status == 200
        lines = {line["queue_ms"] > 0 for line in [await router.line(0), await router.line(1)]}
        assert lines == {False, True}
        assert router.total("router_queue_wait_seconds_count") == 1
        assert router.total("router_queue_wait_seconds_sum") >= SOON_S

    async def test_time_alone_makes_room(
        self, start_worker: StartWorker, start_router: StartRouter
    ) -> None:
        """Answers that do not stream show no first token."""

        async def slow(request: Request, wire: Wire) -> None:
            await asyncio.sleep(0.5)
            await wire.json({})

        worker = await start_worker(script=slow)
        router = await start_router(worker, room_tokens=1)
        answers = await asyncio.gather(*(router.post(chat(f"{n} " * 2000)) for n in range(3)))
        assert [answer.status for answer in answers] == [200] * 3
        first, *_, last = sorted(request.arrived_at for request in worker.requests)
        assert last - first < 0.5, "nobody waited for an answer to end"

    async def test_the_urgent_before_the_others(
        self, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        router, _ = await hall()
        ask = asking(router)
        await ask("p")
        await eventually(lambda: prompts.arrived == ["p"])
        await ask("idle", [("X-Vllm-Priority", "5")])
        await ask("usual")
        await ask("body", priority=-1)
        await ask("header", [("X-Vllm-Priority", "-2")], priority=9)
        await wait_for(router, 4)
        prompts.finish("p", "idle", "usual", "body", "header")
        await eventually(lambda: len(prompts.arrived) == 5)
        assert prompts.arrived == ["p", "header", "body", "usual", "idle"]

    @pytest.mark.parametrize("by", ["X-Tenant-Id", "Authorization"])
    async def test_tenants_in_turn(
        self, by: str, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        """Who sends much does not hold up who sends little."""
        router, _ = await hall()
        ask = asking(router)
        await ask("p")
        await eventually(lambda: prompts.arrived == ["p"])
        for n in range(6):
            await ask(f"many{n}", [(by, "Bearer big")])
        await wait_for(router, 6)
        for n in range(2):
            await ask(f"few{n}", [(by, "Bearer small")])
        await wait_for(router, 8)
        names = [*(f"many{n}" for n in range(6)), "few0", "few1"]
        prompts.finish("p", *names)
        await eventually(lambda: len(prompts.arrived) == 9)
        assert {name for name in prompts.arrived[1:6] if name.startswith("few")} == {"few0", "few1"}

    async def test_pinned_requests_and_those_without_work_do_not_wait(
        self, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        router, (worker,) = await hall()
        ask = asking(router)
        await ask("p")
        await eventually(lambda: prompts.arrived == ["p"])
        await ask("pinned", [("X-Router-Worker", worker.id)])
        await ask("counted", target="/tokenize")
        await eventually(lambda: sorted(prompts.arrived) == ["counted", "p", "pinned"])
        prompts.finish("p", "pinned", "counted")


class TestNotGoing:
    async def test_a_client_that_leaves_frees_its_place(
        self, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        router, (worker,) = await hall(queue_limit=1)
        ask = asking(router)
        await ask("p")
        await eventually(lambda: prompts.arrived == ["p"])
        leaving = await ask("leaving")
        await wait_for(router, 1)
        await leaving.leave()
        await wait_for(router, 0)
        await eventually(lambda: router.total("router_requests_total", outcome="cancelled") == 1)
        line = await router.line()
        assert (line["status"], line["outcome"], line["worker"]) == (499, "cancelled", None)
        assert line["queue_ms"] > 0
        assert line["attempts"] == 0
        await ask("next")
        await wait_for(router, 1)
        prompts.finish("p", "next")
        await eventually(lambda: prompts.arrived == ["p", "next"])
        assert len(worker.requests) == 2

    async def test_too_many_wait(self, hall: Hall, asking: Asking, prompts: Prompts) -> None:
        router, _ = await hall(queue_limit=2)
        ask = asking(router)
        for name in ("p", "q", "r"):
            await ask(name)
        await wait_for(router, 2)
        answer = await router.post(chat("one too many", stream=True))
        assert (answer.status, answer.header("content-type")) == (503, "application/json")
        assert int(answer.header("retry-after") or 0) >= 1
        assert answer.header("x-request-id")
        error = error_in(answer)
        assert (error["type"], error["code"], error["param"]) == (
            "server_error",
            "queue_full",
            None,
        )
        assert "2 requests wait" in error["message"]
        assert router.total("router_rejected_total", reason="queue_full") == 1
        assert router.total("router_requests_total", outcome="router_error") == 1
        prompts.finish("p", "q", "r")
        await eventually(lambda: len(prompts.arrived) == 3)

    async def test_the_error_is_that_of_the_client_s_api(
        self, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        router, _ = await hall(queue_limit=0)
        await asking(router)("p")
        await eventually(lambda: prompts.arrived == ["p"])
        answer = await router.post(chat("q"), "/v1/messages")
        assert answer.status == 503
        assert answer.json()["error"]["type"] == "overloaded_error"
        prompts.finish("p")

    async def test_it_waits_too_long(self, hall: Hall, asking: Asking, prompts: Prompts) -> None:
        router, _ = await hall(queue_timeout_s=0.2)
        ask = asking(router)
        await ask("p")
        await eventually(lambda: prompts.arrived == ["p"])
        answer = await (await ask("q")).response()
        assert answer.status == 503
        assert int(answer.header("retry-after") or 0) >= 1
        assert error_in(answer)["code"] == "queue_timeout"
        assert router.total("router_rejected_total", reason="queue_timeout") == 1
        assert waiting(router) == 0
        assert prompts.arrived == ["p"]
        assert (await router.line())["queue_ms"] >= 200
        prompts.finish("p")

    @pytest.mark.parametrize("how", ["stop", "drop"])
    async def test_a_worker_dies_while_others_wait(
        self, how: str, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        """Who waits goes to those that are left, and so does who was sent and cannot have been begun with."""
        router, workers = await hall(2)
        ask = asking(router)
        names = ["p", "q", "r", "s", "t"]
        clients = [await ask(name) for name in names]
        await eventually(lambda: len(prompts.arrived) == 2)
        await wait_for(router, 3)
        await (workers[0].stop() if how == "stop" else workers[0].drop())
        prompts.finish(*names)
        answers = [await client.response() for client in clients]
        assert [answer.status for answer in answers] == [200] * 5
        assert waiting(router) == 0
        if how == "stop":
            assert len(workers[1].requests) == 5

    async def test_nobody_serves_the_model_any_more(
        self, hall: Hall, asking: Asking, prompts: Prompts
    ) -> None:
        router, _ = await hall()
        ask = asking(router)
        await ask("p")
        waiter = await ask("q")
        await wait_for(router, 1)
        router.app.fleet.set_workers([])
        answer = await waiter.response()
        assert (answer.status, error_in(answer)["code"]) == (503, "no_worker_available")
        prompts.finish("p")
        router.app.fleet.set_workers([])


class TestForeignTraffic:
    """Other senders' requests are only known from the worker's metrics."""

    @staticmethod
    def metrics(running: int, requests_waiting: int, usage: float = 0.0) -> bytes:
        label = '{engine="0",model_name="m"}'
        return (
            f"vllm:num_requests_running{label} {running}.0\n"
            f"vllm:num_requests_waiting{label} {requests_waiting}.0\n"
            f"vllm:kv_cache_usage_perc{label} {usage}\n"
        ).encode()

    @pytest.mark.parametrize(
        ("running", "requests_waiting"), [(4, 0), (1, 900)], ids=["batch full", "prefills wait"]
    )
    async def test_holds_back(
        self, running: int, requests_waiting: int, prompts: Prompts, hall: Hall, asking: Asking
    ) -> None:
        router, (worker,) = await hall(max_inflight=4, metrics_interval_s=0.2)
        worker.metrics = self.metrics(running, requests_waiting)
        await eventually(lambda: router.workers[0].load.foreign == running + requests_waiting)
        client = await asking(router)("p")
        await wait_for(router, 1)
        await asyncio.sleep(SOON_S)
        assert prompts.arrived == []
        shown = (await router.get("/workers")).json()["workers"][0]
        assert (shown["requests_running"], shown["requests_waiting"]) == (running, requests_waiting)
        assert (shown["inflight"], shown["room"]) == (0, False)
        worker.metrics = self.metrics(0, 0)
        await eventually(lambda: prompts.arrived == ["p"])
        prompts.finish("p")
        assert (await client.response()).status == 200

    async def test_turns_to_the_worker_that_others_spare(
        self, prompts: Prompts, hall: Hall, asking: Asking
    ) -> None:
        router, workers = await hall(2, metrics_interval_s=0.2, room_tokens=10**6)
        workers[0].metrics = self.metrics(8, 40)
        workers[1].metrics = self.metrics(0, 0)
        await eventually(lambda: [w.load.foreign for w in router.workers] == [48, 0])
        ask = asking(router)
        names = [f"n{n}" for n in range(6)]
        clients = [await ask(name) for name in names]
        await eventually(lambda: len(prompts.arrived) == 6)
        assert len(workers[1].requests) == 6
        prompts.finish(*names)
        for client in clients:
            assert (await client.response()).status == 200

    async def test_a_worker_that_tells_nothing_any_more_is_taken_as_ours_alone(
        self, prompts: Prompts, hall: Hall, asking: Asking
    ) -> None:
        router, (worker,) = await hall(max_inflight=4, metrics_interval_s=0.2)
        worker.metrics = self.metrics(4, 0)
        await eventually(lambda: router.workers[0].load.foreign == 4)
        client = await asking(router)("p")
        await wait_for(router, 1)
        worker.metrics = b""
        await eventually(lambda: prompts.arrived == ["p"])
        prompts.finish("p")
        assert (await client.response()).status == 200


class TestShutdown:
    """The real server's own: first it waits for answers, then it ends."""

    @pytest.fixture
    async def stopping(
        self, prompts: Prompts, start_worker: StartWorker
    ) -> AsyncIterator[tuple[uvicorn.Server, Client, Client]]:
        """A server, whose worker is busy with `p` while `q` waits; it is being stopped."""
        worker = await start_worker(script=prompts)
        settings = Settings(workers=[worker.url], room_tokens=1, shutdown_timeout_s=1)
        app = composition.build(settings, RequestLog(BytesIO(), json=True))
        server = uvicorn.Server(composition.server_config(app))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            running = asyncio.ensure_future(composition.run(app, server, [listening]))
            await eventually(lambda: server.started, 15.0)
            async with connect("127.0.0.1", port) as busy, connect("127.0.0.1", port) as queued:
                await busy.post(CHAT, chat("p " * 50, stream=True))
                await eventually(lambda: prompts.arrived == ["p"])
                await queued.post(CHAT, chat("q " * 50, stream=True))
                await eventually(lambda: len(app.dispatch) == 1)
                server.should_exit = True
                yield server, busy, queued
            await asyncio.wait_for(running, 15.0)
        logging.getLogger("uvicorn").handlers.clear()

    async def test_who_waits_is_told(
        self, stopping: tuple[uvicorn.Server, Client, Client], prompts: Prompts
    ) -> None:
        *_, queued = stopping
        answer = await queued.response()
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert error_in(answer)["code"] == "router_shutting_down"
        assert prompts.arrived == ["p"]

    async def test_who_comes_to_its_turn_in_time_is_served(
        self, stopping: tuple[uvicorn.Server, Client, Client], prompts: Prompts
    ) -> None:
        _, busy, queued = stopping
        prompts.finish("p", "q")
        assert [(await client.response()).status for client in (busy, queued)] == [200, 200]
