"""Who is looked at when. What is done to connections then: tests/component/test_edge_limits.py."""

from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from router.edge import watched
from router.edge.exchange import Routes
from router.edge.watched import Sweeper, WatchedProtocol
from tests.unit.edge.support import edge_services


class Transport:
    """A client's that has so many bytes to read yet."""

    def __init__(self) -> None:
        self.unread = 100_000
        self.cut = False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.cut = True


class Answering(WatchedProtocol):
    """A connection on which an answer never ends."""

    def __init__(self) -> None:
        config = Config(_no_app, lifespan="off", log_config=None)
        services = edge_services(None, Routes(None))
        super().__init__(services, config, ServerState(), {})
        self.sent: Any = Transport()
        self.transport = self.sent
        self.flow = FlowControl(self.sent)

    def answering(self) -> bool:
        return True


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    pass


class TestReaders:
    """The time is 300 s."""

    async def swept(self, then: Callable[[Answering], None]) -> bool:
        """Whether a client is cut of whom this is seen every 100 s."""
        connection = Answering()
        for now in range(0, 1500, 100):
            connection.sweep(float(now))
            then(connection)
        return bool(connection.sent.cut)

    async def test_one_that_reads_nothing_is_cut(self) -> None:
        assert await self.swept(lambda connection: None)

    async def test_nor_does_it_help_that_there_is_more_and_more(self) -> None:
        def more(connection: Answering) -> None:
            connection.sent.unread += 10

        assert await self.swept(more)

    async def test_one_that_reads_slowly_is_not(self) -> None:
        def less(connection: Answering) -> None:
            connection.sent.unread -= 1

        assert not await self.swept(less)

    async def test_one_for_whom_there_is_as_much_again_is_not(self) -> None:
        def filled_again(connection: Answering) -> None:
            connection.pause_writing()
            connection.resume_writing()

        assert not await self.swept(filled_again)

    async def test_one_that_has_read_all_is_not(self) -> None:
        def all_of_it(connection: Answering) -> None:
            connection.sent.unread = 0

        assert not await self.swept(all_of_it)


class Seen(WatchedProtocol):
    """Notes when it was swept."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def sweep(self, now: float) -> None:
        self.at.append(now)


def server(count: int) -> tuple[ServerState, list[Seen]]:
    state, made = ServerState(), [Seen() for _ in range(count)]
    connections: Any = state.connections
    connections.update(made)
    return state, made


def test_few_are_swept_each_time() -> None:
    state, made = server(3)
    sweeper = Sweeper(state)
    for now in range(4):
        sweeper.sweep(now)
    assert [each.at for each in made] == [[0, 1, 2, 3]] * 3


def test_many_are_swept_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_AT_LEAST", 2)
    state, made = server(100)
    sweeper = Sweeper(state)
    for now in range(8):
        sweeper.sweep(now)
    assert all(len(each.at) == 1 for each in made)
    assert {at for each in made for at in each.at} == set(range(8))


def test_those_that_left_are_not_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_AT_LEAST", 1)
    state, made = server(8)
    sweeper = Sweeper(state)
    sweeper.sweep(1)
    state.connections.clear()
    for now in range(2, 20):
        sweeper.sweep(now)
    assert sum(len(each.at) for each in made) <= 2
    assert not sweeper._left


def test_other_servers_connections_are_left_alone() -> None:
    state, _ = server(0)
    connections: Any = state.connections
    connections.add(object())
    Sweeper(state).sweep(1)
