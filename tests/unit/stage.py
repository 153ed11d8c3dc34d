"""A gateway with scripted connections: what is sent where, and who is told what."""

import asyncio
import io
import itertools
import json
from collections.abc import Callable
from typing import Any

from router import errors
from router.attempt_options import AttemptOptions
from router.attempts import Attempts
from router.errors import RouterError
from router.fleet.passive import PassiveHealth
from router.fleet.worker import Worker
from router.gateway import Gateway
from router.ids import Headers
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.journey import Journey
from router.keepalive import KeepAlive
from router.passage import Passage
from router.prompt.caller import Callers
from router.prompt.identity import TextIdentity
from router.prompts import Prompts
from router.report import Reporter
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Chooser, Immediate
from router.routing.cost import CostModel, Rates
from router.routing.dispatch import Dispatch
from router.routing.intake import Intake
from router.routing.learn import Learner
from router.routing.options import QueueOptions
from router.routing.policy import Admission, Choice, Question
from router.routing.queue import LateBinding
from router.telemetry.logs import RequestLog
from router.telemetry.metrics import Metrics
from router.upstream.connection import ResponseHandler
from tests.unit.support import (
    FakeConnection,
    FakeDownstream,
    chat,
    fleet_of,
    incoming,
    knowledge_of,
    text_only,
)

Script = Callable[[ResponseHandler], None]
JSON: Headers = [(b"content-type", b"application/json")]
STREAM: Headers = [(b"content-type", b"text/event-stream")]
USAGE = b'{"usage":{"prompt_tokens":50,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}}'
ASKED = chat("word " * 100)


def answered(status: int = 200, body: bytes = USAGE, headers: Headers = JSON) -> Script:
    """The worker answers in one read."""

    def script(handler: ResponseHandler) -> None:
        handler.on_response(status, headers, len(body))
        handler.on_body(body)
        handler.on_read()
        handler.on_complete([])

    return script


def lost(error: RouterError) -> Script:
    """The connection ends before any answer."""
    return lambda handler: handler.on_lost(error)


def broken_off(headers: Headers) -> Script:
    """The connection ends within the answer."""

    def script(handler: ResponseHandler) -> None:
        handler.on_response(200, headers, None)
        handler.on_body(b"data: {}\n\n")
        handler.on_read()
        handler.on_lost(errors.worker_lost("w", "before its answer was complete"))

    return script


def nothing(handler: ResponseHandler) -> None:
    """The worker takes its time."""


REFUSED = answered(429, b"{}")
STALE = lost(errors.stale_connection("w"))
LOST = lost(errors.worker_lost("w", "before answering"))
UNREACHABLE = errors.connect_failed("w", "refused")


class UntilAborted:
    """A `ResponseHandler` that hears nothing more from a connection that was aborted."""

    def __init__(self, handler: ResponseHandler, connection: FakeConnection) -> None:
        self._handler = handler
        self._connection = connection

    def on_informational(self, status: int, headers: Headers) -> None:
        if not self._connection.aborted:
            self._handler.on_informational(status, headers)

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        if not self._connection.aborted:
            self._handler.on_response(status, headers, length)

    def on_body(self, data: bytes) -> None:
        if not self._connection.aborted:
            self._handler.on_body(data)

    def on_read(self) -> None:
        if not self._connection.aborted:
            self._handler.on_read()

    def on_complete(self, trailers: Headers) -> None:
        if not self._connection.aborted:
            self._handler.on_complete(trailers)

    def on_lost(self, error: RouterError) -> None:
        if not self._connection.aborted:
            self._handler.on_lost(error)


_NUMBERS = itertools.count()


class ScriptedConnection(FakeConnection):
    """Answers as scripted within `send`, as a worker may that is very fast. `number`: the younger, the higher."""

    def __init__(self, script: Script, number: int) -> None:
        super().__init__()
        self.script = script
        self.number = number

    def send(self, head: bytes, body: bytes, handler: ResponseHandler, *, is_head: bool) -> None:
        super().send(head, body, UntilAborted(handler, self), is_head=is_head)
        self.script(UntilAborted(handler, self))


class ScriptedPool:
    """`idle` connections to take, and what each `connect` brings: a script, an error, or None to hang."""

    def __init__(self, worker: Worker) -> None:
        self.address = worker.pool.address
        self.name = worker.pool.name
        self.idle: list[Script] = []
        self.connects: list[Script | Exception | None] = []
        self.connections: list[ScriptedConnection] = []
        self.opened = 0
        self.dropped = 0

    def take(self) -> ScriptedConnection | None:
        return self._give(self.idle.pop(0)) if self.idle else None

    async def connect(self) -> ScriptedConnection:
        self.opened += 1
        script = self.connects.pop(0)
        await (asyncio.Event().wait() if script is None else asyncio.sleep(0))
        if isinstance(script, Exception):
            raise script
        assert script is not None
        return self._give(script)

    def discount(self, reads: int) -> None:
        """Nobody looks."""

    def drop_idle(self) -> None:
        self.dropped += 1

    def retire(self) -> None:
        self.dropped += 1

    def _give(self, script: Script) -> ScriptedConnection:
        self.connections.append(ScriptedConnection(script, next(_NUMBERS)))
        return self.connections[-1]


async def quiet() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Stage:
    """A gateway over workers `a`, `b`, `c`; its policy takes the first candidate by name.

    With `queue` it is late binding, with these options.
    """

    def __init__(
        self, *names: str, queue: QueueOptions | None = None, options: AttemptOptions | None = None
    ) -> None:
        self.fleet = fleet_of(*(names or ("a", "b", "c")))
        self.pools = {worker.id[0]: ScriptedPool(worker) for worker in self.fleet}
        for worker in self.fleet:
            worker.pool = self.pools[worker.id[0]]  # type: ignore[assignment]
        self.memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = knowledge_of(PredictedIndex(self.memory, default_kv_tokens=10**9))
        self.exact = text_only(self.index)
        self.metrics, self.homes, cost = Metrics(), ResponseHomes(), CostModel(Rates())
        self.identities, self.log = TextIdentity(), io.BytesIO()
        learner = Learner(self.index, self.identities, cost, self.metrics)
        log = RequestLog(self.log, json=True)
        self.reporter = Reporter(self.fleet, learner, self.exact, self.homes, self.metrics, log)
        self.chooser = Chooser(self.index, cost, self.metrics.lookup)
        self.admission: Admission = Immediate("first", self.first, self.chooser)
        if queue is not None:
            self.admission = LateBinding(self.chooser, self.fleet.candidates, queue, seed=1)
        aside = Immediate("aside", self.first, self.chooser)
        self.dispatch = Dispatch(self.chooser, self.admission, aside, Callers("x-tenant-id"))
        self.fleet.on_change = self.dispatch.stir
        intake = Intake(self.fleet, self.identities, self.homes, self.chooser.look_up)
        self.keep_alive = KeepAlive(None, early=False)
        self.passage = Passage(self.reporter)
        self.health = PassiveHealth(self.fleet)
        self.suspects: list[Worker] = []
        self.health.on_suspect = self.suspects.append
        self.attempts = Attempts(
            intake, self.index, self.dispatch, self.passage, self.health, options
        )
        self.gateway = Gateway(
            intake,
            Prompts(self.exact),
            self.dispatch,
            self.attempts,
            self.passage,
            self.keep_alive,
        )
        self.clients: list[FakeDownstream] = []
        self.began: list[Journey] = []

    @staticmethod
    def first(question: Question) -> Choice:
        return Choice(min(question.candidates, key=lambda worker: worker.id), "first")

    def begin(
        self, body: dict[str, Any] | None = None, client: FakeDownstream | None = None, **rest: Any
    ) -> tuple[Journey, FakeDownstream]:
        client = client or FakeDownstream()
        self.clients.append(client)
        asked = incoming(ASKED if body is None else body, **rest)
        self.began.append(self.gateway.begin(asked, b"r1", client))
        return self.began[-1], client

    async def serve(self, *args: Any, **rest: Any) -> FakeDownstream:
        """Begin and wait until nothing moves any more."""
        _, client = self.begin(*args, **rest)
        await quiet()
        return client

    def sent(self) -> str:
        """Which workers were sent something, in order of their names."""
        return "".join(
            name
            for name, pool in sorted(self.pools.items())
            for connection in pool.connections
            if connection.sent
        )

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        self.reporter.settle()
        self.reporter._log.flush()
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def line(self) -> dict[str, Any]:
        """The one log line there is."""
        (line,) = self.lines()
        return line

    def check(self) -> None:
        """To be held at the end: nothing is counted, waited for or held any more."""
        for worker in self.fleet:
            assert worker.load.inflight == 0, "every way out releases the lease"
            assert not list(worker.load)
        for client in self.clients:
            assert client.source is None, "nobody slows down a connection that serves others"
        assert not self.passage._tasks
        assert len(self.dispatch) == 0
