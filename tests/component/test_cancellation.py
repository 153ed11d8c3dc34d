"""A client that leaves, in whatever phase, ends the worker's work at once and leaves nothing counted."""

import asyncio
import socket
from collections.abc import Callable
from time import perf_counter

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, CLOSED_WITHIN_S, RunningRouter, chat, eventually
from tests.fakes.client import Client, chunked, request
from tests.fakes.wire import Request, Script, Wire
from tests.fakes.worker import FakeWorker, sse

Report = Callable[[str, object], None]
BIG = b"x" * 65_536


async def _hang(request: Request, wire: Wire) -> None:
    await wire.hang()


async def _one_event_then_hang(request: Request, wire: Wire) -> None:
    await wire.stream(sse({"n": 1}, done=False), end=False)
    await wire.hang()


async def _events_for_ever(request: Request, wire: Wire) -> None:
    await wire.start(200, [("Content-Type", "text/event-stream")])
    while True:
        await wire.chunk(b"data: " + BIG + b"\n\n")


async def _half_a_body(request: Request, wire: Wire) -> None:
    await wire.raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )
    await wire.raw(b'{"half": "')
    await wire.hang()


async def _head_then_hang(request: Request, wire: Wire) -> None:
    await wire.start(200, [("Content-Type", "text/event-stream")])
    await wire.hang()


async def _gone(
    worker: FakeWorker, router: RunningRouter, left_at: float, record_property: Report
) -> None:
    """The worker saw its connection close soon, nothing is in flight, and the log says why."""
    wire = worker.requests[-1].wire
    await asyncio.wait_for(wire.closed.wait(), CLOSED_WITHIN_S)
    assert wire.closed_at is not None
    record_property("closed_after_ms", round((wire.closed_at - left_at) * 1e3, 1))
    await eventually(lambda: router.inflight == 0)
    line = await router.line()
    assert line["outcome"] == "cancelled"


PHASES: dict[str, tuple[Script, bool]] = {
    "before the first byte": (_hang, False),
    "between head and first event": (_head_then_hang, False),  # the head is held back until then
    "in the middle of a stream": (_one_event_then_hang, True),
    "half-way through a body": (_half_a_body, True),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_worker_connection_closes(
    phase: str, how: str, worker: FakeWorker, router: RunningRouter, record_property: Report
) -> None:
    """Disconnects used to be noticed only at the next write, so the worker went on generating."""
    worker.script, started = PHASES[phase]
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True))
        await worker.received_count(1)
        if started:
            await client.head()
        await asyncio.sleep(0.02)
        assert router.inflight == 1
        left_at = perf_counter()
        client.vanish() if how == "rst" else client.writer.close()
        await _gone(worker, router, left_at, record_property)


@pytest.mark.parametrize(
    "target", ["/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"]
)
async def test_every_family(
    target: str, worker: FakeWorker, router: RunningRouter, record_property: Report
) -> None:
    worker.script = _hang
    async with router.connect() as client:
        await client.post(target, {"model": "m", "input": "x"})
        await worker.received_count(1)
        left_at = perf_counter()
        await client.leave()
        await _gone(worker, router, left_at, record_property)


async def test_while_paused_by_backpressure(
    worker: FakeWorker, router: RunningRouter, record_property: Report
) -> None:
    """A client that stopped reading and then leaves."""
    worker.script = _events_for_ever
    async with router.connect(receive_buffer=8192) as client:
        await client.post(CHAT, chat(stream=True))
        await worker.received_count(1)
        wire = worker.requests[0].wire
        await eventually(lambda: wire.stalled and router.buffered > 0)
        await asyncio.sleep(0.1)
        left_at = perf_counter()
        await client.leave()
        await _gone(worker, router, left_at, record_property)


async def test_with_a_pipelined_request_pending(
    worker: FakeWorker, router: RunningRouter, record_property: Report
) -> None:
    """A second request in the pipe must not keep the router from seeing that the client left."""
    worker.script = _hang
    async with router.connect() as client:
        one = request("POST", CHAT, b'{"model":"m"}')
        await client.send(one + one)
        await worker.received_count(1)
        await asyncio.sleep(0.02)
        left_at = perf_counter()
        await client.leave()
        await _gone(worker, router, left_at, record_property)
    assert len(worker.requests) == 1, "the second request was sent for nobody"


async def test_after_a_first_request_on_the_same_connection(
    worker: FakeWorker, router: RunningRouter, record_property: Report
) -> None:
    async with router.connect() as client:
        assert (await client.call(CHAT, chat())).status == 200
        worker.script = _hang
        await client.post(CHAT, chat())
        await worker.received_count(2)
        await client.leave()
        await asyncio.wait_for(worker.requests[1].wire.closed.wait(), CLOSED_WITHIN_S)
    assert (await router.line(1))["outcome"] == "cancelled"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_during_the_upload(framing: str, worker: FakeWorker, router: RunningRouter) -> None:
    """A request that never became whole is nobody's work."""
    async with router.connect() as client:
        if framing == "length":
            await client.send(request("POST", CHAT, b"{", [("Content-Length", "1000")]))
        else:
            part = chunked(b'{"model"')[:-5]
            await client.send(request("POST", CHAT, part, [("Transfer-Encoding", "chunked")]))
        await asyncio.sleep(0.05)
        await client.leave()
    await eventually(lambda: not router.server.server_state.connections)
    assert router.inflight == 0
    assert worker.requests == []
    assert not router.server.server_state.tasks


async def test_while_the_worker_does_not_take_the_request(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """The body is the client's no longer and the worker's not yet."""
    router = await start_router(worker, health_interval_s=60)
    await router.post(chat())
    wires = list(worker.wires)
    for wire in wires:
        wire.pause()
    async with router.connect() as client:
        await client.post(CHAT, chat("x" * 20_000_000))
        await eventually(lambda: router.inflight == 1)
        await asyncio.sleep(0.05)
        await client.leave()
        assert await eventually(lambda: router.inflight == 0) < CLOSED_WITHIN_S
    for wire in wires:
        wire.resume()
    await worker.until(lambda: any(wire.closed.is_set() for wire in wires), CLOSED_WITHIN_S)
    assert len(worker.requests) == 1
    assert (await router.line(1))["outcome"] == "cancelled"


async def test_while_a_refusal_is_still_coming(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """A worker refuses and does not finish saying so; the client leaves."""
    workers = [await start_worker(), await start_worker()]

    async def refuses(request: Request, wire: Wire) -> None:
        await wire.start(503)
        await wire.hang()

    for worker in workers:
        worker.script = refuses
    router = await start_router(*workers)
    async with router.connect() as client:
        await client.post(CHAT, chat())
        await asyncio.sleep(0.1)
        await client.leave()
        assert await eventually(lambda: router.inflight == 0) < CLOSED_WITHIN_S
    for worker in workers:
        for sent in worker.requests:
            await asyncio.wait_for(sent.wire.closed.wait(), CLOSED_WITHIN_S)


async def test_while_connecting(worker: FakeWorker, start_router: StartRouter) -> None:
    """The worker's host does not answer the connect: its accept queue is full."""
    router = await start_router(worker, health_interval_s=60)
    await worker.stop()
    with _full_listener(worker.port) as filled:
        await eventually(lambda: not router.workers[0].pool._open)
        async with router.connect() as client:
            await client.post(CHAT, chat())
            await eventually(lambda: router.inflight == 1)
            await asyncio.sleep(0.05)
            await client.leave()
            assert await eventually(lambda: router.inflight == 0) < CLOSED_WITHIN_S
        assert (await router.line())["outcome"] == "cancelled"
        assert filled


class _full_listener:  # noqa: N801 - used like a function
    """Listens on a port and lets nobody in."""

    def __init__(self, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(0)
        self._waiting: list[socket.socket] = []

    def __enter__(self) -> list[socket.socket]:
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(self._listener.getsockname())
            self._waiting.append(sock)
        return self._waiting

    def __exit__(self, *reason: object) -> None:
        for sock in [*self._waiting, self._listener]:
            sock.close()


async def test_counters_return_to_zero_however_requests_end(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Load counters that only successes decrement make a worker look busy for ever."""
    worker, dead = await start_worker(), await start_worker(models=("gone",))
    router = await start_router(worker, dead)
    await dead.stop()

    async def by_body(request: Request, wire: Wire) -> None:
        wanted = request.json()["user"]
        if wanted == "hang":
            await wire.hang()
        elif wanted == "reset":
            wire.reset()
        else:
            await wire.json({}, status=int(wanted))

    worker.script = by_body

    async def one(kind: str) -> None:
        async with router.connect() as client:
            await client.post(CHAT, chat(user=kind) | ({"model": "gone"} if kind == "dead" else {}))
            if kind == "hang":
                await asyncio.sleep(0.05)
                await client.leave()
                return
            response = await client.response()
            expected = {"dead": 502, "reset": 502}.get(kind) or int(kind)
            assert response.status == expected

    kinds = ["200", "500", "429", "hang", "dead", "reset"]
    await asyncio.gather(*(one(kind) for kind in kinds * 12))
    await eventually(lambda: router.inflight == 0)
    assert all(w.load.inflight == 0 for w in router.workers)
    await eventually(lambda: len(router.lines()) == 72)
    assert all(w.load.pending_tokens(perf_counter()) == 0 for w in router.workers)


async def _leave_at(client: Client, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    await client.leave()


async def test_leaving_at_any_moment(worker: FakeWorker, router: RunningRouter) -> None:
    """No moment is special: leases and connections survive a client that leaves at each of many."""

    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.005)
        await wire.stream(sse(*({"n": n} for n in range(5))), delay_s=0.002)

    worker.script = slow

    async def one(delay_s: float) -> None:
        async with router.connect() as client:
            await client.post(CHAT, chat(stream=True))
            await _leave_at(client, delay_s)

    for batch in range(5):
        await asyncio.gather(*(one((batch + n / 20) * 0.006) for n in range(20)))
    await eventually(lambda: router.inflight == 0)
    await eventually(lambda: not router.server.server_state.connections)
    assert (await router.post(chat(stream=True))).complete
