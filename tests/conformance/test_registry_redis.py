"""The registry in real servers against the suite: Redis 7, Valkey 9, and a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from redis import Redis, RedisCluster

from router.ids import WorkerId
from router.shared.base import Facts, Registry
from router.shared.link import Link
from router.shared.names import Names
from router.shared.redis_registry import RedisRegistry
from tests.conformance.registry_suite import FACTS, HASTE_S, ONE, RegistrySuite, version, worker
from tests.fakes.redis_flavours import OnCluster, OnRedis, OnValkey

PATIENCE_S = 60.0
LONG_S = 600.0


@asynccontextmanager
async def registry_at(
    url: str, namespace: str = "suite", lease_s: float = LONG_S
) -> AsyncIterator[Registry]:
    link = Link(url, timeout_s=PATIENCE_S)
    try:
        yield RedisRegistry(link, Names(namespace), lease_s=lease_s)
    finally:
        await link.close()


class RedisRegistrySuite(RegistrySuite):
    """With what others may have left behind in the store."""

    def client(self, url: str) -> Any:
        """A connection of the test's own."""
        return Redis.from_url(url)

    @pytest.fixture
    async def registry(self, url: str) -> AsyncIterator[Registry]:
        async with registry_at(url) as registry:
            yield registry

    @pytest.fixture
    async def hasty(self, url: str) -> AsyncIterator[Registry]:
        async with registry_at(url, lease_s=HASTE_S) as registry:
            yield registry

    def put(self, url: str, name: WorkerId, packed: bytes) -> None:
        """Facts as another version of the router writes them."""
        facts, versions, meta = Names("suite").of_board("facts", "versions", "meta")
        with self.client(url) as client:
            number = client.hincrby(meta, "facts", 1)
            client.hset(facts, name, packed)
            client.zadd(versions, {name: number})

    @pytest.mark.parametrize(
        "garbled",
        [b"", b"\xc1", b"text", msgspec.msgpack.encode({"up": True}), b"\x91\xa3yes", b"\x90\x90"],
    )
    async def test_garbled_facts_are_left_out(
        self, registry: Registry, url: str, garbled: bytes
    ) -> None:
        bad, good = worker(), worker()
        since = await version(registry)
        self.put(url, bad, garbled)
        now, read = await registry.facts(since, {good: FACTS})
        assert read == {good: FACTS}
        assert await registry.facts(now, {}) == (now, {}), "it is not read again and again"

    async def test_fewer_facts_are_completed_and_unknown_ones_ignored(
        self, registry: Registry, url: str
    ) -> None:
        older, newer = worker(), worker()
        since = await version(registry)
        self.put(url, older, msgspec.msgpack.encode([True, {"m": {}}, 5000]))
        known = msgspec.msgpack.decode(msgspec.msgpack.encode(FACTS))
        self.put(url, newer, msgspec.msgpack.encode([*known, "of tomorrow", {"x": 1}]))
        _, read = await registry.facts(since, {})
        assert read == {older: Facts(True, {"m": {}}, 5000), newer: FACTS}

    async def test_a_worker_whose_name_is_garbled_is_left_out(
        self, registry: Registry, url: str
    ) -> None:
        good = worker()
        since = await version(registry)
        with self.client(url) as client:
            facts, versions, meta = Names("suite").of_board("facts", "versions", "meta")
            client.hset(facts, b"\xff\xfe", msgspec.msgpack.encode(FACTS))
            client.zadd(versions, {b"\xff\xfe": client.hincrby(meta, "facts", 1)})
        assert (await registry.facts(since, {good: FACTS}))[1] == {good: FACTS}
        with self.client(url) as client:
            client.hdel(facts, b"\xff\xfe")

    async def test_after_the_store_was_emptied_all_begins_anew(
        self, registry: Registry, url: str
    ) -> None:
        a, b = worker(), worker()
        for life in range(5):
            await registry.facts(0, {a: Facts(life=life), b: FACTS})
        before = await version(registry)
        await registry.lease(ONE, [a], [])
        await registry.remember(f"resp_{a}", a)
        with self.client(url) as client:
            client.flushall()
        assert await registry.lease(ONE, [], []) == {}
        assert await registry.find(f"resp_{a}") is None
        assert await registry.facts(before, {}) == (0, {})
        assert await registry.facts(before, {b: FACTS}) == (1, {b: FACTS})

    async def test_namespaces_know_nothing_of_each_other(
        self, registry: Registry, url: str
    ) -> None:
        a = worker()
        await registry.lease(ONE, [a], [])
        await registry.facts(0, {a: FACTS})
        await registry.remember(f"resp_{a}", a)
        async with registry_at(url, "another") as another:
            assert await another.lease(ONE, [], []) == {}
            assert await another.facts(0, {}) == (0, {})
            assert await another.find(f"resp_{a}") is None

    async def test_responses_are_not_remembered_for_ever(
        self, registry: Registry, url: str
    ) -> None:
        a = worker()
        await registry.remember(f"resp_{a}", a)
        with self.client(url) as client:
            assert 86_000 < client.ttl(f"suite:1:response:resp_{a}") <= 86_400


class TestRedis(OnRedis, RedisRegistrySuite):
    """On Redis."""


class TestValkey(OnValkey, RedisRegistrySuite):
    """On Valkey."""


class TestCluster(OnCluster, RedisRegistrySuite):
    """On a cluster."""

    def client(self, url: str) -> Any:
        return RedisCluster.from_url(url.replace("redis+cluster", "redis"))
