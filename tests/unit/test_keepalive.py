"""Comments while a first token is awaited, and that they take nothing from what may still be done."""

from collections.abc import AsyncIterator

import pytest

from router import errors
from router.keepalive import KeepAlive
from router.upstream.connection import ResponseHandler
from tests.unit.stage import ASKED, JSON, STREAM, Stage, answered, lost, nothing, quiet

STREAMING = {**ASKED, "stream": True}
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
PING = b": ping\n\n"
HOUR = 3600.0


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await quiet()
    stage.check()


def head_only(handler: ResponseHandler) -> None:
    handler.on_response(200, STREAM, None)
    handler.on_read()


def whole(handler: ResponseHandler) -> None:
    handler.on_response(200, STREAM, None)
    handler.on_body(EVENT)
    handler.on_read()
    handler.on_complete([])


def pings(stage: Stage, interval_s: float | None, *, early: bool = False) -> KeepAlive:
    stage.keep_alive = stage.gateway._keep_alive = KeepAlive(interval_s, early=early)
    return stage.keep_alive


async def test_nothing_is_sent_before_the_worker_has_answered(stage: Stage) -> None:
    keep_alive = pings(stage, 1.0)
    stage.pools["a"].idle = [nothing]
    journey, client = stage.begin(STREAMING)
    keep_alive.keep(journey.arrived_at + HOUR)
    assert client.events == []
    connection = stage.pools["a"].connections[0]
    assert connection.handler is not None
    head_only(connection.handler)
    assert client.events == [], "the head is held back"
    keep_alive.keep(journey.arrived_at + HOUR)
    assert client.names == ["start", "write", "flush"]
    assert client.body == PING
    whole_rest(connection.handler)
    keep_alive.keep(journey.arrived_at + 2 * HOUR)
    assert client.body == PING + EVENT
    assert client.names.count("start") == 1
    assert len(keep_alive) == 0


def whole_rest(handler: ResponseHandler) -> None:
    handler.on_body(EVENT)
    handler.on_read()
    handler.on_complete([])


async def test_as_often_as_wanted_and_not_more(stage: Stage) -> None:
    keep_alive = pings(stage, 10.0)
    stage.pools["a"].idle = [head_only]
    journey, client = stage.begin(STREAMING)
    for seconds in (1.0, 9.9, 10.0, 10.1, 19.9, 20.0, 31.0):
        keep_alive.keep(journey.arrived_at + seconds)
    assert client.body == PING * 3
    stage.gateway.cancel(journey)
    keep_alive.keep(journey.arrived_at + HOUR)
    assert client.body == PING * 3
    assert len(keep_alive) == 0


@pytest.mark.parametrize(
    ("wish", "sent"), [(b"5", 1), (b"3600", 0), (b"0", 0), (b"-1", 0), (b"x", 0), (b"1e9", 0)]
)
async def test_a_request_says_how_often(stage: Stage, wish: bytes, sent: int) -> None:
    keep_alive = pings(stage, None)
    stage.pools["a"].idle = [head_only]
    journey, client = stage.begin(STREAMING, headers=[(b"x-router-keep-alive", wish)])
    keep_alive.keep(journey.arrived_at + 6.0)
    assert client.body == PING * sent
    assert b"keep-alive" not in stage.pools["a"].connections[0].sent[0][0]
    stage.gateway.cancel(journey)


async def test_only_streams_are_pinged(stage: Stage) -> None:
    keep_alive = pings(stage, 1.0, early=True)
    stage.pools["a"].idle = [nothing]
    journey, client = stage.begin()
    keep_alive.keep(journey.arrived_at + HOUR)
    assert client.events == []
    stage.gateway.cancel(journey)


@pytest.mark.parametrize("first", [lost(errors.worker_lost("w", "x")), answered(503, b"{}")])
async def test_another_worker_is_asked_all_the_same(stage: Stage, first: object) -> None:
    keep_alive = pings(stage, 1.0, early=True)
    stage.pools["a"].idle = [nothing]
    stage.pools["b"].idle = [whole]
    journey, client = stage.begin(STREAMING)
    keep_alive.keep(journey.arrived_at + 2.0)
    assert client.events[0][:2] == ("start", 200)
    assert (b"content-type", b"text/event-stream; charset=utf-8") in client.events[0][2]
    handler = stage.pools["a"].connections[0].handler
    assert callable(first)
    first(handler)
    await quiet()
    assert client.body == PING + EVENT
    assert client.names[-1] == "finish"
    assert stage.sent() == "ab"


async def test_what_the_worker_objects_to_is_told_in_the_stream(stage: Stage) -> None:
    keep_alive = pings(stage, 1.0, early=True)
    stage.pools["a"].idle = [nothing]
    journey, client = stage.begin(STREAMING)
    keep_alive.keep(journey.arrived_at + 2.0)
    handler = stage.pools["a"].connections[0].handler
    assert handler is not None
    answered(400, b'{"error":{"message":"no"}}', JSON)(handler)
    assert client.body == PING + b'data: {"error":{"message":"no"}}\n\n'
    assert client.names[-1] == "finish"
    assert stage.line()["status"] == 400


async def test_an_error_of_ours_is_told_in_the_stream_too(stage: Stage) -> None:
    keep_alive = pings(stage, 1.0, early=True)
    for pool in stage.pools.values():
        pool.idle = [nothing]
    journey, client = stage.begin(STREAMING)
    keep_alive.keep(journey.arrived_at + 2.0)
    for name in "abc":
        handler = stage.pools[name].connections[0].handler
        assert handler is not None
        handler.on_lost(errors.worker_lost(name, "before answering"))
        await quiet()
    assert client.events[-1] == ("fail", "worker_connection_lost", True)
