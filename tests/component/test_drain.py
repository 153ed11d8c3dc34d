"""A router that is stopped, as a process: who is still served, what is told to whom, and when it is over."""

import asyncio
import json
import re
import signal
import socket
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.component.harness import CHAT, chat
from tests.fakes.certificate import Certificate
from tests.fakes.client import Client, Response, connect, request
from tests.fakes.ports import free_ports
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
READY = request("GET", "/ready")


class RouterProcess:
    """A router in a process of its own; `log` is its standard error so far."""

    def __init__(self, process: Process, port: int, tls: ssl.SSLContext | None) -> None:
        self.process = process
        self.port = port
        self.tls = tls
        self.log = ""

    def connect(self) -> Any:
        return connect("127.0.0.1", self.port, tls=self.tls)

    async def ready(self) -> Response | None:
        """The answer to /ready; None: nobody listens."""
        try:
            async with self.connect() as client:
                await client.send(READY)
                return await client.response()
        except OSError:
            return None

    async def until(self, condition: Callable[[Response | None], bool]) -> None:
        """Wait until /ready is answered so."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(await self.ready()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def logged(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.log:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log += line.decode()


@asynccontextmanager
async def router_process(
    worker: FakeWorker, tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[RouterProcess]:
    (port,) = free_ports(1)
    values = {"workers": worker.url, "host": "127.0.0.1", "port": port, "log_format": "json"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "serve",
        cwd=ROOT,
        env={f"PREFIX_ROUTER_{name.upper()}": str(value) for name, value in (values | settings).items()},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=PIPE,
    )  # fmt: skip
    router = RouterProcess(process, port, tls)
    reading = asyncio.ensure_future(router.read_log())
    try:
        await router.until(lambda response: response is not None and response.status == 200)
        yield router
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


def lasting(seconds: float) -> Callable[[Request, Wire], Any]:
    """A script that streams for so long."""
    count = round(seconds / 0.1)

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(sse(*({"n": n} for n in range(count))), delay_s=0.1)

    return script


async def hang_in_a_stream(request: Request, wire: Wire) -> None:
    await wire.start(200, [("Content-Type", "text/event-stream")])
    await wire.chunk(b'data: {"n":0}\n\n')
    await wire.hang()


async def started(client: Client) -> Response:
    """A stream of which the first event has come."""
    await client.post(CHAT, chat(stream=True))
    response = await client.head()
    await anext(client.chunks(response))
    return response


async def test_nothing_is_lost(worker: FakeWorker) -> None:
    """20 streams outlast the grace; who comes in it is served; then nobody is let in, and it ends well."""
    echo, worker.script = worker.script, lasting(5.0)
    async with router_process(worker, drain_grace_s=2) as router:

        async def stream() -> Response:
            async with router.connect() as client:
                return await client.call(CHAT, chat(stream=True))  # type: ignore[no-any-return]

        streams = [asyncio.ensure_future(stream()) for _ in range(20)]
        async with router.connect() as idle:
            await idle.send(READY)
            assert (await idle.response()).header("connection") is None
            await worker.received_count(20)
            router.process.send_signal(signal.SIGTERM)
            await router.logged("draining: 20 answers under way, new connections are taken for 2 s")
            unready = await router.ready()
            assert unready is not None
            assert (unready.status, unready.header("connection")) == (503, "close")
            assert unready.json()["draining"] is True
            worker.script = echo
            async with router.connect() as late:
                response = await late.call(CHAT, chat())
                assert (response.status, response.header("connection")) == (200, "close")
                assert await late.at_end() == b""
            await router.until(lambda response: response is None)
            assert await idle.at_end() == b""
        assert not any(stream.done() for stream in streams)
        await router.logged("20 answers under way have 30 s")
        for response in await asyncio.gather(*streams):
            assert response.complete
            assert response.body.endswith(b"data: [DONE]\n\n")
        assert await router.ended() == 0
    assert "cut off" not in router.log


async def test_idle_connection_is_told_with_its_next_answer(worker: FakeWorker) -> None:
    async with router_process(worker, drain_grace_s=10) as router, router.connect() as client:
        for target in (CHAT, "/health"):
            assert (await client.call(target, chat())).header("connection") is None
        router.process.send_signal(signal.SIGTERM)
        await router.logged("draining: 0 answers")
        assert (await client.call(CHAT, chat())).header("connection") == "close"
        assert await client.at_end() == b""
        router.process.send_signal(signal.SIGTERM)
        assert await router.ended() == 0


async def test_sigint_has_no_grace(worker: FakeWorker) -> None:
    """Who presses Ctrl+C wants to see the end; running answers still have their time."""
    worker.script = lasting(2.0)
    async with router_process(worker, drain_grace_s=60) as router, router.connect() as client:
        response = await started(client)
        router.process.send_signal(signal.SIGINT)
        await router.until(lambda response: response is None)
        await client.body(response)
        assert response.complete
        assert await router.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_at_once(number: signal.Signals, worker: FakeWorker) -> None:
    """In the stream the client is told why."""
    worker.script = hang_in_a_stream
    async with router_process(worker, drain_grace_s=60) as router, router.connect() as client:
        response = await started(client)
        router.process.send_signal(signal.SIGTERM)
        await router.logged("draining: 1 answers")
        router.process.send_signal(number)
        await client.body(response)
        assert response.complete
        assert _error(response) == "router_shutting_down"
        assert await router.ended() == 0
    assert "asked again: stopping at once" in router.log


async def test_what_does_not_end_in_time_ends_with_an_error(worker: FakeWorker) -> None:
    worker.script = hang_in_a_stream
    async with router_process(worker, drain_grace_s=0, shutdown_timeout_s=1) as router:
        async with router.connect() as client:
            response = await started(client)
            router.process.send_signal(signal.SIGTERM)
            await client.body(response)
            assert response.complete
            assert _error(response) == "router_shutting_down"
        assert await router.ended() == 0
    assert "1 answers are cut off" in router.log


async def test_requests_that_wait_are_served(worker: FakeWorker) -> None:
    """They came before it was known that there would be an end."""
    worker.script = lasting(1.0)
    async with router_process(worker, drain_grace_s=0, max_inflight=1) as router:
        async with router.connect() as one, router.connect() as other:
            first = await started(one)
            await other.post(CHAT, chat(stream=True))
            await asyncio.sleep(0.2)
            router.process.send_signal(signal.SIGTERM)
            await one.body(first)
            second = await other.response()
            assert first.complete
            assert second.body.endswith(b"data: [DONE]\n\n")
        assert await router.ended() == 0


async def test_clients_that_only_keep_a_connection_are_not_waited_for(
    worker: FakeWorker, certificate: Certificate
) -> None:
    """A pool's idle connections are not looked at by anybody, and TLS wants its closing confirmed."""
    tls = certificate.client()
    files = {"tls_cert_file": certificate.cert, "tls_key_file": certificate.key}
    async with router_process(
        worker, tls, drain_grace_s=0, shutdown_timeout_s=600, **files
    ) as router:
        with socket.create_connection(("127.0.0.1", router.port)) as plain:
            idle = await asyncio.to_thread(tls.wrap_socket, plain, server_hostname="127.0.0.1")
            await asyncio.to_thread(idle.sendall, READY)
            assert b"200" in await asyncio.to_thread(idle.recv, 1000)
            router.process.send_signal(signal.SIGTERM)
            assert await router.ended() == 0
            idle.close()


async def test_upload_under_way_is_taken(worker: FakeWorker) -> None:
    body = json.dumps(chat()).encode()
    async with router_process(worker, drain_grace_s=0) as router, router.connect() as client:
        await client.send(request("POST", CHAT, body[:5], [("Content-Length", str(len(body)))]))
        await asyncio.sleep(0.2)
        router.process.send_signal(signal.SIGTERM)
        await router.until(lambda response: response is None)
        await client.send(body[5:])
        response = await client.response()
        assert (response.status, response.header("connection")) == (200, "close")
        assert await router.ended() == 0


def _error(response: Response) -> str:
    found = re.findall(rb'data: (\{"error".*\})', response.body)
    return str(json.loads(found[-1])["error"]["code"])
