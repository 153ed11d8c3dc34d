"""Worker addresses and the keep-alive connections to one of them."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import errors
from router.upstream import pool as pool_module
from router.upstream.connection import Connection
from router.upstream.limits import TimeLimits
from router.upstream.pool import Address, Pool
from tests.unit.support import FakeHandler, FakeTransport


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "address", "authority"),
        [
            ("http://gpu-1:8000", Address("gpu-1", 8000, False, b""), "gpu-1:8000"),
            ("http://gpu-1", Address("gpu-1", 80, False, b""), "gpu-1:80"),
            ("https://gpu-1", Address("gpu-1", 443, True, b""), "gpu-1:443"),
            ("gpu-1:8000", Address("gpu-1", 8000, False, b""), "gpu-1:8000"),
            ("HTTP://GPU-1:8000/", Address("gpu-1", 8000, False, b""), "gpu-1:8000"),
            ("http://h:1/a/b/", Address("h", 1, False, b"/a/b"), "h:1"),
            ("http://[::1]:8000", Address("::1", 8000, False, b""), "[::1]:8000"),
            ("http://[0:0:0:0:0:0:0:1]:8000", Address("::1", 8000, False, b""), "[::1]:8000"),
            ("http://[FD00:0::01]:8000", Address("fd00::1", 8000, False, b""), "[fd00::1]:8000"),
            ("http://10.0.0.1:8000", Address("10.0.0.1", 8000, False, b""), "10.0.0.1:8000"),
        ],
    )
    def test_urls(self, url: str, address: Address, authority: str) -> None:
        assert Address.parse(url) == address
        assert Address.parse(url).authority == authority

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "ftp://h",
            "http://",
            "http://:80",
            "http://h:99999",
            "http://h:x",
            "http://h/?q=1",
            "http://h/#f",
            "http://user@h",
            "http://user:secret@h",
            "http://[::1",
            "http://gpu..1:8000",
            "http://" + "a" * 70 + ":8000",
            "http://gpü:8000",
            "http://h/é",
        ],
    )
    def test_what_is_no_worker_url(self, url: str) -> None:
        """`check` has to find these: at run time they would be a crash or a worker that is always down."""
        with pytest.raises(ValueError, match=r"."):
            Address.parse(url)

    @given(st.text(max_size=30))
    def test_any_text_is_an_address_or_a_value_error(self, text: str) -> None:
        address = None
        with contextlib.suppress(ValueError):
            address = Address.parse(text)
        assert address is None or address.authority.isascii()


class Clock:
    """perf_counter, set by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pool_module, "time", clock)
    return clock


def make_pool(idle_s: float = 4.0, address: Address | None = None) -> Pool:
    address = address or Address("gpu-1", 8000, False, b"")
    return Pool(address, None, connect_s=1.0, idle_s=idle_s)


def put(pool: Pool) -> tuple[Connection, FakeTransport]:
    """An idle connection in `pool`."""
    connection, transport = Connection(pool), FakeTransport()
    connection.connection_made(transport)
    pool._open.add(connection)
    pool.connection_idle(connection)
    return connection, transport


class TestIdle:
    def test_an_empty_pool_has_none(self, clock: Clock) -> None:
        assert make_pool().take() is None

    def test_the_last_used_comes_first(self, clock: Clock) -> None:
        pool = make_pool()
        first, _ = put(pool)
        second, _ = put(pool)
        assert repr(pool) == "<Pool gpu-1:8000: 0 busy, 2 idle>"
        assert pool.take() is second
        assert pool.take() is first
        assert pool.take() is None
        assert repr(pool) == "<Pool gpu-1:8000: 2 busy, 0 idle>"

    def test_one_idle_too_long_is_closed_rather_than_trusted(self, clock: Clock) -> None:
        pool = make_pool(idle_s=4.0)
        _, transport = put(pool)
        clock.now += 4.0
        assert pool.take() is None
        assert transport.is_closing()

    def test_one_that_is_closing_is_passed_over(self, clock: Clock) -> None:
        pool = make_pool()
        good, _ = put(pool)
        _, transport = put(pool)
        transport.close()
        assert pool.take() is good

    def test_one_that_closed_is_forgotten(self, clock: Clock) -> None:
        pool = make_pool()
        connection, _ = put(pool)
        connection.connection_lost(None)
        assert pool.take() is None
        assert repr(pool) == "<Pool gpu-1:8000: 0 busy, 0 idle>"

    def test_sweeping_closes_those_idle_too_long(self, clock: Clock) -> None:
        pool = make_pool(idle_s=4.0)
        _, old = put(pool)
        clock.now += 3.0
        _, young = put(pool)
        clock.now += 2.0
        pool.sweep()
        assert old.is_closing()
        assert not young.is_closing()

    def test_idle_ones_can_be_dropped(self, clock: Clock) -> None:
        pool = make_pool()
        _, idle = put(pool)
        _, busy = put(pool)
        assert pool.take() is not None
        pool.drop_idle()
        assert idle.is_closing()
        assert not busy.is_closing()

    def test_what_comes_is_counted_over_connections_that_are_gone_too(self, clock: Clock) -> None:
        pool = make_pool()
        first, _ = put(pool)
        second, _ = put(pool)
        assert (pool.reads, len(pool._open)) == (0, 2)
        for connection in (first, second):
            pool.take()
            connection.send(b"", b"", FakeHandler(), is_head=False)
            connection.data_received(b"HTTP/1.1 200 OK\r\n")
            connection.data_received(b"content-length: 5\r\n\r\n")
        assert pool.reads == 4
        first.connection_lost(None)
        assert (pool.reads, len(pool._open)) == (4, 1)
        first.connection_lost(None)
        assert pool.reads == 4, "once"
        pool.discount(3)
        assert pool.reads == 1

    def test_all_answers_are_looked_at(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("router.upstream.connection.perf_counter", lambda: 0.0)
        pool = make_pool()
        (busy, _), (idle, transport) = put(pool), put(pool)
        pool.take()
        pool.take()
        handler = FakeHandler()
        busy.limit(TimeLimits(first_byte_s=5.0), 0.0)
        busy.send(b"", b"", handler, is_head=False)
        pool.connection_idle(idle)
        pool.look(4.0, up=True)
        assert handler.events == []
        pool.look(6.0, up=True)
        assert handler.events == [("lost", "worker_timeout")]
        assert not transport.is_closing()

    def test_closing_ends_answers_under_way_with_the_reason(self, clock: Clock) -> None:
        pool = make_pool()
        _, idle = put(pool)
        busy, transport = put(pool)
        assert pool.take() is busy
        handler = FakeHandler()
        busy.send(b"", b"", handler, is_head=False)
        pool.close(errors.SHUTTING_DOWN)
        assert idle.is_closing()
        assert transport.aborted
        assert handler.told() == [("lost", "router_shutting_down")]
        assert pool.take() is None


class Worker(asyncio.Protocol):
    """Answers whatever comes with `answer`."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.gone = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[Address]:
    """`worker` on a free port, until its one client has gone."""
    server = await asyncio.get_running_loop().create_server(lambda: worker, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Address("127.0.0.1", port, False, b"")
        await worker.gone.wait()


class Until(FakeHandler):
    """Sets `done` when the answer has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()

    def on_complete(self, trailers: list[tuple[bytes, bytes]]) -> None:
        super().on_complete(trailers)
        self.done.set()


class TestConnect:
    async def test_a_connection_serves_and_comes_back(self) -> None:
        worker = Worker(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        async with serving(worker) as address:
            pool = make_pool(address=address)
            connection = await pool.connect()
            assert repr(pool).endswith("1 busy, 0 idle>")
            handler = Until()
            connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", handler, is_head=False)
            await handler.done.wait()
            assert handler.told()[1:] == [("body", b"ok"), ("complete", [])]
            assert pool.take() is connection
            pool.close(errors.SHUTTING_DOWN)

    async def test_nobody_listening_is_unreachable(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(errors.RouterError) as caught:
            await make_pool(address=Address("127.0.0.1", port, False, b"")).connect()
        assert caught.value.code == "worker_unreachable"
        assert caught.value.retryable

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
    async def test_no_socket_left_here_is_no_fault_of_the_worker(
        self, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*args: object, **rest: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        with pytest.raises(errors.RouterError, match="limit of open files") as caught:
            await make_pool().connect()
        assert caught.value.status == 503
        assert caught.value.source is errors.Source.ROUTER
        assert not caught.value.retryable, "the next worker's connection needs a socket too"

    @pytest.mark.parametrize("error", [OSError("no route"), UnicodeError("label too long")])
    async def test_a_name_that_cannot_be_resolved_is_unreachable(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*args: object, **rest: object) -> None:
            raise error

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        with pytest.raises(errors.RouterError) as caught:
            await make_pool().connect()
        assert caught.value.code == "worker_unreachable"

    async def test_a_connection_that_takes_too_long_is_unreachable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hang(*args: object, **rest: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", hang)
        pool = Pool(Address("h", 1, False, b""), None, connect_s=0.01, idle_s=1.0)
        with pytest.raises(errors.RouterError, match=r"no connection within 0\.01 s"):
            await pool.connect()

    async def test_a_worker_that_closes_at_once_is_unreachable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def closed(factory: type[Connection], *args: object, **rest: object) -> object:
            connection, transport = factory(), FakeTransport()  # type: ignore[call-arg]
            connection.connection_made(transport)
            transport.close()
            return transport, connection

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", closed)
        with pytest.raises(errors.RouterError, match="closed the connection at once"):
            await make_pool().connect()

    async def test_a_cancelled_connect_leaves_nothing_open(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        transport = FakeTransport()

        async def made_but_not_told(
            factory: type[Connection], *args: object, **rest: object
        ) -> None:
            factory().connection_made(transport)  # type: ignore[call-arg]
            await asyncio.Event().wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", made_but_not_told)
        pool = make_pool()
        connecting = asyncio.ensure_future(pool.connect())
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert transport.is_closing()
        assert repr(pool).endswith("0 busy, 0 idle>")
