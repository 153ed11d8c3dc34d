"""The parts of uvicorn's connection class that `router/edge/protocol.py` builds on are as it expects them."""

import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from router.edge.protocol import RouterProtocol
from tests.component.harness import CHAT, RunningRouter, eventually

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_pinned_version_is_the_installed_one() -> None:
    dependencies = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    (pin,) = [entry for entry in dependencies if entry.startswith("uvicorn")]
    assert pin == f"uvicorn=={version('uvicorn')}"


SIGNATURES = {
    "__init__": ["self", "config", "server_state", "app_state", "_loop"],
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "data_received": ["self", "data"],
    "eof_received": ["self"],
    "on_message_begin": ["self"],
    "on_url": ["self", "url"],
    "on_header": ["self", "name", "value"],
    "on_headers_complete": ["self"],
    "on_body": ["self", "body"],
    "on_message_complete": ["self"],
    "on_response_complete": ["self"],
    "_start_asgi_task": ["self", "cycle", "app"],
    "_unset_keepalive_if_required": ["self"],
    "send_400_response": ["self", "msg"],
    "pause_writing": ["self"],
    "resume_writing": ["self"],
    "shutdown": ["self"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_method(name: str) -> None:
    method: Any = getattr(HttpToolsProtocol, name)
    assert list(inspect.signature(method).parameters) == SIGNATURES[name]


def test_overrides_override_something() -> None:
    """A method of ours whose base was renamed would silently never be called."""
    ours = {
        name
        for name, value in vars(RouterProtocol).items()
        if inspect.isfunction(value) and name in SIGNATURES
    }
    assert {"on_headers_complete", "on_body", "on_message_complete", "_start_asgi_task"} <= ours
    for name in ours:
        theirs = inspect.signature(getattr(HttpToolsProtocol, name))
        mine = inspect.signature(getattr(RouterProtocol, name))
        if name != "__init__":
            assert len(mine.parameters) == len(theirs.parameters), name


def test_attributes_of_the_connection() -> None:
    config = Config(lambda: None, lifespan="off", log_config=None)

    class Loop:
        pass

    protocol: Any = HttpToolsProtocol(config, ServerState(), {}, Loop())  # type: ignore[arg-type]
    for name in ("cycle", "flow", "pipeline", "parser", "transport", "loop", "tasks", "app",
                 "headers", "server_state", "config", "connections",
                 "timeout_keep_alive", "timeout_keep_alive_task"):  # fmt: skip
        assert hasattr(protocol, name), name
    assert protocol.cycle is None
    assert protocol.flow is None


def test_what_is_read_of_a_cycle() -> None:
    """An exchange stands in for uvicorn's cycle: what the connection reads of one must be known."""
    source = inspect.getsource(HttpToolsProtocol)
    read = {
        word
        for part in source.split("self.cycle.")[1:]
        for word in [part.split("(")[0].split(" ")[0].split(".")[0].split(")")[0].strip(":\n")]
    }
    assert read == {
        "body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete",
    }  # fmt: skip
    assert "existing_cycle.response_complete" in source
    assert "on_response" in inspect.signature(RequestResponseCycle.__init__).parameters


def test_what_we_read_of_uvicorn_s_cycle() -> None:
    source = inspect.getsource(RequestResponseCycle.__init__)
    for name in ("body", "disconnected", "keep_alive", "more_body", "response_complete",
                 "response_started"):  # fmt: skip
        assert f"self.{name} = " in source


async def test_connection_is_given_up_even_when_cancelling_fails(
    router: RunningRouter, caplog: pytest.LogCaptureFixture
) -> None:
    """Or shutdown would wait for it."""

    class Broken:
        def disconnect(self) -> None:
            raise ZeroDivisionError

    connections = router.server.server_state.connections
    async with router.connect() as client:
        await client.call(CHAT, {})
        (connection,) = connections
        connection._current = Broken()  # type: ignore[union-attr]
    await eventually(lambda: not connections)
    caplog.clear()


def test_the_rest() -> None:
    for name in ("pause_reading", "resume_reading", "pause_writing", "resume_writing"):
        assert callable(getattr(FlowControl, name))
    assert httptools_impl.STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    parameters = inspect.signature(Config.__init__).parameters
    for name in (
        "http",
        "timeout_graceful_shutdown",
        "timeout_keep_alive",
        "ssl_context_factory",
        "backlog",
    ):
        assert name in parameters
    for name in ("serve", "shutdown"):
        assert list(inspect.signature(getattr(Server, name)).parameters) == ["self", "sockets"]
    assert "with self.capture_signals():" in inspect.getsource(Server.serve)
    assert "await self.shutdown(sockets=sockets)" in inspect.getsource(Server._serve)
    assert {"should_exit", "force_exit"} <= set(vars(Server(Config(lambda: None))))
    assert {"connections", "tasks", "total_requests"} <= set(vars(ServerState()))


async def test_requests_are_counted(router: RunningRouter) -> None:
    """uvicorn's own count of requests includes ours, and its tasks are ours while they run."""
    before = router.server.server_state.total_requests
    for target in (CHAT, "/health", CHAT):
        async with router.connect() as client:
            await client.call(target, {})
    assert router.server.server_state.total_requests == before + 3
    assert not router.server.server_state.tasks
