"""A real Prometheus on loopback, and promtool."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.fakes.ports import free_ports

START_S = 30.0
STOP_S = 10.0


def binary(name: str) -> str:
    """`prometheus` or `promtool`. Without it the test is skipped, or fails when TEST_PROMETHEUS is `require`."""
    return shutil.which(name) or _give_up(f"{name} is not installed")


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("TEST_PROMETHEUS") == "require":
        pytest.fail(reason)
    pytest.skip(reason)


def promtool(*arguments: str | Path, folder: Path) -> tuple[int, str]:
    """Exit status and all that it says, run in `folder`."""
    done = subprocess.run(
        [binary("promtool"), *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout


class QueryError(AssertionError):
    """Prometheus refuses a query; its words."""


@dataclass(frozen=True, slots=True)
class Series:
    """Labels and values by time, epoch seconds; a single one of an instant query."""

    labels: dict[str, str]
    values: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """What to ask a running server."""

    url: str
    log: Path

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API. Raises `QueryError`."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise QueryError(f"{parameters}: {json.load(error).get('error')}") from None

    def now(self, expr: str, at: float) -> list[Series]:
        """An expression's value at a time."""
        data = self.get("query", query=expr, time=str(at))
        if data["resultType"] == "scalar":
            return [Series({}, [_pair(data["result"])])]
        return [Series(each["metric"], [_pair(each["value"])]) for each in data["result"]]

    def over(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        """Its values over a time."""
        data = self.get("query_range", query=expr, start=str(start), end=str(end), step=str(step_s))
        return [
            Series(each["metric"], [_pair(value) for value in each["values"]])
            for each in data["result"]
        ]


def _pair(value: list[Any]) -> tuple[float, float]:
    return float(value[0]), float(value[1])


@contextlib.contextmanager
def prometheus(config: str, **files: str) -> Iterator[Prometheus]:
    """A server with this configuration, and `files` beside it by name (without `.yaml`); it keeps nothing behind."""
    executable = binary("prometheus")
    with tempfile.TemporaryDirectory(prefix="prometheus-") as name:
        folder, port = Path(name), free_ports(1)[0]
        for stem, text in {"prometheus": config, **files}.items():
            (folder / f"{stem}.yaml").write_text(text, encoding="utf-8")
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    executable,
                    f"--config.file={folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        server = Prometheus(f"http://127.0.0.1:{port}", log)
        try:
            _await_ready(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(server: Prometheus, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while True:
        assert process.poll() is None, server.log.read_text(errors="replace")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/-/ready"):
            return
        assert time.monotonic() < end, server.log.read_text(errors="replace")
        time.sleep(0.05)
