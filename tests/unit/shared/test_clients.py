"""Which client the driver makes of a URL. (Real servers are asked in test_link.py.)"""

from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from router.shared.clients import CONNECTIONS, Client, client
from router.shared.urls import parse

TIMEOUT_S = 1.5


@pytest.fixture
async def made() -> AsyncIterator[Callable[[str], Client]]:
    """Makes clients that are closed in the end; none of them connects."""
    clients: list[Client] = []

    def make(url: str) -> Client:
        clients.append(client(parse(url), TIMEOUT_S))
        return clients[-1]

    yield make
    for each in clients:
        await each.close()


def options(redis: Redis) -> dict[str, object]:
    return redis.connection_pool.connection_kwargs


async def test_one_server(made: Callable[[str], Client]) -> None:
    one = made("redis://user:hunter2@cache:7000/3")
    assert isinstance(one.commands, Redis)
    expected = {
        "host": "cache",
        "port": 7000,
        "db": 3,
        "username": "user",
        "password": "hunter2",
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "protocol": 2,
    }
    found = options(one.commands)
    assert {name: found[name] for name in expected} == expected
    assert one.commands.connection_pool.max_connections > CONNECTIONS
    await one.refresh()


async def test_what_failed_is_not_tried_again_by_the_driver(
    made: Callable[[str], Client],
) -> None:
    one = made("redis://cache").commands
    assert isinstance(one, Redis)
    assert options(one)["retry"].get_retries() == 0  # type: ignore[attr-defined]


async def test_a_cluster(made: Callable[[str], Client]) -> None:
    several = made("redis+cluster://:hunter2@cache:7000").commands
    assert isinstance(several, RedisCluster)
    assert several.connection_kwargs["password"] == "hunter2"
    assert several.connection_kwargs["socket_timeout"] == TIMEOUT_S
    (start,) = several.nodes_manager.startup_nodes.values()
    assert (start.host, start.port) == ("cache", 7000)


async def test_sentinels(made: Callable[[str], Client]) -> None:
    one = made("redis+sentinel://user:hunter2@one:1,two:2/mymaster/5").commands
    assert isinstance(one, Redis)
    pool = one.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert (pool.service_name, pool.is_master) == ("mymaster", True)
    found = options(one)
    assert (found["username"], found["password"], found["db"]) == ("user", "hunter2", 5)
    assert "host" not in found
    asked = [options(each) for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == [("one", 1), ("two", 2)]
    assert all(each["socket_timeout"] == TIMEOUT_S for each in asked)
    assert not any(each.get("password") for each in asked), "the password is the master's"


async def test_tls_is_for_sentinels_and_master(made: Callable[[str], Client]) -> None:
    one = made("rediss+sentinel://one/mymaster").commands
    assert isinstance(one, Redis)
    pool = one.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert issubclass(pool.connection_class, SSLConnection)
    (sentinel,) = pool.sentinel_manager.sentinels
    assert issubclass(sentinel.connection_pool.connection_class, SSLConnection)


async def test_so_are_its_options(made: Callable[[str], Client]) -> None:
    one = made("rediss+sentinel://one/mymaster?ssl_cert_reqs=none").commands
    assert isinstance(one, Redis)
    pool = one.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    for each in (one, *pool.sentinel_manager.sentinels):
        assert options(each)["ssl_cert_reqs"] == "none"
