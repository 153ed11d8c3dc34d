"""What an operator tells one router, all that share a real Redis heed: whenever they start, whatever they find, and
whatever becomes of the Redis.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from router.ids import WorkerId
from router.settings import Settings
from router.shared.base import Facts
from router.shared.link import Link
from router.shared.names import Names
from router.shared.orders import Orders, wanted_key
from router.shared.redis_registry import RedisRegistry
from tests.component.harness import RunningRouter, eventually, running
from tests.fakes.redis_server import Server, server
from tests.fakes.worker import FakeWorker

PATIENCE_S = 8.0
SOME_TICKS_S = 0.8
"""For what should not happen."""

StartRouter: TypeAlias = Callable[..., Awaitable[RunningRouter]]


@pytest.fixture(scope="module")
def running_store() -> Iterator[Server]:
    with server("redis") as started:
        yield started


@pytest.fixture
def store(running_store: Server) -> Server:
    """Empty."""
    running_store.restart()
    return running_store


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def workers(stack: AsyncExitStack) -> list[FakeWorker]:
    return [await stack.enter_async_context(FakeWorker()) for _ in range(2)]


@pytest.fixture
def start(store: Server, stack: AsyncExitStack) -> StartRouter:
    """Start a router before workers that has found the Redis."""

    async def begin(*workers: FakeWorker, **settings: Any) -> RunningRouter:
        values = {
            "workers": [worker.url for worker in workers],
            "redis_url": store.url,
            "admin_key": "sesame",
            "health_interval_s": 0.2,
            "models_interval_s": 0.2,
            **settings,
        }
        router = await stack.enter_async_context(running(Settings(**values)))
        await met(router)
        return router

    return begin


async def met(*routers: RunningRouter) -> None:
    """They share what they know (again)."""

    def bound(router: RunningRouter) -> bool:
        sample = router.app.metrics.shared.sample()
        return sample is not None and sample.up

    await eventually(lambda: all(map(bound, routers)), PATIENCE_S)


async def say(router: RunningRouter, method: str, target: str, value: Any = None) -> None:
    """Tell a router something, as an operator."""
    fields = [("Authorization", "Bearer sesame"), ("Content-Type", "application/json")]
    if value is not None:
        answer = await router.post(value, target=target, headers=fields)
    else:
        answer = await router.get(target, fields, method=method)
    assert answer.status in (200, 201), answer.body


async def add(router: RunningRouter, worker: FakeWorker) -> None:
    await say(router, "POST", "/workers", {"url": worker.url})


async def remove(router: RunningRouter, worker: FakeWorker) -> None:
    await say(router, "DELETE", f"/workers/{worker.id}")


async def drain(router: RunningRouter, worker: FakeWorker, *, back: bool = False) -> None:
    await say(router, "POST", f"/workers/{worker.id}/{'undrain' if back else 'drain'}")


def ids(router: RunningRouter) -> set[str]:
    return {worker.id for worker in router.workers}


def drained(router: RunningRouter, worker: FakeWorker) -> bool | None:
    known = router.app.fleet.get(worker.id)
    return None if known is None else known.target.drained


async def all_have(routers: list[RunningRouter], *workers: FakeWorker) -> None:
    wanted = {worker.id for worker in workers}
    await eventually(lambda: all(ids(router) == wanted for router in routers), PATIENCE_S)


async def all_say(routers: list[RunningRouter], worker: FakeWorker, state: bool) -> None:
    await eventually(lambda: all(drained(each, worker) is state for each in routers), PATIENCE_S)


@pytest.mark.parametrize("sidecar", [False, True])
async def test_whoever_is_told_all_follow(
    start: StartRouter, workers: list[FakeWorker], sidecar: bool
) -> None:
    one, two = workers
    routers = [await start(one), await start(one, sidecar=sidecar)]
    told = routers[::-1] if sidecar else routers
    await add(told[0], two)
    await all_have(routers, one, two)
    await eventually(lambda: all(w.serves for r in routers for w in r.workers), PATIENCE_S)
    await drain(told[1], two)
    await all_say(routers, two, True)
    await drain(told[0], two, back=True)
    await all_say(routers, two, False)
    await remove(told[1], two)
    await all_have(routers, one)
    await remove(told[0], one)
    await all_have(routers)
    await add(told[1], one)
    await all_have(routers, one)


async def test_what_was_said_is_so_after_all_were_restarted(
    start: StartRouter, workers: list[FakeWorker], stack: AsyncExitStack
) -> None:
    one, two = workers
    (third,) = [await stack.enter_async_context(FakeWorker())]
    first = await start(one, third)
    await add(first, two)
    await drain(first, two)
    await remove(first, third)
    await asyncio.sleep(SOME_TICKS_S)
    first.server.stop.set()
    await eventually(lambda: not first.server.servers[0].is_serving(), PATIENCE_S)
    later = await start(one, third)
    await all_have([later], one, two)
    await all_say([later], two, True)


async def test_a_drain_is_heeded_by_who_finds_the_worker_later(
    start: StartRouter, workers: list[FakeWorker], tmp_path: Path
) -> None:
    """A router that starts knows of no worker yet when it reads what was said of them."""
    one, two = workers
    file = tmp_path / "workers.yaml"
    file.write_text(f"- {one.url}\n")
    first = await start(one, two)
    await drain(first, two)
    later = await start(workers_file=file)
    await asyncio.sleep(SOME_TICKS_S)
    file.write_text(f"- {one.url}\n- {two.url}\n")
    await all_have([later], one, two)
    await asyncio.sleep(SOME_TICKS_S)
    assert drained(first, two) is True
    assert drained(later, two) is True


async def test_a_worker_that_one_router_lost_for_a_moment_stays_drained(
    start: StartRouter, workers: list[FakeWorker], tmp_path: Path
) -> None:
    """Its source failed to name it once; nobody has taken back what was said."""
    one, two = workers
    file = tmp_path / "workers.yaml"
    both = f"- {one.url}\n- {two.url}\n"
    file.write_text(both)
    first, flapping = await start(one, two), await start(workers_file=file)
    await drain(first, two)
    await all_say([first, flapping], two, True)
    file.write_text(f"- {one.url}\n")
    await all_have([flapping], one)
    file.write_text(both)
    await all_have([flapping], one, two)
    await asyncio.sleep(SOME_TICKS_S)
    assert drained(first, two) is True, "nobody told this one anything"
    assert drained(flapping, two) is True


async def test_a_removed_worker_stays_away_while_any_router_still_knows_it(
    start: StartRouter, workers: list[FakeWorker], tmp_path: Path
) -> None:
    """docs/discovery.md: until all that know of it have forgotten it. Routers do not learn of that at the same time."""
    one, two = workers
    file = tmp_path / "workers.yaml"
    file.write_text(f"- {one.url}\n- {two.url}\n")
    quick, slow = await start(workers_file=file), await start(one, two)
    await remove(quick, two)
    await all_have([quick, slow], one)
    file.write_text(f"- {one.url}\n- {two.url}?\n".replace("?", "/other"))
    await eventually(lambda: two.id + "/other" in ids(quick), PATIENCE_S)
    await asyncio.sleep(SOME_TICKS_S)
    assert two.id not in ids(slow), "its configuration has it still, and it was removed"


async def test_an_undrain_while_redis_is_away_counts_when_it_is_back_empty(
    start: StartRouter, workers: list[FakeWorker], store: Server
) -> None:
    one, two = workers
    routers = [await start(one, two), await start(one, two)]
    await drain(routers[0], two)
    await all_say(routers, two, True)
    store.kill()
    await drain(routers[0], two, back=True)
    await asyncio.sleep(SOME_TICKS_S)
    await asyncio.to_thread(store.restart)
    await met(*routers)
    await all_say(routers, two, False)
    await asyncio.sleep(SOME_TICKS_S)
    await all_say(routers, two, False)


async def test_a_removal_while_redis_is_away_counts_when_it_is_back_empty(
    start: StartRouter, workers: list[FakeWorker], store: Server
) -> None:
    one, two = workers
    routers = [await start(one), await start(one)]
    await add(routers[0], two)
    await all_have(routers, one, two)
    store.kill()
    await remove(routers[0], two)
    await asyncio.sleep(SOME_TICKS_S)
    await asyncio.to_thread(store.restart)
    await met(*routers)
    await all_have(routers, one)
    await asyncio.sleep(SOME_TICKS_S)
    await all_have(routers, one)


async def test_orders_while_redis_is_away_are_told_when_it_is_back(
    start: StartRouter, workers: list[FakeWorker], store: Server
) -> None:
    """Emptied or not: what was said at one of them since is so at the other."""
    one, two = workers
    routers = [await start(one), await start(one)]
    store.stop()
    await add(routers[0], two)
    await drain(routers[1], one)
    await asyncio.sleep(SOME_TICKS_S)
    store.go_on()
    await all_have(routers, one, two)
    await all_say(routers, one, True)
    await asyncio.to_thread(store.restart)
    await asyncio.sleep(SOME_TICKS_S)
    await met(*routers)
    await all_have(routers, one, two)
    await all_say(routers, one, True)


async def test_orders_in_conflict_end_in_one(start: StartRouter, workers: list[FakeWorker]) -> None:
    one, two = workers
    routers = [await start(one, two), await start(one, two)]

    def agreed() -> bool:
        return len({(drained(each, two), *sorted(ids(each))) for each in routers}) == 1

    for number in range(2):
        first, second = routers if number % 2 else routers[::-1]
        await asyncio.gather(drain(first, two), drain(second, two, back=True))
        await asyncio.gather(remove(first, one), add(second, one))
        await asyncio.sleep(SOME_TICKS_S)
        await eventually(agreed, PATIENCE_S)
        await asyncio.sleep(SOME_TICKS_S)
        assert agreed()
        for worker in workers:
            await add(first, worker)
        await all_have(routers, one, two)


async def test_a_service_is_drained_at_all_of_them(
    start: StartRouter, workers: list[FakeWorker]
) -> None:
    one, service = workers
    fallback = {"fallback_url": service.url, "fallback_models": {"m": "m"}}
    routers = [await start(one, **fallback), await start(one, **fallback)]
    await drain(routers[0], service)
    await all_say(routers, service, True)
    await drain(routers[1], service, back=True)
    await all_say(routers, service, False)


async def test_nonsense_in_redis_stops_no_router(
    start: StartRouter, workers: list[FakeWorker]
) -> None:
    """Of another version, or of whoever can write there."""
    one, two = workers
    router = await start(one)
    settings = router.app.settings
    assert settings.redis_url is not None
    link = Link(settings.redis_url)
    registry = RedisRegistry(link, Names(settings.redis_namespace))
    for number, url in enumerate(("ftp://x:1", "http://", "http://[", "http://ä:1")):
        name = WorkerId(f"10.0.0.{number}:1")
        await registry.facts(0, {wanted_key(name): Facts(wanted=url)})
    await link.close()
    await asyncio.sleep(SOME_TICKS_S)
    await add(router, two)
    await all_have([router], one, two)
    await eventually(lambda: all(worker.serves for worker in router.workers), PATIENCE_S)


async def test_the_last_word_counts_although_a_clock_is_slow(
    start: StartRouter, workers: list[FakeWorker]
) -> None:
    """Routers run on several machines; what an operator says after another word is later, whatever the clock says."""
    one, two = workers
    ahead, behind = await start(one, two), await start(one, two)
    orders = _orders(ahead)
    now = orders._now
    orders._now = lambda: now() + 60.0
    await drain(ahead, two)
    await all_say([ahead, behind], two, True)
    await drain(behind, two, back=True)
    await all_say([ahead, behind], two, False)
    await asyncio.sleep(SOME_TICKS_S)
    await all_say([ahead, behind], two, False)


async def test_what_all_have_forgotten_is_not_heeded_by_a_router_that_starts(
    start: StartRouter,
    workers: list[FakeWorker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In Kubernetes another pod has the address by then."""
    monkeypatch.setattr("router.discovery.registry.FORGET_S", 2.0)
    one, two = workers
    file = tmp_path / "workers.yaml"
    both = f"- {one.url}\n- {two.url}\n"
    file.write_text(both)
    routers = [await start(workers_file=file) for _ in range(2)]
    await all_have(routers, one, two)
    await drain(routers[0], one)
    await remove(routers[1], two)
    await all_have(routers, one)
    await all_say(routers, one, True)
    file.write_text("[]\n")
    await all_have(routers)
    found = [each.app.discovery for each in routers]
    await eventually(lambda: not any(each.orders or each.drains for each in found), PATIENCE_S * 2)
    await asyncio.sleep(SOME_TICKS_S)
    file.write_text(both)
    routers.append(await start(workers_file=file))
    await all_have(routers, one, two)
    await asyncio.sleep(SOME_TICKS_S)
    await all_say(routers, one, False)
    await all_have(routers, one, two)


async def test_an_undrain_is_told_by_a_router_that_knows_of_no_drain(
    start: StartRouter, workers: list[FakeWorker]
) -> None:
    """Behind a Service nobody chooses which router is asked."""
    one, two = workers
    routers = [await start(one, two), await start(one, two)]
    routers[1].app.discovery.order_drain(two.id, drained=True)
    assert [drained(each, two) for each in routers] == [False, True]
    await drain(routers[0], two, back=True)
    await all_say(routers, two, False)


def _orders(router: RunningRouter) -> Orders:
    shared = router.app.insight.shared
    assert shared is not None
    return shared.facts.orders
