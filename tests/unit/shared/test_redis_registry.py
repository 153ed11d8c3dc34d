"""What a real server keeps of leases, facts and responses. (What every registry does: tests/conformance.)"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from redis import Redis

from router.ids import WorkerId
from router.shared.base import Facts, Replica, StoreError
from router.shared.link import Link
from router.shared.names import Names
from router.shared.redis_registry import LEASE_S, RedisRegistry
from router.shared.redis_store import RedisStore
from tests.fakes.redis_server import server

PATIENCE_S = 60.0
NAMES = Names("test")
ONE, TWO = Replica("one"), Replica("two of them", leads=False)
A, B, C = (WorkerId(f"{name}:8000") for name in "abc")
FACTS = Facts(True, {"m": {"id": "m"}}, 5000, 16, 12.5, 2, 16, True, 7)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server("valkey") as running:
        yield running.url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """A connection of the test's own to a server that has nothing."""
    with Redis.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def link(url: str, client: Any) -> AsyncIterator[Link]:
    link = Link(url, timeout_s=PATIENCE_S)
    yield link
    await link.close()


@pytest.fixture
def registry(link: Link) -> RedisRegistry:
    """Its leases last as long as the test."""
    return RedisRegistry(link, NAMES, lease_s=600)


def name(of: str) -> bytes:
    return NAMES.of_board(of)[0]


class TestLeases:
    async def test_a_lease_says_until_when_and_whose(
        self, registry: RedisRegistry, client: Any
    ) -> None:
        seconds, _ = client.time()
        await registry.lease(TWO, [A], [])
        ends, holder = client.hget(name("leases"), A).split(b" ", 1)
        assert holder == b"two of them"
        assert (seconds + 599) * 1000 <= int(ends) <= (seconds + 600 + PATIENCE_S) * 1000

    async def test_each_renewal_puts_its_end_off(
        self, registry: RedisRegistry, client: Any
    ) -> None:
        await registry.lease(ONE, [A, B], [])
        client.hset(name("leases"), A, "99999999999999 one")
        await registry.lease(ONE, [A], [])
        ends, _ = client.hget(name("leases"), A).split(b" ", 1)
        assert int(ends) < 99999999999999

    async def test_those_that_ran_out_take_no_room(
        self, registry: RedisRegistry, client: Any
    ) -> None:
        await registry.lease(ONE, [A, B], [])
        client.hset(name("leases"), A, "1000 one")
        assert await registry.lease(TWO, [], []) == {B: "one"}
        assert client.hkeys(name("leases")) == [b"b:8000"]

    async def test_to_take_and_give_back_at_once(self, registry: RedisRegistry) -> None:
        await registry.lease(ONE, [A, B], [])
        assert await registry.lease(ONE, [C, A], [B]) == {A: "one", C: "one"}

    async def test_one_that_nobody_renews_runs_out(self, link: Link) -> None:
        hasty = RedisRegistry(link, NAMES, lease_s=0.05)
        await hasty.lease(ONE, [A], [])
        async with asyncio.timeout(PATIENCE_S):
            while await hasty.lease(TWO, [], []):  # noqa: ASYNC110 - the server's clock decides
                await asyncio.sleep(0.02)

    def test_it_outlasts_a_few_looks(self) -> None:
        assert LEASE_S >= 3.0


class TestFacts:
    async def test_they_are_kept_by_worker_with_a_version(
        self, registry: RedisRegistry, client: Any
    ) -> None:
        await registry.facts(0, {A: Facts(), B: FACTS})
        await registry.facts(0, {A: FACTS})
        assert client.hkeys(name("facts")) == [b"a:8000", b"b:8000"]
        assert msgspec.msgpack.decode(client.hget(name("facts"), A), type=Facts) == FACTS
        assert client.zrange(name("versions"), 0, -1, withscores=True) == [
            (b"b:8000", 2.0),
            (b"a:8000", 3.0),
        ]

    async def test_the_board_tells_their_version(self, registry: RedisRegistry, link: Link) -> None:
        store = RedisStore(link, NAMES, ttl_s=600)
        assert (await store.publish(ONE, [])).facts == 0
        version, _ = await registry.facts(0, {A: FACTS, B: FACTS})
        assert (await store.publish(ONE, [])).facts == version == 2

    async def test_they_outlast_the_board(
        self, registry: RedisRegistry, link: Link, client: Any
    ) -> None:
        """Routers begin another epoch when only its rows are lost."""
        store = RedisStore(link, NAMES, ttl_s=600)
        await store.publish(ONE, [])
        await registry.facts(0, {A: FACTS})
        client.delete(name("rows"))
        assert (await store.publish(ONE, [])).facts == 1
        assert await registry.facts(0, {}) == (1, {A: FACTS})

    async def test_no_more_are_kept_than_there_can_be_workers(
        self, registry: RedisRegistry, client: Any
    ) -> None:
        news = {WorkerId(f"w{number}:1"): Facts() for number in range(16_400)}
        await registry.facts(0, news)
        assert client.hlen(name("facts")) == client.zcard(name("versions")) == 16_384
        assert not client.hexists(name("facts"), "w0:1"), "the oldest are forgotten"
        assert client.hexists(name("facts"), "w16399:1")


class TestResponses:
    async def test_each_has_a_name_that_is_forgotten_after_a_day(
        self, registry: RedisRegistry, client: Any
    ) -> None:
        await registry.remember("resp_1", A)
        assert client.keys() == [b"test:1:response:resp_1"]
        assert client.get("test:1:response:resp_1") == b"a:8000"
        assert 86_400 - PATIENCE_S <= client.ttl("test:1:response:resp_1") <= 86_400

    async def test_to_find_it_does_not_put_that_off(
        self, registry: RedisRegistry, client: Any
    ) -> None:
        await registry.remember("resp_1", A)
        client.expire("test:1:response:resp_1", 60)
        assert await registry.find("resp_1") == A
        assert client.ttl("test:1:response:resp_1") <= 60


async def test_a_server_that_is_not_there_is_a_failure() -> None:
    link = Link("redis://127.0.0.1:9")
    registry = RedisRegistry(link, NAMES)
    try:
        with pytest.raises(StoreError):
            await registry.lease(ONE, [A], [])
        with pytest.raises(StoreError):
            await registry.facts(0, {})
        with pytest.raises(StoreError):
            await registry.find("resp_1")
        with pytest.raises(StoreError):
            await registry.remember("resp_1", A)
    finally:
        await link.close()
