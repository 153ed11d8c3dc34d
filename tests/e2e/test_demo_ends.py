"""However the demo ends, its simulated workers end with it."""

import os
import re
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator

import pytest

from router.demo import fleet
from tests.e2e.harness import ROOT, ask, wait_until

# `python -m router` with a workload of the given size.
START = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
from router.demo import workload
workload.CONVERSATIONS = int(sys.argv.pop(1))
from router.__main__ import main
main()
"""

Demo = tuple[subprocess.Popen[str], list[int]]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def none_of(ports: list[int]) -> Callable[[], bool]:
    return lambda: not any(listens(port) for port in ports)


@pytest.fixture
def demo(request: pytest.FixtureRequest) -> Iterator[Demo]:
    """A demo at the start of its workload and the ports of its workers."""
    conversations = getattr(request, "param", 18)
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", START, str(conversations)),
            *("demo", "--port", "0", "--workers", "2"),
        ],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    ports = [int(port) for port in re.findall(r":(\d+)", process.stdout.readline())]
    assert len(ports) == 2
    assert all(map(listens, ports))
    yield process, ports
    process.kill()
    process.communicate()
    wait_until(none_of(ports), 10, "the end of the workers")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(demo: Demo, number: signal.Signals) -> None:
    process, ports = demo
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert none_of(ports)()


@pytest.mark.parametrize("demo", [2], indirect=True)
def test_a_signal_ends_all_while_it_serves(demo: Demo) -> None:
    process, ports = demo
    assert process.stdout is not None
    url = next(
        found[0] for line in process.stdout if (found := re.search(r"http\S+(?=/workers)", line))
    )
    assert len(ask(url, "/workers", method="GET").json()["workers"]) == 2
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert none_of(ports)()


def test_a_demo_that_is_killed_leaves_no_worker(demo: Demo) -> None:
    process, ports = demo
    process.kill()
    process.communicate(timeout=20)
    wait_until(none_of(ports), 10, "the end of the workers")


async def test_a_start_that_fails_ends_the_workers_that_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, started = fleet._start, list[Process]()

    async def second_fails(port: int) -> Process:
        if started:
            raise OSError("no more processes")
        started.append(await start(port))
        return started[0]

    monkeypatch.setattr(fleet, "_start", second_fails)
    with pytest.raises(OSError, match="no more processes"):
        async with fleet.simulated_workers(3):
            pass
    assert started[0].returncode is not None
