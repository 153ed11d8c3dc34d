"""Fixtures of the field tests: those of the component tests."""

from tests.component.conftest import (
    certificate,
    pytest_asyncio_loop_factories,
    router,
    stack,
    start_router,
    start_worker,
    worker,
)

__all__ = [
    "certificate",
    "pytest_asyncio_loop_factories",
    "router",
    "stack",
    "start_router",
    "start_worker",
    "worker",
]
