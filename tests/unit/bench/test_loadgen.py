"""One client of the load generator against scripted answers, without sockets."""

import asyncio
from array import array
from typing import cast

import pytest

from bench.dataplane.loadgen import Client, Load
from bench.dataplane.meter import percentiles_ms
from bench.dataplane.mockworker import answer, chunk, sse_event, token_event
from bench.dataplane.prompts import Shape

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = sse_event("id", [], {"prompt_tokens": 1})
END = USAGE + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Wire:
    """A transport that keeps requests and remembers how it was closed."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = ""

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = "close"

    def abort(self) -> None:
        self.closed = "abort"


def connected(*, stream: bool, limit: int | None = None) -> tuple[Load, Client, Wire]:
    """A client that has sent its first request."""
    load, wire = Load(1, Shape(64, stream, 3), limit), Wire()
    client = Client(load)
    client.connection_made(cast("asyncio.BaseTransport", wire))
    return load, client, wire


@pytest.mark.parametrize("step", [1, 3, 100, 249, 100_000])
def test_stream_counts_tokens_not_its_closing_events(step: int) -> None:
    load, client, wire = connected(stream=True)
    raw = HEAD + token_event("id") * 3 + END
    for i in range(0, len(raw), step):
        client.data_received(raw[i : i + step])
    assert (load.totals.requests, load.totals.chunks, load.totals.errors) == (1, 3, 0)
    assert len(load.totals.ttft_s) == len(load.totals.latency_s) == 1
    assert len(wire.sent) == 2


def test_whole_events_take_the_short_way_and_count_the_same() -> None:
    load, client, _ = connected(stream=True)
    for part in (HEAD, token_event("id"), token_event("id") * 2, END):
        client.data_received(part)
    assert (load.totals.requests, load.totals.chunks) == (1, 3)


def test_sized_answers_are_followed_by_the_next_request() -> None:
    load, client, wire = connected(stream=False)
    for _ in range(3):
        client.data_received(answer(b"{}"))
    assert load.totals.requests == 3
    assert len(set(wire.sent)) == 4


@pytest.mark.parametrize(
    "data",
    [
        answer(b"{}", b"503 Service Unavailable"),
        HEAD + token_event("id") + b"0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    ],
)
def test_bad_answers_are_errors_and_end_the_connection(data: bytes) -> None:
    load, client, wire = connected(stream=True)
    client.data_received(data)
    assert (load.totals.requests, load.totals.errors) == (0, 1)
    assert load.totals.first_error
    assert wire.closed == "abort"


def test_requests_that_never_end_expire() -> None:
    load, client, wire = connected(stream=False)
    assert client.sent_at
    client.expire(client.sent_at + 29)
    assert not wire.closed
    client.expire(client.sent_at + 31)
    assert wire.closed
    assert load.totals.errors == 1


async def test_the_limit_stops_the_load() -> None:
    load, client, wire = connected(stream=False, limit=2)
    client.data_received(answer(b"{}"))
    client.data_received(answer(b"{}"))
    assert load.limit_reached.is_set()
    assert wire.closed == "close"
    assert len(wire.sent) == 2


def test_percentiles() -> None:
    assert percentiles_ms(array("d")) is None
    found = percentiles_ms(array("d", [i / 1000 for i in range(100)]))
    assert found == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 99.0}


async def test_failed_requests_count_towards_the_limit() -> None:
    load, client, _ = connected(stream=False, limit=1)
    client.data_received(answer(b"{}", b"503 Service Unavailable"))
    assert load.limit_reached.is_set()
