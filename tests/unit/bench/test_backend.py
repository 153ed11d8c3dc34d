"""A mock worker's connection, without sockets."""

import asyncio
import json
from typing import cast

import pytest

from bench.dataplane.backend import Connection
from bench.dataplane.http1 import AnswerReader
from bench.dataplane.mockworker import Worker, chunk, token_event, token_ids
from bench.dataplane.prompts import Shape, templates
from bench.dataplane.wheel import Wheel


class Sink:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def take(self) -> bytes:
        """Everything since the last call."""
        out = b"".join(self.writes)
        self.writes.clear()
        return out


@pytest.fixture
def worker() -> Worker:
    return Worker(18311)


@pytest.fixture
def wheel() -> Wheel:
    return Wheel(0.020, 0.001, now=0.0)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def connection(worker: Worker, wheel: Wheel, sink: Sink) -> Connection:
    made = Connection(worker, wheel)
    made.connection_made(cast("asyncio.BaseTransport", sink))
    return made


def request(*, stream: bool, tokens: int = 5, size: int = 1024) -> bytes:
    return templates(Shape(size, stream, tokens), "h:1")[0].request(1)


def test_stream_has_one_write_per_token_and_ends_whole(
    connection: Connection, worker: Worker, wheel: Wheel, sink: Sink
) -> None:
    connection.data_received(request(stream=True))
    assert worker.running == 1
    wheel.advance(0.0995)
    assert len(sink.writes) == 1 + 4
    wheel.advance(0.1005)
    assert worker.running == 0
    reader = AnswerReader()
    assert reader.feed(sink.take())
    assert (reader.events, reader.done) == (5 + 2, True)


def test_a_cut_stream_stops_and_counts(
    connection: Connection, worker: Worker, wheel: Wheel, sink: Sink
) -> None:
    connection.data_received(request(stream=True))
    connection.connection_lost(None)
    wheel.advance(1.0)
    assert len(sink.writes) == 1
    assert (worker.running, worker.aborted) == (0, 1)


@pytest.mark.parametrize("step", [1, 7, 1000, 100_000])
def test_answer_with_usage_however_the_request_is_cut(
    connection: Connection, sink: Sink, step: int
) -> None:
    raw = request(stream=False, size=2000) * 2  # the second one waits behind the first
    for i in range(0, len(raw), step):
        connection.data_received(raw[i : i + step])
    answers = sink.take().split(b"HTTP/1.1 200 OK")[1:]
    assert len(answers) == 2
    usage = json.loads(answers[1].partition(b"\r\n\r\n")[2])["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["prompt_tokens"] > 500


def test_chunked_request_body(connection: Connection, worker: Worker, sink: Sink) -> None:
    connection.data_received(
        b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"{")
    )
    assert not sink.writes
    connection.data_received(chunk(b'"max_tokens":9}') + b"0\r\n\r\n")
    assert b'"completion_tokens":9' in sink.take()
    assert worker.bad == 0


def test_broken_body_is_refused(connection: Connection, worker: Worker, sink: Sink) -> None:
    connection.data_received(b"POST /v1/completions HTTP/1.1\r\ncontent-length: 3\r\n\r\n{..")
    assert sink.take().startswith(b"HTTP/1.1 400 ")
    assert worker.bad == 1


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/health", b"{}"),
        ("/v1/models", b'"max_model_len":1048576'),
        ("/metrics", b"vllm:num_requests_running"),
        ("/get_load", b'"num_reqs":0'),
        ("/nothing", b"404 Not Found"),
    ],
)
def test_side_paths(connection: Connection, sink: Sink, path: str, found: bytes) -> None:
    connection.data_received(f"GET {path}?x=1 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert found in sink.take()


def test_token_ids_follow_the_text() -> None:
    first = b'{"model":"m","messages":"' + b"a" * 2000 + b'1"}'
    second = b'{"model":"other","messages":"' + b"a" * 2000 + b'2"}'
    (count, ids), (_, other) = token_ids(first), token_ids(second)
    assert count == len(ids.split(b",")) == (len(first) - 13 + 3) // 4
    assert ids.split(b",")[:500] == other.split(b",")[:500]
    assert ids != other


def test_events_have_the_size_of_real_ones() -> None:
    assert 220 <= len(token_event("chatcmpl-" + "0" * 32)) <= 280
