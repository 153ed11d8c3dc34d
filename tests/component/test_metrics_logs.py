"""What operators see: counts that add up, bounded labels, one log line per request, ids that travel."""

import asyncio
import re

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.client import request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KEYS = {
    "ts", "event", "request_id", "tenant", "model", "endpoint", "worker", "policy", "reason", "status", "outcome",
    "error", "prompt_tokens", "completion_tokens", "predicted_cached_tokens", "cached_tokens", "queue_ms",
    "ttft_ms", "duration_ms", "attempts", "resumed", "trace_id",
}  # fmt: skip


def delta(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


async def _stream(request: Request, wire: Wire) -> None:
    role = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    usage = {
        "choices": [],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
    }
    await asyncio.sleep(0.01)
    await wire.stream([role, *sse(*(delta(str(n)) for n in range(4)), usage)], delay_s=0.005)


async def test_latency_counts(worker: FakeWorker, router: RunningRouter) -> None:
    """Time to first token once per stream, a gap between any two tokens; the opening chunk is no token."""
    worker.script = _stream
    for _ in range(10):
        assert (await router.post(chat(stream=True))).complete
    labels = {"model": "m", "endpoint": "chat_completions"}
    assert router.total("router_time_to_first_token_seconds_count", **labels) == 10
    gaps = router.total("router_inter_token_latency_seconds_count", **labels)
    assert 30 <= gaps <= 50
    assert router.total("router_time_per_output_token_seconds_count", **labels) == 10
    assert router.total("router_request_duration_seconds_count", **labels) == 10
    assert router.total("router_requests_total", **labels, outcome="ok") == 10
    assert router.total("router_prompt_tokens_total", **labels) == 1000
    assert router.total("router_cached_tokens_total", kind="actual") == 640
    mean = router.total("router_time_to_first_token_seconds_sum", **labels) / 10
    assert 0.01 <= mean < 0.5


async def test_answers_that_do_not_stream(router: RunningRouter) -> None:
    """They have a duration and no first token."""
    await router.post(chat())
    assert router.total("router_request_duration_seconds_count") == 1
    assert router.total("router_time_to_first_token_seconds_count") == 0
    assert (await router.line())["ttft_ms"] is None


async def test_comments_are_no_tokens(worker: FakeWorker, router: RunningRouter) -> None:
    """Keep-alive comments must not pass for the first token."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(
            [b": keep-alive\n\n", b": keep-alive\n\n", *sse(delta("a"))], delay_s=0.05
        )

    worker.script = script
    await router.post(chat(stream=True))
    ttft = (await router.line())["ttft_ms"]
    assert ttft is not None
    assert ttft >= 95


async def test_model_names_of_clients_are_no_labels(router: RunningRouter) -> None:
    """Names that clients make up would be series without end."""
    async with router.connect() as client:
        await client.call(CHAT, chat() | {"model": "nope"})
        before = _series(router)
        for n in range(500):
            assert (await client.call(CHAT, chat() | {"model": f"x{n}"})).status == 404
    assert _series(router) == before
    assert router.total("router_requests_total", model="unknown") == 501


async def test_paths_and_methods_of_clients_are_no_labels(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, allow_paths=["/own/*"])
    async with router.connect() as client:
        await client.call("/own/first", chat())
        await client.call("/v1/responses/resp_0", {})
        before = _series(router)
        for n in range(50):
            await client.call(f"/own/{n}", chat())
            await client.call(f"/v1/responses/resp_{n}", {})
    assert _series(router) == before


def _series(router: RunningRouter) -> int:
    router.app.reporter.settle()
    return router.app.metrics.exposition().count(b"\n")


async def test_removed_worker_s_series_go(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    leaving, staying = await start_worker(), await start_worker()
    router = await start_router(leaving, staying)
    for _ in range(4):
        await router.post(chat("x" * 5000))
    assert leaving.id in router.app.metrics.exposition().decode()
    router.app.fleet.set_workers([staying.url])
    page = router.app.metrics.exposition().decode()
    assert leaving.id not in page
    assert staying.id in page


async def test_page(router: RunningRouter) -> None:
    await router.post(chat())
    response = await router.get("/metrics")
    assert (response.header("content-type") or "").startswith("text/plain; version=0.0.4")
    page = response.body.decode()
    assert 'router_worker_up{worker="' in page
    names = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    assert len(names) == len(set(names))
    assert all(name.startswith(("router_", "process_")) for name in names)


async def test_inflight_gauge(worker: FakeWorker, router: RunningRouter) -> None:
    release = asyncio.Event()

    async def waits(request: Request, wire: Wire) -> None:
        await release.wait()
        await wire.json({})

    worker.script = waits
    async with router.connect() as client:
        await client.post(CHAT, chat())
        await worker.received_count(1)
        assert router.total("router_worker_inflight_requests", worker=worker.id) == 1
        release.set()
        await client.response()
    assert router.total("router_worker_inflight_requests", worker=worker.id) == 0


async def test_log_line(worker: FakeWorker, router: RunningRouter) -> None:
    worker.script = _stream
    await router.post(chat(stream=True), headers=[("X-Request-Id", "abc")])
    line = await router.line()
    assert set(line) == KEYS
    assert line["event"] == "request"
    assert line["request_id"] == "abc"
    assert line["worker"] == worker.id
    assert (line["model"], line["endpoint"]) == ("m", "chat_completions")
    assert (line["policy"], line["reason"]) == ("prefix", "least_wait")
    assert (line["status"], line["outcome"], line["error"]) == (200, "ok", None)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (100, 4)
    assert (line["cached_tokens"], line["attempts"], line["queue_ms"]) == (64, 1, 0.0)
    assert 10 <= line["ttft_ms"] < line["duration_ms"]


@pytest.mark.parametrize(
    ("target", "usage", "expected"),
    [
        (CHAT, {"prompt_tokens": 9, "completion_tokens": 2}, (9, 2, None)),
        (
            "/v1/messages",
            {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 4},
            (5, 2, 4),
        ),
        (
            "/v1/responses",
            {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 8}, "output_tokens": 1},
            (9, 1, 8),
        ),
        ("/v1/embeddings", {"prompt_tokens": 3, "total_tokens": 3}, (3, None, None)),
    ],
)
async def test_usage_of_every_family(
    target: str,
    usage: dict[str, object],
    expected: tuple[object, ...],
    worker: FakeWorker,
    router: RunningRouter,
) -> None:
    async def script(request: Request, wire: Wire) -> None:
        await wire.json(
            {"id": "x", "usage": usage, "choices": [{"text": '"usage": {"prompt_tokens": 1}'}]}
        )

    worker.script = script
    await router.post({"model": "m"}, target)
    line = await router.line()
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == expected


async def test_one_line_per_request(worker: FakeWorker, router: RunningRouter) -> None:
    """Whatever became of it, and none for what is not inference."""
    async with router.connect() as client:
        await client.call(CHAT, chat())
        await client.call(CHAT, chat() | {"model": "nope"})
        await client.call("/v1/embeddings", {"model": "m"})
        await client.send(request("GET", "/health") + request("GET", "/metrics"))
        await client.response()
        await client.response()
    await eventually(lambda: len(router.lines()) == 3)
    assert [line["outcome"] for line in router.lines()] == ["ok", "client_error", "ok"]


async def test_lines_cannot_be_forged(worker: FakeWorker, router: RunningRouter) -> None:
    """What clients send stays inside its JSON string."""
    body = b'{"model": "m\\n{\\"event\\": \\"request\\"}", "messages": []}'
    await router.post(body, headers=[("X-Request-Id", 'a"b\\c\xe9')])
    (line,) = router.lines()
    assert line["request_id"] == 'a"b\\c\xe9'


async def test_request_id(worker: FakeWorker, router: RunningRouter) -> None:
    """The client's, or one made here: told to the worker, the client and the log."""
    given = await router.post(chat(), headers=[("X-Request-Id", "mine-1")])
    made = [await router.post(chat()) for _ in range(2)]
    assert given.header("x-request-id") == "mine-1"
    ids = [response.header("x-request-id") for response in (given, *made)]
    assert len(set(ids)) == 3
    assert all(ids)
    assert [sent.header("x-request-id") for sent in worker.requests] == ids
    assert [line["request_id"] for line in router.lines()] == ids


async def test_request_id_of_errors(worker: FakeWorker, router: RunningRouter) -> None:
    response = await router.post(chat() | {"model": "nope"}, headers=[("X-Request-Id", "mine")])
    assert response.header("x-request-id") == "mine"
    assert (await router.line())["request_id"] == "mine"


async def test_trace_context_passes(worker: FakeWorker, router: RunningRouter) -> None:
    """The worker's spans belong to the client's trace."""
    fields = [("traceparent", TRACE), ("tracestate", "a=1"), ("baggage", "k=v")]
    await router.post(chat(), headers=fields)
    for name, value in fields:
        assert worker.requests[0].header(name) == value
