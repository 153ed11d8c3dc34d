"""Requests as spans: a real exporter, a collector that keeps what it gets, and what workers are told of the trace."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, chat, eventually
from tests.component.test_resume import Pair
from tests.fakes.client import Fields
from tests.fakes.collector import Collected, FakeCollector
from tests.fakes.wire import Request, Script, Wire
from tests.fakes.worker import FakeWorker, sse
from tests.unit.proxy.streams import Answer

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 3,
    "total_tokens": 53,
    "prompt_tokens_details": {"cached_tokens": 32},
}
WHOLE = {
    "id": "chatcmpl-1",
    "model": "m-2026",
    "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
TOKEN = {"id": "chatcmpl-1", "model": "m", "choices": [{"delta": {"content": "a"}}]}
LAST = {"id": "chatcmpl-1", "choices": [{"delta": {}, "finish_reason": "length"}], "usage": USAGE}


@pytest.fixture
async def collector() -> AsyncIterator[FakeCollector]:
    async with FakeCollector() as collector:
        yield collector


def answers(value: Any = WHOLE, status: int = 200) -> Script:
    async def script(request: Request, wire: Wire) -> None:
        await wire.json(value, status=status)

    return script


async def streams(request: Request, wire: Wire) -> None:
    await wire.stream(sse(TOKEN, TOKEN, LAST), delay_s=0.01)


async def spans_of(router: RunningRouter, collector: FakeCollector, count: int) -> list[Collected]:
    """The spans of the only trace, when they are there, by their beginnings."""
    router.lines()
    await eventually(lambda: len(collector.spans) >= count)
    assert len(collector.spans) == count
    (trace,) = {span.trace for span in collector.spans}
    found = collector.of(trace)
    for span in found[1:]:
        assert span.parent == found[0].id
        assert found[0].start <= span.start <= span.end <= found[0].end
    assert len({span.id for span in found}) == count
    return found


def told(request: Request) -> tuple[str, str, str]:
    """Trace, parent and flags that a worker was told."""
    _, trace, parent, flags = (request.header("traceparent") or "").split("-")
    return trace, parent, flags


async def test_a_request_and_its_attempt(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    worker = await start_worker(script=answers())
    router = await start_router(worker, otlp_endpoint=collector.url)
    await router.post(chat(), headers=[("User-Agent", "mine/1"), ("X-Request-Id", "r-1")])
    request, attempt = await spans_of(router, collector, 2)
    assert (request.name, request.kind, request.parent) == (
        "POST /v1/chat/completions",
        "server",
        "",
    )
    ours = {k: v for k, v in request.attributes.items() if k != "router.queue_ms"}
    assert ours == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "user_agent.original": "mine/1",
        "server.address": "router",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-2026",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 32,
        "router.request_id": "r-1",
        "router.worker": worker.id,
        "router.policy": "prefix",
        "router.reason": attempt.attributes["router.reason"],
        "router.outcome": "ok",
        "router.predicted_cached_tokens": 0,
        "router.cached_tokens": 32,
        "router.attempts": 1,
        "router.resumed": 0,
    }
    assert (attempt.name, attempt.kind) == ("POST /v1/chat/completions", "client")
    assert attempt.attributes["server.address"] == "127.0.0.1"
    assert attempt.attributes["server.port"] == worker.port
    assert attempt.attributes["router.worker"] == worker.id
    assert attempt.attributes["http.response.status_code"] == 200
    assert attempt.start <= attempt.events["sent"] <= attempt.end
    assert not request.failed
    assert not attempt.failed
    assert told(worker.requests[0]) == (request.trace, attempt.id, "01")
    assert (await router.line())["trace_id"] == request.trace


async def test_who_sends_them(
    start_worker: StartWorker,
    start_router: StartRouter,
    collector: FakeCollector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    router = await start_router(
        await start_worker(script=answers()), otlp_endpoint=f"{collector.url}/v1/traces/"
    )
    await router.post(chat())
    span, _ = await spans_of(router, collector, 2)
    assert span.scope == "prefix-router"
    assert span.resource["service.name"] == "prefix-router"
    assert span.resource["service.version"]
    assert span.resource["service.instance.id"]
    assert span.resource["deployment.environment.name"] == "test"


async def test_a_client_s_trace_goes_on(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    """Of its fields only the parent's id differs at the worker."""
    worker = await start_worker()
    router = await start_router(worker, otlp_endpoint=collector.url, trace_sample=0.0)
    given: Fields = [
        ("X-A", "1"),
        ("Traceparent", GIVEN),
        ("tracestate", "v=1"),
        ("tracestate", "w=2"),
        ("x-b", "2"),
    ]
    await router.post(chat(), headers=given)
    request, attempt = await spans_of(router, collector, 2)
    assert (request.trace, request.parent, request.state) == (TRACE, PARENT, "v=1,w=2")
    names = {name.lower() for name, _ in given}
    received = [(k, v) for k, v in worker.requests[0].headers if k.lower() in names]
    assert received == [
        ("x-a", "1"),
        ("traceparent", f"00-{TRACE}-{attempt.id}-01"),
        ("tracestate", "v=1"),
        ("tracestate", "w=2"),
        ("x-b", "2"),
    ]


@pytest.mark.parametrize(
    "given",
    [
        [("traceparent", "00-nonsense")],
        [("traceparent", f"00-{'0' * 32}-{PARENT}-01")],
        [("traceparent", GIVEN), ("traceparent", GIVEN)],
    ],
)
async def test_an_invalid_parent_is_none(
    given: Fields, start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    worker = await start_worker()
    router = await start_router(worker, otlp_endpoint=collector.url)
    await router.post(chat(), headers=[*given, ("tracestate", "v=1")])
    request, attempt = await spans_of(router, collector, 2)
    assert request.trace != TRACE
    assert request.parent == ""
    assert told(worker.requests[0]) == (request.trace, attempt.id, "01")
    assert worker.requests[0].header("tracestate") is None


async def test_an_unsampled_parent_passes_as_it_came(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    worker = await start_worker()
    router = await start_router(worker, otlp_endpoint=collector.url)
    await router.post(chat(), headers=[("traceparent", UNSAMPLED)])
    await router.post(chat(), headers=[("traceparent", GIVEN)])
    request, _ = await spans_of(router, collector, 2)
    assert request.attributes["router.request_id"] == router.lines()[1]["request_id"]
    assert worker.requests[0].header("traceparent") == UNSAMPLED
    assert router.lines()[0]["trace_id"] == TRACE


async def test_a_trace_that_is_not_sampled_is_not_sampled_below_either(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    worker = await start_worker()
    router = await start_router(worker, otlp_endpoint=collector.url, trace_sample=0.0)
    await router.post(chat())
    await router.post(chat(), headers=[("traceparent", GIVEN)])
    await spans_of(router, collector, 2)
    trace, _, flags = told(worker.requests[0])
    assert (trace, flags) == (router.lines()[0]["trace_id"], "00")


async def test_without_a_collector_nothing_is_touched(
    worker: FakeWorker, router: RunningRouter
) -> None:
    await router.post(chat(), headers=[("traceparent", "nonsense"), ("tracestate", "v=1")])
    await router.post(chat(), headers=[("traceparent", GIVEN)])
    await router.post(chat())
    first, second, third = worker.requests
    assert (first.header("traceparent"), first.header("tracestate")) == ("nonsense", "v=1")
    assert second.header("traceparent") == GIVEN
    assert third.header("traceparent") is None
    assert [line["trace_id"] for line in router.lines()] == [None, TRACE, None]


async def test_a_refused_request_has_two_attempts(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    first, second = (
        await start_worker(script=answers({}, 503)),
        await start_worker(script=answers()),
    )
    router = await start_router(
        first, second, policy="round_robin", retry_budget=1.0, otlp_endpoint=collector.url
    )
    router.workers[0].budget.earn(1.0)
    await router.post(chat())
    request, one, two = await spans_of(router, collector, 3)
    assert (request.failed, request.attributes["router.attempts"]) == (False, 2)
    assert (one.failed, one.message, one.attributes["http.response.status_code"]) == (
        True,
        "refused",
        503,
    )
    assert one.end <= two.start
    assert two.attributes["router.retry_reason"] == "refused"
    assert two.attributes["http.request.resend_count"] == 1
    assert not two.failed
    assert [told(each.requests[0])[1] for each in (first, second)] == [one.id, two.id]


async def test_a_worker_that_cannot_be_reached(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    first, second = await start_worker(script=answers()), await start_worker(script=answers())
    router = await start_router(
        first, second, policy="round_robin", health_interval_s=30, otlp_endpoint=collector.url
    )
    await first.stop()
    await router.post(chat())
    _, one, two = await spans_of(router, collector, 3)
    assert (one.attributes["error.type"], one.events) == ("worker_unreachable", {})
    assert "http.response.status_code" not in one.attributes
    assert two.attributes["router.retry_reason"] == "worker_unreachable"


async def test_a_wait_for_a_worker(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    worker = await start_worker(script=answers())
    router = await start_router(worker, max_inflight=1, otlp_endpoint=collector.url)
    free = asyncio.Event()

    async def later(request: Request, wire: Wire) -> None:
        await free.wait()
        await wire.json(WHOLE)

    worker.script = later
    async with router.connect() as one, router.connect() as two:
        await one.post("/v1/chat/completions", chat("a"), [("traceparent", UNSAMPLED)])
        await worker.received_count(1)
        await two.post("/v1/chat/completions", chat("b"))
        await eventually(lambda: len(router.app.dispatch) == 1)
        free.set()
        await one.response()
        await two.response()
    request, queue, attempt = await spans_of(router, collector, 3)
    assert (queue.name, queue.kind) == ("queue", "internal")
    assert queue.end <= attempt.start
    waited_ms = (queue.end - queue.start) / 1e6
    assert request.attributes["router.queue_ms"] == pytest.approx(waited_ms, abs=0.01)


async def test_a_stream(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    router = await start_router(await start_worker(script=streams), otlp_endpoint=collector.url)
    await router.post(chat(stream=True))
    request, attempt = await spans_of(router, collector, 2)
    first = request.events["first_token"]
    assert attempt.events["sent"] <= first <= request.end
    assert attempt.events["first_token"] == first
    assert request.attributes["gen_ai.request.stream"] is True
    seconds = request.attributes["gen_ai.response.time_to_first_chunk"]
    assert seconds == pytest.approx((first - request.start) / 1e9, abs=1e-5)
    assert request.attributes["gen_ai.response.finish_reasons"] == ["length"]
    assert request.attributes["gen_ai.usage.output_tokens"] == 3


async def test_a_client_that_leaves(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    async def hang(request: Request, wire: Wire) -> None:
        await wire.hang()

    worker = await start_worker(script=hang)
    router = await start_router(worker, otlp_endpoint=collector.url)
    async with router.connect() as client:
        await client.post("/v1/chat/completions", chat())
        await worker.received_count(1)
    await router.line()
    request, attempt = await spans_of(router, collector, 2)
    assert request.attributes["router.outcome"] == "cancelled"
    assert request.attributes["http.response.status_code"] == 499
    assert (request.failed, attempt.failed) == (False, False)


@pytest.mark.parametrize(("status", "failed"), [(400, False), (500, True)])
async def test_a_worker_s_error(
    status: int,
    failed: bool,
    start_worker: StartWorker,
    start_router: StartRouter,
    collector: FakeCollector,
) -> None:
    """A client's mistake is no failure of the server, but one of who asked."""
    worker = await start_worker(script=answers({"error": {}}, status))
    router = await start_router(worker, otlp_endpoint=collector.url)
    await router.post(chat())
    request, attempt = await spans_of(router, collector, 2)
    assert request.failed is failed
    assert attempt.failed
    for span in (request, attempt):
        assert span.attributes["error.type"] == str(status)


async def test_a_request_that_goes_nowhere(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    router = await start_router(await start_worker(), otlp_endpoint=collector.url)
    await router.post({"model": "other", "messages": []})
    (request,) = await spans_of(router, collector, 1)
    assert request.attributes["error.type"] == "model_not_found"
    assert request.attributes["http.response.status_code"] == 404
    assert not request.failed


async def test_an_answer_that_breaks_off(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    async def breaks(request: Request, wire: Wire) -> None:
        await wire.stream(sse(TOKEN, done=False), end=False)
        await asyncio.sleep(0.02)
        wire.reset()

    router = await start_router(await start_worker(script=breaks), otlp_endpoint=collector.url)
    await router.post(chat(stream=True))
    request, attempt = await spans_of(router, collector, 2)
    assert (request.failed, attempt.failed) == (True, True)
    assert request.attributes["error.type"] == "worker_connection_lost"
    assert request.attributes["router.outcome"] == "upstream_error"


async def test_a_failure_in_a_stream_s_events(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    async def fails(request: Request, wire: Wire) -> None:
        await wire.stream(sse(TOKEN, {"error": {"message": "dead", "code": 500}}), delay_s=0.02)

    router = await start_router(await start_worker(script=fails), otlp_endpoint=collector.url)
    await router.post(chat(stream=True))
    request, attempt = await spans_of(router, collector, 2)
    assert [span.attributes["error.type"] for span in (request, attempt)] == ["stream_failed"] * 2


async def test_a_stream_that_goes_on_elsewhere(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    pair = Pair(Answer("completions"))
    pair.arm(pair.boundaries()[6])
    workers = [await start_worker(script=pair.script) for _ in range(2)]
    router = await start_router(
        *workers, resume="on", health_interval_s=30, otlp_endpoint=collector.url
    )
    await router.post({"model": "m", "prompt": "hi", "stream": True}, "/v1/completions")
    request, one, two = await spans_of(router, collector, 3)
    assert (request.failed, request.attributes["router.resumed"]) == (False, 1)
    assert request.events["first_token"] == one.events["first_token"]
    assert one.attributes["error.type"] == "worker_connection_lost"
    assert one.end <= two.start <= two.events["first_token"]
    assert two.attributes["router.retry_reason"] == "resumed"
    assert not two.failed


async def test_a_collector_that_is_not_there_costs_only_its_spans(
    start_worker: StartWorker,
    start_router: StartRouter,
    collector: FakeCollector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector.status = 400
    router = await start_router(await start_worker(script=answers()), otlp_endpoint=collector.url)
    for round_ in range(1, 3):
        assert (await router.post(chat())).status == 200
        router.lines()
        await eventually(lambda: collector.batches == round_)  # noqa: B023 - called at once
        await eventually(
            lambda: router.total("router_degraded_total", reason="spans_dropped") == 2 * round_  # noqa: B023
        )
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "spans cannot be exported" in warnings[0].message
    assert "400" in warnings[0].message
    collector.status = 200
    await router.post(chat())
    await spans_of(router, collector, 2)


async def test_what_is_left_is_exported_at_the_end(
    start_worker: StartWorker, start_router: StartRouter, stack: Any, collector: FakeCollector
) -> None:
    router = await start_router(await start_worker(script=answers()), otlp_endpoint=collector.url)
    await router.post(chat())
    await stack.aclose()
    assert [span.kind for span in collector.spans] == ["server", "client"]
