"""Fixtures: a scripted API server on TLS, and a service account that it knows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.discovery.kubernetes.account import Account
from tests.component.conftest import certificate, pytest_asyncio_loop_factories
from tests.fakes.certificate import Certificate
from tests.fakes.kubernetes import KubernetesApi
from tests.fakes.kubernetes_table import account_files, account_of

__all__ = ["certificate", "pytest_asyncio_loop_factories"]


@pytest.fixture
async def api(certificate: Certificate) -> AsyncIterator[KubernetesApi]:
    """An API server."""
    async with KubernetesApi(certificate) as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path, certificate: Certificate) -> Path:
    """The service account's token, its other files beside it."""
    return account_files(tmp_path, certificate)


@pytest.fixture
def account(api: KubernetesApi, token_file: Path) -> Account:
    """The router's account."""
    return account_of(api, token_file)
