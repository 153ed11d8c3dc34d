"""What routers spend, added up in real servers: Redis 7, Valkey 9, and a cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import Redis, RedisCluster

from router.shared.base import Replica, StoreError
from router.shared.link import Link
from router.shared.names import Names
from router.shared.quotas import Spent
from router.shared.redis_quotas import RedisQuotas
from tests.fakes.redis_flavours import OnCluster, OnRedis, OnValkey

PATIENCE_S = 60.0
ONE, TWO = Replica("one"), Replica("two of them")


@asynccontextmanager
async def quotas_at(url: str, expiry_s: float = 600.0) -> AsyncIterator[RedisQuotas]:
    link = Link(url, timeout_s=PATIENCE_S)
    try:
        yield RedisQuotas(link, Names("test"), expiry_s=expiry_s)
    finally:
        await link.close()


class Suite:
    def client(self, url: str) -> Any:
        """A connection of the test's own."""
        return Redis.from_url(url)

    @pytest.fixture(autouse=True)
    def nothing_in_it(self, url: str) -> None:
        with self.client(url) as client:
            client.flushall()

    @pytest.fixture
    async def quotas(self, url: str) -> AsyncIterator[RedisQuotas]:
        async with quotas_at(url) as quotas:
            yield quotas

    async def test_who_is_new_begins_to_count(self, quotas: RedisQuotas) -> None:
        first = await quotas.spend(ONE, {"acme": Spent(100, 1000, 5)})
        assert (first.known, first.routers, first.totals) == (False, 1, {})
        then = await quotas.spend(ONE, {"acme": Spent(1, 10.5, 2)})
        assert (then.known, then.totals) == (True, {"acme": Spent(1, 10.5, 2)})

    async def test_shares_are_added_up(self, quotas: RedisQuotas) -> None:
        for replica in (ONE, TWO):
            await quotas.spend(replica, {})
        await quotas.spend(ONE, {"acme": Spent(5, 50, 2), "beta": Spent(1, 0, 1)})
        both = await quotas.spend(TWO, {"acme": Spent(7, 70, 1)})
        assert both.totals == {"acme": Spent(12, 120, 3), "beta": Spent(1, 0, 1)}
        assert both.routers == 2
        less = await quotas.spend(ONE, {"acme": Spent(5, 20, 0)})
        assert less.totals["acme"] == Spent(12, 90, 1)

    async def test_the_same_again_changes_nothing(self, quotas: RedisQuotas) -> None:
        await quotas.spend(ONE, {})
        for _ in range(5):
            told = await quotas.spend(ONE, {"acme": Spent(5, 50, 2)})
        assert told.totals == {"acme": Spent(5, 50, 2)}

    async def test_large_numbers(self, quotas: RedisQuotas) -> None:
        await quotas.spend(ONE, {})
        much = Spent(2.0**50, 2.0**40 + 0.5, 100_000)
        assert (await quotas.spend(ONE, {"acme": much})).totals == {"acme": much}
        less = Spent(2.0**50, 3.25, 0)
        assert (await quotas.spend(ONE, {"acme": less})).totals == {"acme": less}

    async def test_many_tenants(self, quotas: RedisQuotas) -> None:
        await quotas.spend(ONE, {})
        shares = {f"tenant-{number}": Spent(number, 2 * number, 1) for number in range(3000)}
        assert (await quotas.spend(ONE, shares)).totals == shares

    async def test_who_is_silent_is_taken_off_with_what_it_holds(self, url: str) -> None:
        async with quotas_at(url, expiry_s=0.2) as hasty:
            await hasty.spend(ONE, {})
            await hasty.spend(ONE, {"acme": Spent(5, 50, 2)})
            await asyncio.sleep(0.3)
            told = await hasty.spend(TWO, {})
            assert (told.routers, told.totals) == (1, {"acme": Spent(5, 50, 0)})
            back = await hasty.spend(ONE, {"acme": Spent(9, 90, 3)})
            assert (back.known, back.totals) == (False, {"acme": Spent(5, 50, 0)})

    async def test_after_the_store_was_emptied_all_begin_anew(
        self, quotas: RedisQuotas, url: str
    ) -> None:
        for replica in (ONE, TWO):
            await quotas.spend(replica, {})
            await quotas.spend(replica, {"acme": Spent(5, 50, 2)})
        with self.client(url) as client:
            client.flushall()
        for replica in (ONE, TWO):
            told = await quotas.spend(replica, {"acme": Spent(6, 60, 2)})
            assert (told.known, told.totals) == (False, {})

    @pytest.mark.parametrize("name", ["quotas", "spenders", "quota:one"])
    async def test_any_part_may_be_lost(self, quotas: RedisQuotas, url: str, name: str) -> None:
        """As a server without memory does."""
        await quotas.spend(ONE, {})
        await quotas.spend(ONE, {"acme": Spent(500, 5000, 2)})
        with self.client(url) as client:
            assert client.delete(Names("test").board + name.encode()) == 1
        assert not (await quotas.spend(ONE, {"acme": Spent(501, 5010, 1)})).known
        told = await quotas.spend(ONE, {"acme": Spent(1, 10, 1)})
        assert told.known
        assert told.totals["acme"].requests in (1, 501), "nothing of the past is counted anew"

    async def test_names_are_in_one_slot_and_do_not_stay_for_ever(
        self, quotas: RedisQuotas, url: str
    ) -> None:
        await quotas.spend(ONE, {})
        await quotas.spend(ONE, {"acme": Spent(1, 1, 1)})
        with self.client(url) as client:
            names = sorted(client.scan_iter("*"))
            assert names == [
                b"test:1:{board}:" + name for name in (b"quota:one", b"quotas", b"spenders")
            ]
            assert all(client.ttl(name) > 80_000 for name in names)


class TestRedis(OnRedis, Suite):
    """On Redis."""

    async def test_a_server_that_is_away(self) -> None:
        async with quotas_at("redis://127.0.0.1:1") as quotas:
            with pytest.raises(StoreError):
                await quotas.spend(ONE, {})


class TestValkey(OnValkey, Suite):
    """On Valkey."""


class TestCluster(OnCluster, Suite):
    """On a cluster."""

    def client(self, url: str) -> Any:
        return RedisCluster.from_url(url.replace("redis+cluster", "redis"))
