"""Requests that are odd on purpose, and collectors that are: what becomes of the log, the metrics and the spans."""

import json
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest

from router.telemetry.logs import RequestLine, as_text
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, chat, eventually
from tests.fakes.collector import FakeCollector

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
async def collector() -> AsyncIterator[FakeCollector]:
    async with FakeCollector() as collector:
        yield collector


async def test_a_hosts_port_of_other_digits(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    worker = await start_worker()
    router = await start_router(worker, otlp_endpoint=collector.url)
    await router.post(chat(), headers=[("Host", "router:\xb2")])
    await router.post(chat())
    assert len(router.lines()) == 2


async def test_a_long_name_of_a_model_is_not_kept(router: RunningRouter) -> None:
    response = await router.post({**chat(), "model": "m" * 2_000_000})
    assert response.status == 404
    (line,) = router.lines()
    assert len(json.dumps(line)) < 10_000


@pytest.mark.parametrize(
    "name", ["m\n12:00:00.000 200 ok", "m\r", "\x1b[2Jm", "m\x9b2J", "m\u2028"]
)
async def test_a_line_of_text_is_one_line(name: str, router: RunningRouter) -> None:
    """Nor does it move the terminal's cursor."""
    await router.post({**chat(), "model": name})
    (line,) = router.lines()
    fields = {key: value for key, value in line.items() if key != "event"}
    text = as_text(msgspec.convert(fields, RequestLine)).decode().removesuffix("\n")
    assert text.isprintable()


@pytest.mark.parametrize(
    "state",
    [
        "no equals sign",
        ",".join(f"k{n}=v" for n in range(40)),
        "x=\xe9",
        "a=1,a=2",
        "",
    ],
)
async def test_what_vendors_say_wrongly_is_not_logged(
    state: str,
    start_worker: StartWorker,
    start_router: StartRouter,
    collector: FakeCollector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = await start_worker()
    router = await start_router(worker, otlp_endpoint=collector.url)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await router.post(chat(), headers=[("traceparent", GIVEN), ("tracestate", state)])
        router.lines()
        await eventually(lambda: len(collector.spans) == 6)
    assert [record.getMessage() for record in caplog.records] == []


LONG = "x" * 20_000


@pytest.mark.parametrize("name", ["Host", "X-Request-Id", "tracestate", "User-Agent"])
async def test_a_span_is_small(
    name: str, start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    """Some thousands of spans wait when the collector is away."""
    router = await start_router(await start_worker(), otlp_endpoint=collector.url)
    await router.post(chat(), headers=[("traceparent", GIVEN), (name, f"a={LONG}")])
    router.lines()
    await eventually(lambda: len(collector.spans) == 2)
    assert max(len(repr(span)) for span in collector.spans) < 4_000


async def test_a_query_is_in_no_span_and_no_line(
    start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    """Some clients put their keys there."""
    router = await start_router(await start_worker(), otlp_endpoint=collector.url)
    await router.post(chat(), target="/v1/chat/completions?api-key=hush")
    await router.post(chat(), target="/v1/unknown?api-key=hush")
    lines = router.lines()
    await eventually(lambda: len(collector.spans) >= 2)
    assert "hush" not in repr(collector.spans) + repr(lines)


@pytest.mark.parametrize(
    "host", ["", "[::1]:8080", "[::1]", "a:", ":80", "a:99999", "a:-1", "\xff\xfe", "a,b"]
)
async def test_whatever_host_a_client_names(
    host: str, start_worker: StartWorker, start_router: StartRouter, collector: FakeCollector
) -> None:
    router = await start_router(await start_worker(), otlp_endpoint=collector.url)
    await router.post(chat(), headers=[("Host", host)])
    assert len(router.lines()) == 1
    await eventually(lambda: len(collector.spans) >= 1)
