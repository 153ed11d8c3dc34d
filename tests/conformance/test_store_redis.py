"""The store in real servers against the suite: Redis 7, Valkey 9, and a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from router.shared.base import Store
from router.shared.link import Link
from router.shared.names import Names
from router.shared.redis_store import EXPIRY_S, RedisStore
from tests.conformance.store_suite import HASTE_S, StoreSuite
from tests.fakes.redis_flavours import OnCluster, OnRedis, OnValkey

PATIENCE_S = 60.0


@asynccontextmanager
async def store_at(url: str, namespace: str, expiry_s: float = EXPIRY_S) -> AsyncIterator[Store]:
    link = Link(url, timeout_s=PATIENCE_S)
    try:
        yield RedisStore(link, Names(namespace), ttl_s=600, expiry_s=expiry_s)
    finally:
        await link.close()


class RedisSuite(StoreSuite):
    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[Store]:
        async with store_at(url, "suite") as store:
            yield store

    @pytest.fixture
    async def hasty(self, url: str) -> AsyncIterator[Store]:
        async with store_at(url, "hasty", HASTE_S) as store:
            yield store


class TestRedis(OnRedis, RedisSuite):
    """On Redis."""


class TestValkey(OnValkey, RedisSuite):
    """On Valkey."""


class TestCluster(OnCluster, RedisSuite):
    """On a cluster."""
