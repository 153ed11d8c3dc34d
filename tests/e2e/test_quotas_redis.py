"""Quotas over three routers that share a real Redis: what clients get in all, whatever happens to the Redis."""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from itertools import cycle
from time import monotonic

import pytest

from router.access.keys import digest_of, written
from tests.e2e.harness import Router, ask, metric, router_process
from tests.e2e.test_sharing import until
from tests.e2e.test_sim_clients import sim_workers
from tests.fakes.redis_server import Server, server

MODEL = "sim-model"
CHAT = "/v1/chat/completions"
ROUTERS = 3
PER_MINUTE = 120
KEYS = {name: f"pr-{name}-0123456789" for name in ("early", "later", "away", "tokens", "free")}
ALONE_AFTER_S = 3.0


@pytest.fixture(scope="module")
def store() -> Iterator[Server]:
    with server("redis") as running:
        yield running


@pytest.fixture(scope="module")
def routers(store: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Router]]:
    """Routers that have found each other."""
    folder = tmp_path_factory.mktemp("quotas")
    file = folder / "tenants.yaml"
    limits = {"tokens_per_minute": 6000} , {"requests_per_minute": PER_MINUTE}  # fmt: skip
    file.write_text(
        json.dumps(
            {
                "tenants": {
                    name: {
                        "keys": [written(digest_of(key.encode()))],
                        **({} if name == "free" else limits[name != "tokens"]),
                    }
                    for name, key in KEYS.items()
                }
            }
        )
    )
    config = folder / "router.yaml"
    config.write_text(f"tenants_file: {file}\nredis_url: {store.url}\n")
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(sim_workers(MODEL, MODEL))
        running = []
        for number in range(ROUTERS):
            own = folder / str(number)
            own.mkdir()
            running.append(
                stack.enter_context(router_process(workers, own, "--config", str(config)))
            )
        asyncio.run(until(lambda: all(map(met, running)), "they meet"))
        yield running


def met(router: Router) -> bool:
    return metric(router.url, "router_shared_routers") * metric(router.url, "router_shared_up") == ROUTERS  # fmt: skip


def post(router: Router, tenant: str) -> int:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    headers = {"authorization": f"Bearer {KEYS[tenant]}"}
    return ask(router.url, CHAT, body, headers).status


def press(routers: Sequence[Router], tenant: str, seconds: float) -> int:
    """Ask each in turn for so long; how many were let through."""
    given, end = 0, monotonic() + seconds
    for router in cycle(routers):
        status = post(router, tenant)
        assert status in (200, 429)
        given += status == 200
        if monotonic() >= end:
            return given
    raise AssertionError


def test_what_one_gives_out_is_missing_at_the_others(routers: list[Router]) -> None:
    one, two, three = routers
    began = monotonic()
    while post(one, "early") == 200:
        pass
    took = monotonic() - began
    asyncio.run(until(lambda: post(two, "early") == 429 or post(three, "early") == 429, "word"))
    given = sum(metric_of(router, "early") for router in routers)
    assert given >= PER_MINUTE
    assert given <= PER_MINUTE * (1 + (monotonic() - began) / 60) + 60, took


def metric_of(router: Router, tenant: str) -> float:
    text = ask(router.url, "/metrics", method="GET").body.decode()
    name = f'router_tenant_requests_total{{outcome="ok",tenant="{tenant}"}} '
    return sum(
        float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)
    )


def test_over_time_it_is_the_quota(routers: list[Router]) -> None:
    """Asked by turns from the beginning, all of them together give out what one would."""
    began = monotonic()
    given = press(routers, "later", 8.0)
    allowed = PER_MINUTE * (1 + (monotonic() - began) / 60)
    assert given <= allowed + 45, "half a second of each, at most"


def test_tokens(routers: list[Router]) -> None:
    """A long answer that one router gave counts at the others."""
    one, *others = routers
    headers = {"authorization": f"Bearer {KEYS['tokens']}"}
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "word " * 5000}],
        "max_tokens": 1,
    }
    assert ask(one.url, CHAT, body, headers).status == 200
    for other in others:
        asyncio.run(until(lambda other=other: ask(other.url, CHAT, body, headers).status == 429, "word"))  # type: ignore[misc]  # fmt: skip


@pytest.mark.timeout(180)
def test_without_the_redis_each_gives_out_its_part(routers: list[Router], store: Server) -> None:
    """And no request waits or fails for that."""
    press(routers, "away", 0.1)
    store.kill()
    try:
        began = monotonic()
        given = press(routers, "away", 6.0)
        took = monotonic() - began
        assert post(routers[0], "free") == 200
        # At first nobody knows: a bucket each, less what was told.
        assert given <= ROUTERS * PER_MINUTE * (1 + ALONE_AFTER_S / 60) + PER_MINUTE * took / 60
        settled = monotonic()
        given = press(routers, "away", 4.0)
        assert given <= PER_MINUTE * (monotonic() - settled) / 60 + PER_MINUTE + 10
    finally:
        store.restart()
    asyncio.run(until(lambda: all(map(met, routers)), "it is back"))
    assert post(routers[0], "free") == 200


def test_no_key_is_in_the_redis(routers: list[Router], store: Server) -> None:
    import redis

    press(routers, "later", 1.0)
    with redis.Redis.from_url(store.url) as client:
        kept = b""
        for name in client.scan_iter("*quota*"):
            if client.type(name) == b"hash":
                kept += name + repr(client.hgetall(name)).encode()
        assert b"later" in kept
        for key in KEYS.values():
            assert key.encode() not in kept
            assert digest_of(key.encode()).hex().encode() not in kept
