"""The composition root: what is wired to what, and that nothing is left running."""

import asyncio
import io
import logging
import socket
import sys
from typing import Any

import pytest
import uvicorn

from router import app as app_module
from router.app import App, build, json_logs, run, server_config
from router.edge.limits import Limits
from router.process import installed_version
from router.prompt.endpoints import PATHS
from router.routing.peers import HELD
from router.routing.queue import LateBinding
from router.routing.registry import POLICIES
from router.servers import Server, admin_server, local_url
from router.settings import Settings
from router.telemetry.logs import RequestLog
from tests.unit.support import chat, request

WORKERS = ["http://a:1", "http://b:2"]


def make(**settings: Any) -> App:
    return build(Settings(**{"workers": WORKERS, **settings}), RequestLog(io.BytesIO(), json=True))


class TestBuild:
    def test_the_workers_are_there(self) -> None:
        assert [worker.id for worker in make().fleet] == ["a:1", "b:2"]

    @pytest.mark.parametrize("policy", POLICIES)
    def test_every_policy_can_be_built(self, policy: str) -> None:
        app = make(policy=policy)
        assert app.dispatch._admission.name == policy
        assert app.dispatch._aside.name == policy
        waits = policy in ("prefix", *HELD)
        assert (app.dispatch._aside is app.dispatch._admission) is not waits

    def test_settings_reach_the_queue(self) -> None:
        app = make(room_tokens=1, max_inflight=2, queue_limit=3, queue_timeout_s=4.0)
        queue = app.dispatch._admission
        assert isinstance(queue, LateBinding)
        options = queue.options
        assert (options.room_tokens, options.max_inflight) == (1, 2)
        assert (options.limit, options.timeout_s) == (3, 4.0)

    def test_settings_reach_the_reading_of_callers_and_metrics(self) -> None:
        app = make(tenant_header="X-Team", metrics_interval_s=9.0)
        asked = request(chat("q"), headers=[(b"x-team", b"red")])
        assert app.dispatch._caller(asked) == ("red", 0)
        assert app.poller.interval_s == 9.0

    def test_settings_reach_the_edge(self) -> None:
        app = make(
            body_limit=123,
            max_connections=4,
            keep_alive_s=5,
            receive_timeout_s=6,
            client_stall_timeout_s=7,
            body_memory_limit=800,
            allow_paths=["/v2/*"],
        )
        assert app.services.limits == Limits(123, 4, 5, 6, 7)
        assert app.services.bodies.limit == 800
        assert app.services.rejected is app.metrics.rejected
        assert app.services.cors is None
        assert make(cors_origins=["https://a"]).services.cors is not None
        assert app.services.routes.find(b"/v2/x") is not None
        assert all(app.services.routes.find(path.encode()) for path in PATHS)

    def test_two_apps_share_nothing(self) -> None:
        one, other = make(), make()
        one.services.drain.ask(graceful=True)
        assert not other.services.drain.active
        one.fleet.set_workers([])
        assert len(other.fleet) == 2
        assert one.metrics is not other.metrics

    def test_the_parts_are_tied_together(self) -> None:
        app = make()
        assert app.fleet.on_change == app.dispatch.stir
        assert app.poller._on_report == app.dispatch.stir

    def test_a_scrape_counts_what_has_ended(self) -> None:
        app = make()
        assert app.metrics.settle == app.reporter.settle


def test_the_administrator_s_listener() -> None:
    assert admin_server(make()) is None
    server = admin_server(make(admin_port=99, admin_host="::1"))
    assert server is not None
    assert (server.config.host, server.config.port) == ("::1", 99)


@pytest.mark.parametrize(
    ("settings", "files", "warned"),
    [
        ({}, None, []),
        ({"max_connections": 999}, 1000, []),
        ({"max_connections": 1000}, 1000, ["1000 files"]),
        ({"api_keys": "t=k"}, None, ["set admin_key or admin_port"]),
        ({"api_keys": "t=k", "admin_key": "a"}, None, []),
        ({"api_keys": "t=k", "admin_port": 1}, None, []),
        ({"api_keys": "t=k", "host": "127.0.0.2"}, None, []),
        ({"api_keys": "t=k", "host": "localhost"}, None, []),
        ({"api_keys": "t=k", "host": "router"}, None, ["router:8080"]),
    ],
)
def test_what_will_not_do_is_warned_of(
    settings: dict[str, Any],
    files: int | None,
    warned: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app_module._warn_of(Settings(**settings), files)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(warned)
    assert all(text in caplog.text for text in warned)


def test_a_limit_that_nobody_set_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app_module._warn_of(Settings(), 1000)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "ulimit -n" in record.getMessage()


@pytest.mark.parametrize("has_console", [True, False])
async def test_the_console_is_named(caplog: pytest.LogCaptureFixture, *, has_console: bool) -> None:
    caplog.set_level(logging.INFO)
    server = Server(server_config(make(host="127.0.0.1", port=0)), has_console=has_console)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
    assert (f"console: http://127.0.0.1:{port}/" in caplog.text) is has_console


@pytest.mark.parametrize(
    ("host", "tls", "url"),
    [
        ("0.0.0.0", False, "http://127.0.0.1:1"),
        ("", False, "http://127.0.0.1:1"),
        ("::", False, "http://[::1]:1"),
        ("fe80::1", True, "https://[fe80::1]:1"),
        ("router", False, "http://router:1"),
    ],
)
def test_where_a_browser_finds_it(host: str, url: str, *, tls: bool) -> None:
    assert local_url(host, 1, tls=tls) == url


def test_the_server_s_configuration() -> None:
    app = make(host="127.0.0.1", port=1234, keep_alive_s=7.0, shutdown_timeout_s=3.0)
    config = server_config(app)
    assert (config.host, config.port) == ("127.0.0.1", 1234)
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (7, 3)
    assert config.app is app.asgi


@pytest.mark.parametrize(
    ("log_format", "terminal", "json"),
    [
        ("json", True, True),
        ("text", False, False),
        ("auto", True, False),
        ("auto", False, True),
    ],
)
def test_the_form_of_the_log(
    monkeypatch: pytest.MonkeyPatch, log_format: Any, terminal: bool, json: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert json_logs(Settings(log_format=log_format)) is json


def test_the_version_is_a_text() -> None:
    assert installed_version()


class FakeServer:
    """Serves for as long as `serve` says."""

    def __init__(self, app: App, error: Exception | None = None) -> None:
        self.app = app
        self.error = error
        self.sockets: list[socket.socket] | None = None
        self.should_exit = False
        self.server_state = uvicorn.server.ServerState()
        self.tasks: set[str] = set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self.sockets = sockets
        self.tasks = {task.get_name() for task in asyncio.all_tasks()}
        await asyncio.sleep(0.02)
        if self.error is not None:
            raise self.error


class TestRun:
    @pytest.fixture(autouse=True)
    def fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app_module, "_FIRST_PROBE_S", 0.05)
        monkeypatch.setattr(app_module, "_HOUSEKEEPING_S", 0.005)

    def idle_app(self) -> App:
        """No workers: nothing is probed."""
        return make(workers=[])

    async def test_background_tasks_run_beside_the_server_and_end_with_it(self) -> None:
        app = self.idle_app()
        server = FakeServer(app)
        sockets: list[socket.socket] = []
        await run(app, server, sockets)  # type: ignore[arg-type]
        assert server.sockets is sockets
        assert server.tasks >= {"health", "housekeeping", "metrics"}
        assert len(asyncio.all_tasks()) == 1

    async def test_those_that_wait_are_kept_and_in_the_end_turned_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app, calls = self.idle_app(), list[str]()
        monkeypatch.setattr(type(app.dispatch), "keep", lambda self, now: calls.append("keep"))
        monkeypatch.setattr(
            type(app.dispatch), "close", lambda self, error: calls.append(error.code)
        )
        await run(app, FakeServer(app))  # type: ignore[arg-type]
        assert calls.count("keep") >= 1
        assert calls[-1] == "router_shutting_down"

    async def test_they_end_with_a_server_that_fails(self) -> None:
        app = self.idle_app()
        with pytest.raises(ExceptionGroup) as caught:
            await run(app, FakeServer(app, OSError("address in use")))  # type: ignore[arg-type]
        assert caught.group_contains(OSError, match="address in use")
        assert len(asyncio.all_tasks()) == 1

    async def test_asked_to_stop_before_it_serves(self) -> None:
        app = make(workers=["http://127.0.0.1:1"])
        app.services.drain.ask(graceful=True)
        server = FakeServer(app)
        await run(app, server)  # type: ignore[arg-type]
        assert server.tasks == set()

    async def test_no_workers_are_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        app = self.idle_app()
        await run(app, FakeServer(app))  # type: ignore[arg-type]
        assert "no workers are configured" in caplog.text

    async def test_a_dead_worker_does_not_hold_the_start_up(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        caplog.set_level(logging.WARNING)
        app = make(workers=[f"http://127.0.0.1:{port}"])
        async with asyncio.timeout(5):
            await run(app, FakeServer(app))  # type: ignore[arg-type]
        assert "is down" in caplog.text

    async def test_what_is_known_is_written_out_in_the_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app, calls = self.idle_app(), list[str]()
        monkeypatch.setattr(type(app.reporter), "settle", lambda self: calls.append("settle"))
        monkeypatch.setattr(type(app.request_log), "flush", lambda self: calls.append("flush"))
        monkeypatch.setattr(type(app.fleet), "sweep", lambda self: calls.append("sweep"))
        await run(app, FakeServer(app))  # type: ignore[arg-type]
        assert calls.count("sweep") >= 1
        assert calls[-2:] == ["settle", "flush"]


async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    """As drivers do now and then; the router must end all the same."""
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 2:
                    raise

    tasks = [asyncio.ensure_future(stubborn()), asyncio.ensure_future(asyncio.sleep(60))]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await app_module._ended(tasks)  # type: ignore[arg-type]
    assert lost == 2
    assert all(task.done() for task in tasks)
