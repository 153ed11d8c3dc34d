"""A worker started with `--exit-with-parent` ends with its standard input."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.ports import free_ports

ROOT = Path(__file__).parents[3]


@pytest.fixture
def worker() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [sys.executable, "-m", "router.simworker", "--port", str(port), "--exit-with-parent"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
    )
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.communicate()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            httpx2.get(f"{url}/health")
        except httpx2.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_it_serves_while_the_pipe_is_open(worker: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = worker
    wait_for(url)
    assert process.stdin is not None
    process.stdin.write(b"ignored\n")
    process.stdin.flush()
    time.sleep(0.3)
    assert httpx2.get(f"{url}/health").status_code == 200
    process.stdin.close()
    assert process.wait(10) == 0


def test_a_signal_ends_it_as_ever(worker: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = worker
    wait_for(url)
    process.terminate()
    assert process.wait(10) == 0


def test_a_parent_that_is_gone_before_it_serves(
    worker: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, _ = worker
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0
