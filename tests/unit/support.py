"""Stand-ins for the router's neighbours, and short ways to make its values."""

import asyncio
import json
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeVar, cast

from router.engines.base import WorkerReport
from router.errors import RouterError
from router.exact import ExactPrompts
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import Headers
from router.index.knowledge import Knowledge
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.prompt.endpoints import EndpointTable
from router.prompt.request import Incoming, Request
from router.proxy.downstream import Source
from router.routing.policy import Decision
from router.tokens.service import TokenService
from router.upstream.connection import Connection, ResponseHandler
from router.upstream.limits import TimeLimits

T = TypeVar("T")
Event = tuple[Any, ...]


class FakeTransport(asyncio.Transport):
    """Keeps what is written and says what it was told; delivers nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.writes = 0
        self.unsent = 0
        self.reading = True
        self.aborted = False
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        self.writes += 1

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class FakeOwner:
    """A `ConnectionOwner` that counts."""

    name = "gpu-1:8000"

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.closed: list[Connection] = []

    def connection_idle(self, connection: Connection) -> None:
        self.idle.append(connection)

    def connection_closed(self, connection: Connection) -> None:
        self.closed.append(connection)


class FakeHandler:
    """A `ResponseHandler` that writes a transcript."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_informational(self, status: int, headers: Headers) -> None:
        self.events.append(("informational", status, list(headers)))

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        self.events.append(("response", status, list(headers), length))

    def on_body(self, data: bytes) -> None:
        self.events.append(("body", data))

    def on_read(self) -> None:
        self.events.append(("read",))

    def on_complete(self, trailers: Headers) -> None:
        self.events.append(("complete", list(trailers)))

    def on_lost(self, error: RouterError) -> None:
        self.events.append(("lost", error.code))

    def told(self) -> list[Event]:
        """The transcript without reads, the pieces of a body put together."""
        told: list[Event] = []
        for event in self.events:
            if event[0] == "body" and told and told[-1][0] == "body":
                told[-1] = ("body", told[-1][1] + event[1])
            elif event[0] != "read":
                told.append(event)
        return told


class FakeDownstream:
    """A `Downstream` that writes a transcript; the body of flushed and unflushed writes is told apart."""

    def __init__(self) -> None:
        self.started = False
        self.events: list[Event] = []
        self.source: Source | None = None
        self.sources: list[Source | None] = []
        self.error: RouterError | None = None

    def inform(self, status: int, headers: Headers) -> None:
        self.events.append(("inform", status, list(headers)))

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        assert not self.started, "an answer starts once"
        self.started = True
        self.events.append(("start", status, list(headers), length))

    def write(self, data: bytes) -> None:
        self.events.append(("write", data))

    def flush(self) -> None:
        self.events.append(("flush",))

    def finish(self, trailers: Headers) -> None:
        self.events.append(("finish", list(trailers)))

    def take_back(self) -> bool:
        return False

    def fail(self, error: RouterError, *, in_band: bool = False) -> None:
        self.error = error
        self.events.append(("fail", error.code, in_band))

    def feed_from(self, source: Source | None) -> None:
        self.source = source
        self.sources.append(source)

    @property
    def names(self) -> list[str]:
        """What happened, without the values."""
        return [event[0] for event in self.events]

    @property
    def body(self) -> bytes:
        """Everything written."""
        return b"".join(event[1] for event in self.events if event[0] == "write")


class FakeConnection:
    """What the gateway and fetches need of a connection; `answer` is called once with each handler."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes, bool]] = []
        self.handler: ResponseHandler | None = None
        self.aborted = False
        self.closed = False
        self.reads = 0

    def send(self, head: bytes, body: bytes, handler: ResponseHandler, *, is_head: bool) -> None:
        self.sent.append((head, body, is_head))
        self.handler = handler

    def limit(self, limits: TimeLimits, arrived_at: float) -> None:
        self.limits = limits

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def incoming(
    body: bytes | dict[str, Any] = b"",
    *,
    path: str = "/v1/chat/completions",
    method: bytes = b"POST",
    headers: Headers | None = None,
) -> Incoming:
    """A request as the edge hands it in; a dict becomes compact JSON."""
    if isinstance(body, dict):
        body = json.dumps(body, separators=(",", ":")).encode()
    endpoint = EndpointTable(["/*"]).resolve(path.encode())
    assert endpoint is not None
    return Incoming(method, path.encode(), path.encode(), headers or [], body, endpoint)


def request(body: bytes | dict[str, Any] = b"", **rest: Any) -> Request:
    """What routing knows of such a request."""
    return Request(incoming(body, **rest))


def chat(*turns: str, **fields: Any) -> dict[str, Any]:
    """A chat body with one user message per turn."""
    return {"model": "m", "messages": [{"role": "user", "content": t} for t in turns], **fields}


def fleet_of(*names: str, models: tuple[str, ...] = ("m",), up: bool = True) -> Fleet:
    """A fleet on `http://name:8000` each, all reported on."""
    fleet = Fleet(None, connect_s=1.0, idle_s=4.0)
    fleet.set_workers(f"http://{name}:8000" for name in names)
    for worker in fleet:
        fleet.set_report(worker, WorkerReport({model: {"id": model} for model in models}))
        if up:
            fleet.mark_up(worker)
    return fleet


def drain(fleet: Fleet, worker: Worker, *, drained: bool = True) -> None:
    """Somebody wants the worker to be given no more requests, or some again."""
    targets = {each.process: each.target for each in fleet}
    targets[worker.process] = replace(worker.target, drained=drained)
    fleet.set_targets(targets.values())


def knowledge_of(predicted: PredictedIndex) -> Knowledge:
    """What is known where no worker says what it holds."""
    return Knowledge(predicted, UnionIndex())


def text_only(knowledge: Knowledge) -> ExactPrompts:
    """Nobody's prompts are tokenized."""
    return ExactPrompts(knowledge, TokenService({}))


def at_once(step: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing."""
    try:
        step.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise AssertionError("it waits for something")


def workers_of(*names: str) -> list[Worker]:
    """Workers of such a fleet, in the order named."""
    fleet = fleet_of(*names)
    found = [fleet.get(f"{name}:8000") for name in names]
    return [worker for worker in found if worker is not None]


class FakeWaiter:
    """A `routing.policy.Waiter` that notes what it is told."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.errors: list[RouterError] = []

    def go(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def turn_away(self, error: RouterError) -> None:
        self.errors.append(error)
