"""On what a suite for stores runs: mixins with the fixture `url`, a server's that lives as long as the class's tests."""

from collections.abc import Iterator

import pytest

from tests.fakes.redis_cluster import cluster
from tests.fakes.redis_server import server


class OnRedis:
    """Redis."""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls) -> Iterator[str]:
        with server("redis") as running:
            yield running.url


class OnValkey:
    """Valkey."""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls) -> Iterator[str]:
        with server("valkey") as running:
            yield running.url


class OnCluster:
    """A cluster of Valkey servers."""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls) -> Iterator[str]:
        with cluster("valkey") as running:
            yield running.url
