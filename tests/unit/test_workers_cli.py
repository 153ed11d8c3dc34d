"""`prefix-router workers`: what is asked of a router, and what a person reads."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.workers_cli import workers

ROW: dict[str, Any] = {
    "id": "gpu-1:8000",
    "up": True,
    "name": "prod/vllm-0",
    "state": "up",
    "error": None,
    "models": ["m", "lora"],
    "inflight": 3,
    "requests_waiting": None,
    "kv_cache_usage": 0.25,
    "index_blocks": {"gpu": 1200, "cpu": 34},
    "source": "configuration",
}
BROKEN = ROW | {
    "id": "gpu-2:8000",
    "up": False,
    "name": "",
    "state": "down",
    "error": "Worker gpu-2:8000 cannot be reached: Connection refused.",
    "inflight": 1,
    "models": [],
    "kv_cache_usage": None,
}


class Router(ThreadingHTTPServer):
    """Answers as a router does; what it was asked is in `asked`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, Any]] = []
        self.keys: list[str | None] = []
        self.rows = [ROW, BROKEN]
        self.changed = ROW
        """What a change is answered with."""
        self.refusal: tuple[int, str] | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Router

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = json.loads(body) if body else None
        self.server.asked.append((self.command, self.path, asked))
        self.server.keys.append(self.headers.get("authorization"))
        status, answer = 201 if asked else 200, {"workers": self.server.rows}
        if self.path != "/workers" or asked:
            answer = self.server.changed
        if self.server.refusal is not None:
            status, message = self.server.refusal
            answer = {"error": {"message": message}}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def router() -> Iterator[Router]:
    with running() as server:
        yield server


@contextmanager
def running() -> Iterator[Router]:
    server = Router()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def call(router: Router, *arguments: str, **environment: str) -> Result:
    url = f"http://127.0.0.1:{router.server_port}"
    return CliRunner().invoke(workers, ["--router", url, *arguments], env=environment)


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_they_are_listed(router: Router, arguments: tuple[str, ...]) -> None:
    result = call(router, *arguments)
    assert result.exit_code == 0, result.output
    *table, reason = result.output.splitlines()
    assert reason == "gpu-2:8000 is down (cannot be reached: Connection refused)"
    head, first, second = [line.split() for line in table]
    assert head[:2] == ["worker", "state"]
    assert first == [
        "gpu-1:8000",
        "(prod/vllm-0)",
        "up",
        "m,",
        "lora",
        "3",
        "-",
        "25%",
        "1,234",
        "configuration",
    ]
    assert second == [
        "gpu-2:8000",
        "down",
        "-",
        "1",
        "-",
        "-",
        "1,234",
        "configuration",
    ]


def test_all_that_is_known_is_printed_as_json(router: Router) -> None:
    assert json.loads(call(router, "list", "--json").output) == [ROW, BROKEN]


def test_there_may_be_none(router: Router) -> None:
    router.rows = []
    assert call(router).output == "There are no workers.\n"


@pytest.mark.parametrize(
    ("arguments", "asked", "says"),
    [
        (
            ("add", "http://gpu-1:8000"),
            ("POST", "/workers", {"url": "http://gpu-1:8000"}),
            "in the",
        ),
        (("drain", "gpu-1:8000"), ("POST", "/workers/gpu-1:8000/drain", None), "is drained: 3 req"),
        (
            ("drain", "http://gpu-1:8000/"),
            ("POST", "/workers/gpu-1:8000/drain", None),
            "is drained",
        ),
        (("drain", "https://GPU-1/x"), ("POST", "/workers/gpu-1:443/x/drain", None), "is drained"),
        (("remove", "http://g#1"), ("DELETE", "/workers/g:80%231", None), "is removed"),
        (
            ("undrain", "gpu-1:8000/v1"),
            ("POST", "/workers/gpu-1:8000/v1/undrain", None),
            "again: up",
        ),
        (("remove", "gpu-1:8000"), ("DELETE", "/workers/gpu-1:8000", None), "removed: 3 requests"),
        (("drain", "[::1]:1#2"), ("POST", "/workers/%5B::1%5D:1%232/drain", None), "is drained"),
    ],
)
def test_one_is_changed(
    router: Router, arguments: tuple[str, ...], asked: tuple[str, str, Any], says: str
) -> None:
    result = call(router, *arguments)
    assert result.exit_code == 0, result.output
    assert router.asked == [asked]
    assert says in result.output


def test_one_request_is_not_several(router: Router) -> None:
    router.changed = BROKEN
    assert call(router, "drain", "g:1").output == "gpu-2:8000 is drained: 1 request is under way\n"
    assert "1 request is under way" in call(router, "remove", "g:1").output
    assert call(router, "undrain", "g:1").output == (
        "gpu-2:8000 is given requests again: down (cannot be reached: Connection refused)\n"
    )


def test_a_server_is_changed_with_all_its_ranks(router: Router) -> None:
    router.changed = ROW | {"ranks": ["gpu-1:8000", "gpu-1:8000#1"]}
    for change, says in (("drain", "drained: 3 requests are under way"), ("remove", "removed: 3")):
        assert f"gpu-1:8000 (2 ranks) is {says}" in call(router, change, "gpu-1:8000#1").output


def test_who_drains_a_worker_beside_the_operator_is_said(router: Router) -> None:
    router.changed = ROW | {"state": "draining", "drained_by": ["file workers.yaml"]}
    output = call(router, "undrain", "g:1").output
    assert output == "gpu-1:8000 stays drained, for so says: file workers.yaml\n"


@pytest.mark.parametrize(
    ("untold", "warning"),
    [
        ("http://10.0.0.2:8080", "warning: http://10.0.0.2:8080 could not be told"),
        ("kubernetes routers a: HTTP 403", "warning: others were not told: kubernetes routers a:"),
    ],
)
@pytest.mark.parametrize(
    "arguments", [("drain", "g:1"), ("undrain", "g:1"), ("remove", "g:1"), ("add", "http://g:1")]
)
def test_who_could_not_be_told_is_named_and_the_command_fails(
    router: Router, arguments: tuple[str, ...], untold: str, warning: str
) -> None:
    router.changed = ROW | {"untold_replicas": [untold]}
    result = call(router, *arguments)
    assert (result.exit_code, warning in result.stderr) == (1, True)
    assert "gpu-1:8000" in result.stdout


NEW = ROW | {"up": False, "state": "down"}


@pytest.mark.parametrize(
    ("later", "says"),
    [
        (ROW, "up"),
        (NEW | {"error": "Worker gpu-1:8000 is ill."}, "down (is ill)"),
        (NEW, "not asked yet"),
    ],
)
def test_a_new_worker_is_probed_first(
    router: Router, later: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.workers_cli._PROBED_WITHIN_S", 0.3)
    router.changed, router.rows = NEW, [later]
    assert call(router, "add", "http://g:1").output == f"gpu-1:8000 is in the fleet: {says}\n"


def test_an_error_names_the_command(router: Router) -> None:
    router.refusal = 404, "There is no worker 'x'; GET /workers lists them."
    output = call(router, "drain", "x").output
    assert output == "Error: There is no worker 'x'; `prefix-router workers` lists them.\n"


def test_what_is_no_worker_s_url(router: Router) -> None:
    result = call(router, "drain", "ftp://x")
    assert (result.exit_code, router.asked) == (2, [])


def test_it_fits_the_terminal(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.workers_cli.terminal_width", lambda: 60)
    lines = call(router).output.splitlines()
    assert max(map(len, lines)) <= 60
    assert "gpu-1:8000 (prod/vllm-0)" in lines


def test_the_admin_key_is_sent(router: Router) -> None:
    call(router, "--admin-key", "sesame", "list")
    call(router, PREFIX_ROUTER_ADMIN_KEY="simsalabim")
    call(router)
    assert router.keys == ["Bearer sesame", "Bearer simsalabim", None]


def test_what_the_router_says_no_to_is_said(router: Router) -> None:
    router.refusal = 403, "set `admin_key`"
    result = call(router, "remove", "gpu-1:8000")
    assert (result.exit_code, result.output) == (1, "Error: set `admin_key`\n")


def test_no_router_is_there() -> None:
    with running() as router:
        port = router.server_port
    result = CliRunner().invoke(workers, ["--router", f"http://127.0.0.1:{port}"])
    assert result.exit_code == 1
    assert "is a router running there?" in result.output


def test_what_is_no_url(router: Router) -> None:
    result = CliRunner().invoke(workers, ["--router", "ftp://x"])
    assert (result.exit_code, "is not the URL of a router" in result.output) == (2, True)
    assert router.asked == []
