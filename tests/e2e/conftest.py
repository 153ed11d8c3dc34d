"""Fixtures of the end-to-end tests against real vLLM; `make test-engine` runs them.

`engine` sets vLLM up or skips; `engine_workers` are two workers, `engine_router` a router before them.
All live as long as the test session. Where vLLM is not installed the tests are skipped, unless
TEST_ENGINE=require is set: then it gets installed, and only a CPU that cannot run it is excused.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.harness import LAUNCHER, Router, launcher, router_process
from tests.fakes.ports import free_ports

CANNOT_RUN = 77
SETUP_TIMEOUT_S = 1200
TEST_TIMEOUT_S = 120
REPORT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give engine tests time of their own: the session's fixtures take minutes on first use."""
    for item in items:
        if item.get_closest_marker("engine") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S, func_only=True))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if lines := config.stash[REPORT]:
        terminalreporter.section("engine tests")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Write a line into the summary at the end of the run."""
    return pytestconfig.stash[REPORT].append


@pytest.fixture(scope="session")
def engine(report: Callable[[str], None]) -> ModuleType:
    """The launcher of vLLM workers, with the engine installed."""
    required = os.environ.get("TEST_ENGINE") == "require"
    workers = launcher()

    def skip(reason: str) -> None:
        report(f"NOT TESTED against vLLM: {reason}")
        pytest.skip(reason)

    if "PYTEST_XDIST_WORKER" in os.environ:
        skip("engine tests share two workers: run them without -n")
    if not required and not (workers.engine_dir() / ".ready").exists():
        skip("vLLM is not installed here: `make test-engine` does it")
    setup = subprocess.run(
        [LAUNCHER / "setup.sh"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=SETUP_TIMEOUT_S,
        check=False,
    )
    if setup.returncode == CANNOT_RUN:
        skip(setup.stderr.splitlines()[-1])
    if setup.returncode:
        pytest.fail(f"setup.sh exited with {setup.returncode}:\n{setup.stderr}")
    return workers


@pytest.fixture(scope="session")
def engine_workers(engine: ModuleType) -> Iterator[list[Any]]:
    """Two vLLM workers serving one model, started side by side.

    They keep stored responses, and offer the control routes that the router must withhold.
    """
    specs = [engine.WorkerSpec(port) for port in free_ports(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_RESPONSES_API_STORE", "1")
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        with engine.running(specs) as workers:
            yield workers


@pytest.fixture(scope="session")
def engine_router(
    engine_workers: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Router]:
    """A router before the two workers."""
    urls = [worker.url for worker in engine_workers]
    with router_process(urls, tmp_path_factory.mktemp("router")) as router:
        yield router
