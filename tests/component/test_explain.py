"""Explaining: before a request is sent, and in its answer's header fields."""

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner

from router.app import server_config
from router.cli import cli
from router.routing.registry import POLICIES
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, asgi_config, chat, eventually
from tests.fakes.client import Response
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

TEXT = "lorem ipsum " * 400
EXPLAINED = {
    "x-router-policy",
    "x-router-reason",
    "x-router-cached-tokens",
    "x-router-predicted-ttft-ms",
    "x-router-queue-ms",
}


def seen(router: RunningRouter) -> Any:
    """Everything that counting and routing have to go by."""
    return (
        router.samples("router_index_blocks"),
        router.samples("router_index_lookup_seconds_count"),
        router.samples("router_requests_total"),
        router.samples("router_worker_inflight_requests"),
        router.samples("router_degraded_total"),
        router.lines(),
    )


class TestBeforehand:
    @pytest.mark.parametrize("policy", POLICIES)
    async def test_nothing_is_sent_and_nothing_changes(
        self, policy: str, start_worker: StartWorker, start_router: StartRouter
    ) -> None:
        workers = [await start_worker() for _ in range(3)]
        router = await start_router(*workers, policy=policy)
        await router.post(chat(TEXT))
        await router.line()
        before = seen(router)
        explanations = [await router.post(chat(TEXT), "/explain") for _ in range(3)]
        assert [answer.status for answer in explanations] == [200] * 3
        assert all(answer.json()["policy"] == policy for answer in explanations)
        assert seen(router) == before
        assert sum(len(worker.requests) for worker in workers) == 1

    async def test_it_is_what_happens_then(
        self, start_worker: StartWorker, start_router: StartRouter
    ) -> None:
        workers = [await start_worker() for _ in range(3)]
        router = await start_router(*workers)
        first = (await router.post(chat(TEXT))).header("x-router-worker")
        longer = chat(TEXT + "and more")
        explanation = (await router.post(longer, "/explain")).json()
        assert (explanation["outcome"], explanation["worker"]) == ("sent", first)
        best = explanation["workers"][0]
        assert best["id"] == first
        assert 0.9 * explanation["prompt"]["tokens"] < best["cached_tokens"]
        answer = await router.post(longer, headers=[("X-Router-Explain", "1")])
        assert answer.header("x-router-worker") == first
        assert answer.header("x-router-reason") == best["reason"] == "cached"
        assert answer.header("x-router-cached-tokens") == str(best["cached_tokens"])

    async def test_a_busy_fleet(self, worker: FakeWorker, start_router: StartRouter) -> None:
        async def hang(request: Request, wire: Wire) -> None:
            await wire.hang()

        worker.script = hang
        router = await start_router(worker, room_tokens=1)
        async with router.connect() as client:
            await client.post(CHAT, chat(TEXT, stream=True))
            await worker.received_count(1)
            explanation = (await router.post(chat("q"), "/explain")).json()
            assert (explanation["outcome"], explanation["waits"]) == ("waits", "prefill_pending")
            shown = explanation["workers"][0]
            assert (shown["room"], shown["lacks"]) == (False, "prefill_pending")
            assert shown["inflight"] == 1
            assert shown["waiting_ms"] > 0
        await eventually(lambda: router.inflight == 0)

    async def test_a_worker_that_is_down_is_left_out(
        self, start_worker: StartWorker, start_router: StartRouter
    ) -> None:
        workers = [await start_worker() for _ in range(2)]
        router = await start_router(*workers)
        await workers[1].stop()
        await eventually(lambda: not router.workers[1].up)
        explanation = (await router.post(chat("q"), "/explain")).json()
        assert explanation["excluded"] == [{"id": workers[1].id, "why": "down"}]

    @pytest.mark.parametrize("target", ["/explain", "/explain/", "//explain"])
    @pytest.mark.parametrize("allow", ["/*", "*"])
    async def test_its_path_is_the_router_s_whatever_is_allowed(
        self, target: str, allow: str, worker: FakeWorker, start_router: StartRouter
    ) -> None:
        router = await start_router(worker, allow_paths=[allow])
        assert (await router.post(chat("q"), target)).json()["worker"] == worker.id
        assert worker.requests == []

    async def test_errors(self, router: RunningRouter) -> None:
        unknown = await router.post({"model": "nope", "messages": []}, "/explain")
        assert (unknown.status, unknown.json()["error"]["code"]) == (404, "model_not_found")
        large = await router.post(b"[]", "/explain")
        assert (large.status, large.json()["error"]["code"]) == (400, "unknown_request")

    async def test_the_command_asks_for_it(self, worker: FakeWorker, router: RunningRouter) -> None:
        def run(*arguments: str) -> Any:
            return CliRunner().invoke(cli, ["explain", "--router", router.url, *arguments])

        shown = await asyncio.to_thread(run, "Hello")
        assert shown.exit_code == 0, shown.output
        assert shown.output.startswith(f"It would go to {worker.id} (")
        figures = await asyncio.to_thread(run, "--json", "Hello")
        assert json.loads(figures.output)["model"] == "m"
        wrong = await asyncio.to_thread(run, "--model", "nope", "Hello")
        assert (wrong.exit_code, wrong.stdout) == (1, "")
        assert "`nope` does not exist" in wrong.stderr
        assert worker.requests == []


def fields(answer: Response) -> set[str]:
    return {name.lower() for name, _ in answer.headers}


class TestInAnswers:
    @pytest.mark.parametrize("configure", [server_config, asgi_config])
    async def test_only_when_asked(
        self, configure: Any, worker: FakeWorker, start_router: StartRouter
    ) -> None:
        router = await start_router(worker, configure=configure)
        plain = await router.post(chat(TEXT))
        assert not fields(plain) & EXPLAINED
        asked = await router.post(chat(TEXT), headers=[("X-Router-Explain", "1")])
        assert fields(asked) - fields(plain) == EXPLAINED
        assert asked.header("x-router-policy") == "prefix"
        assert float(asked.header("x-router-predicted-ttft-ms") or 0) > 0
        assert float(asked.header("x-router-queue-ms") or 1) < 1

    async def test_the_worker_gets_the_same_request(
        self, worker: FakeWorker, router: RunningRouter
    ) -> None:
        same = [("X-Request-Id", "same")]
        await router.post(chat(TEXT), headers=same)
        await router.post(chat(TEXT), headers=[*same, ("X-Router-Explain", "1")])
        plain, asked = worker.requests
        assert (asked.headers, asked.body) == (plain.headers, plain.body)

    async def test_a_worker_s_own_such_fields_do_not_come_twice(
        self, worker: FakeWorker, router: RunningRouter
    ) -> None:
        async def pretends(request: Request, wire: Wire) -> None:
            await wire.json({}, headers=[("X-Router-Reason", "me"), ("X-Router-Worker", "me")])

        worker.script = pretends
        answer = await router.post(chat("q"), headers=[("X-Router-Explain", "1")])
        assert answer.header("x-router-worker") == worker.id
        assert answer.header("x-router-reason") == "least_wait"
