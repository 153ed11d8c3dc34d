"""Fixtures of the component tests: the whole router in the test's event loop, real sockets, scripted workers."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvicorn
import uvloop

from router.settings import Settings
from tests.component.harness import RunningRouter, running
from tests.fakes.certificate import Certificate, make_certificate
from tests.fakes.worker import FakeWorker

StartRouter: TypeAlias = Callable[..., Awaitable[RunningRouter]]
StartWorker: TypeAlias = Callable[..., Awaitable[FakeWorker]]

_QUICK = {"health_interval_s": 0.2, "models_interval_s": 0.2, "health_timeout_s": 2.0}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """The loop that production runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Ends routers before the workers they were started after."""
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def start_worker(stack: AsyncExitStack) -> AsyncIterator[StartWorker]:
    """Start a scripted worker; its scripts must not fail, and the router must speak HTTP to it."""
    started: list[FakeWorker] = []

    async def start(**arguments: Any) -> FakeWorker:
        worker = await stack.enter_async_context(FakeWorker(**arguments))
        started.append(worker)
        return worker

    yield start
    errors = [error for worker in started for error in worker.errors]
    assert not errors, errors


@pytest.fixture
async def worker(start_worker: StartWorker) -> FakeWorker:
    """One worker that serves model `m`."""
    return await start_worker()


@pytest.fixture
def start_router(stack: AsyncExitStack) -> StartRouter:
    """Start a router before some workers (`FakeWorker`s or URLs); settings as keywords."""

    async def start(
        *workers: FakeWorker | str,
        configure: Callable[[Any], uvicorn.Config] | None = None,
        tls: Any = None,
        **settings: Any,
    ) -> RunningRouter:
        urls = [worker if isinstance(worker, str) else worker.url for worker in workers]
        values = {"workers": urls, "log_format": "json", **_QUICK, **settings}
        how = {} if configure is None else {"configure": configure}
        return await stack.enter_async_context(running(Settings(**values), tls=tls, **how))

    return start


@pytest.fixture
async def router(worker: FakeWorker, start_router: StartRouter) -> RunningRouter:
    """A router before one worker."""
    return await start_router(worker)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for loopback."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("TLS IS NOT TESTED HERE: the openssl command is missing")
    folder: Path = tmp_path_factory.mktemp("tls")
    return make_certificate(folder, openssl)
