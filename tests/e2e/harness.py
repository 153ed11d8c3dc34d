"""What end-to-end tests stand on: the vLLM launcher, the router as a process, raw HTTP, a tap on the wire."""

import contextlib
import http.client
import importlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "deploy" / "vllm-cpu"
ROUTER_START_S = 30.0


def launcher(name: str = "workers") -> ModuleType:
    """A module of deploy/vllm-cpu, which is a folder of scripts and no package."""
    if str(LAUNCHER) not in sys.path:
        sys.path.append(str(LAUNCHER))
    return importlib.import_module(name)


MODEL: str = launcher().WorkerSpec(port=0).served_name


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Poll `condition`; return the seconds it took to become true, or fail saying `what` was awaited."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"{what}: not within {timeout_s} s")
        time.sleep(0.01)
    return time.monotonic() - began


# -- raw HTTP --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer: header names in lower case, in the order received; body without chunking."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header field that may occur once."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def usage(self) -> dict[str, Any]:
        """The usage object of a chat or completion answer, streamed or not."""
        if (self.header("content-type") or "").startswith("text/event-stream"):
            events = re.findall(rb"^data: (\{.*\})$", self.body, re.MULTILINE)
            found = [json.loads(event).get("usage") for event in events]
            return next(usage for usage in reversed(found) if usage)
        usage: dict[str, Any] = self.json()["usage"]
        return usage

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens the engine took from its prefix cache."""
        return int(self.usage["prompt_tokens_details"]["cached_tokens"])


def ask(
    url: str,
    path: str,
    body: bytes | dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> Answer:
    """Send one request on its own connection and read the whole answer."""
    target = urlsplit(url)
    assert target.hostname
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    fields = {"content-type": "application/json"} if body is not None else {}
    try:
        connection.request(method, path, body, fields | (headers or {}))
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    return Answer(
        response.status,
        response.reason,
        tuple((name.lower(), value) for name, value in response.getheaders()),
        data,
    )


def send(url: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> socket.socket:
    """Send a request and return its connection, for the caller to read from and to close."""
    payload = json.dumps(body).encode()
    target = urlsplit(url)
    usual = {"host": target.netloc, "content-type": "application/json"}
    fields = usual | headers | {"content-length": str(len(payload))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    connection = socket.create_connection((target.hostname, target.port), timeout=30)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + payload)
    return connection


def metric(url: str, name: str) -> float:
    """The sum over all series of a metric at `url`/metrics."""
    text = ask(url, "/metrics", method="GET").body.decode()
    values = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, values))


# -- the router ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Router:
    """A running router: `out` is its standard output (request lines), `err` its own log."""

    url: str
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def requests(self) -> list[dict[str, Any]]:
        """The request lines written so far."""
        text = self.out.read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in records if record["event"] == "request"]

    def request_line(self, request_id: str, timeout_s: float = 5.0) -> dict[str, Any]:
        """The line of one request; lines appear a moment after the answer's end."""
        found: list[dict[str, Any]] = []

        def logged() -> bool:
            found[:] = [line for line in self.requests() if line["request_id"] == request_id]
            return bool(found)

        wait_until(logged, timeout_s, f"log line of {request_id}")
        return found[-1]

    def workers(self) -> Any:
        """What /workers says."""
        return ask(self.url, "/workers", method="GET").json()


@contextlib.contextmanager
def router_process(worker_urls: Sequence[str], folder: Path, *options: str) -> Iterator[Router]:
    """Run the router on these workers, yield it when /ready says 200, stop it at the end.

    ROUTER_COMMAND replaces `python -m router` to test another build, an installed one for instance.
    """
    port = free_ports(1)[0]
    command = os.environ.get("ROUTER_COMMAND") or f"{shlex.quote(sys.executable)} -m router"
    arguments = [
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-format",
        "json",
        *options,
    ]
    for url in worker_urls:
        arguments += ["--worker", url]
    out, err = folder / "router.out", folder / "router.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*shlex.split(command), *arguments],
            cwd=ROOT,
            stdout=stdout,
            stderr=stderr,
            env={"PREFIX_ROUTER_DRAIN_GRACE_S": "0", **os.environ},
        )
    router = Router(f"http://127.0.0.1:{port}", process, out, err)
    try:
        wait_until(lambda: _ready(router), ROUTER_START_S, "the router's /ready")
        yield router
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(router: Router) -> bool:
    if router.process.poll() is not None:
        raise AssertionError(f"the router exited: {router.err.read_text(errors='replace')[-2000:]}")
    try:
        return ask(router.url, "/ready", method="GET").status == 200
    except OSError:
        return False
