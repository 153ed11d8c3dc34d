"""Fixtures of the fuzz tests: those of the component tests, and a worker that takes HTTP by its letter."""

from collections.abc import AsyncIterator

import pytest

from tests.component.conftest import pytest_asyncio_loop_factories, stack, start_router
from tests.fuzz.raw_worker import RawWorker

__all__ = ["pytest_asyncio_loop_factories", "raw_worker", "stack", "start_router"]


@pytest.fixture
async def raw_worker() -> AsyncIterator[RawWorker]:
    """A strict worker for model `m`; nothing odd may have reached it."""
    async with RawWorker() as worker:
        yield worker
    assert not worker.faults, worker.faults
