"""The engine's own spans nest below the router's attempt, in the trace that the client began."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.harness import Answer, Router, ask, router_process
from tests.fakes.collector import Collected, FakeCollector
from tests.fakes.ports import free_ports

pytestmark = pytest.mark.engine

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
CLOCKS_NS = 5_000_000
"""The engine reads the time at other moments than the router."""


@pytest.fixture
async def collector() -> AsyncIterator[FakeCollector]:
    async with FakeCollector() as collector:
        yield collector


@pytest.fixture
async def router(
    engine: ModuleType,
    collector: FakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[Router]:
    """A router and a worker that both send their spans to the collector, which answers meanwhile."""
    traces = f"{collector.url}/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    monkeypatch.setenv("PREFIX_ROUTER_OTLP_ENDPOINT", collector.url)
    spec = engine.WorkerSpec(
        free_ports(1)[0],
        "tiny",
        kv_mb=64,
        max_model_len=1024,
        extra_args=("--otlp-traces-endpoint", traces),
    )
    stack = ExitStack()
    try:
        (worker,) = await asyncio.to_thread(stack.enter_context, engine.running([spec]))
        router = router_process([worker.url], tmp_path)
        yield await asyncio.to_thread(stack.enter_context, router)
    finally:
        await asyncio.to_thread(stack.close)


async def traced(
    router: Router, collector: FakeCollector, path: str, body: dict[str, Any]
) -> tuple[Answer, list[Collected]]:
    """An answer, and the spans of its trace when they are all there."""
    collector.spans.clear()
    asked = {"model": "tiny-qwen3", "max_tokens": 8, **body}
    answer = await asyncio.to_thread(ask, router.url, path, asked, GIVEN)
    async with asyncio.timeout(20):
        while len(collector.of(TRACE)) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return answer, collector.of(TRACE)


BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "hello"},
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    },
}


async def test_one_trace_from_the_client_to_the_engine(
    router: Router, collector: FakeCollector, report: Callable[[str], None]
) -> None:
    for path, body in BODIES.items():
        answer, found = await traced(router, collector, path, body)
        assert answer.status == 200
        assert len(found) == 3
        request, attempt = (span for span in found if span.scope == "prefix-router")
        (engine,) = (span for span in found if span.scope != "prefix-router")
        assert request.parent == CLIENT
        assert attempt.parent == request.id
        assert engine.parent == attempt.id
        assert attempt.start - CLOCKS_NS <= engine.start <= engine.end <= attempt.end + CLOCKS_NS
        assert request.attributes["gen_ai.usage.input_tokens"] == answer.usage["prompt_tokens"]
        assert request.attributes["gen_ai.usage.output_tokens"] == answer.usage["completion_tokens"]
        assert engine.attributes["gen_ai.usage.prompt_tokens"] == answer.usage["prompt_tokens"]
        report(
            f"trace of {path}: router {_ms(request)} ms, attempt {_ms(attempt)} ms, "
            f"{engine.name} of {engine.resource['service.name']} {_ms(engine)} ms"
        )


def _ms(span: Collected) -> float:
    return round((span.end - span.start) / 1e6, 1)
