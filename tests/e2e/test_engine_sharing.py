"""Three routers before real workers: each knows to the token what a worker has that another router listens to."""

import contextlib
import random
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tests.e2e.engines import MODEL, event_specs
from tests.e2e.harness import Answer, Router, ask, metric, router_process, wait_until
from tests.e2e.test_engine_events import prompts
from tests.fakes.redis_server import server

pytestmark = pytest.mark.engine

ROUTERS = 3
WORKERS = 2
REQUESTS = 240
POOL_BLOCKS = 60


@pytest.fixture(scope="module")
def routers(engine: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Router]]:
    """Before workers with small pools, which publish events."""
    specs = event_specs(engine, WORKERS, blocks=POOL_BLOCKS)
    with (
        pytest.MonkeyPatch.context() as patch,
        engine.running(specs) as workers,  # first: it has chosen ports already
        server("redis") as store,
        contextlib.ExitStack() as stack,
    ):
        patch.setenv("PREFIX_ROUTER_REDIS_DEADLINE_S", "1")  # the machine may be busy
        urls = [worker.url for worker in workers]
        yield [
            stack.enter_context(
                router_process(urls, tmp_path_factory.mktemp(name), "--redis-url", store.url)
            )
            for name in ("one", "two", "three")
        ]


def complete(router: Router, ids: list[int], **fields: object) -> Answer:
    body = {"model": MODEL, "prompt": ids, "max_tokens": 1, **fields}
    return ask(router.url, "/v1/completions", body, {"x-router-explain": "1"})


def all_by_events(router: Router) -> bool:
    return all(worker["known_by"] == "events" for worker in router.workers()["workers"])


@pytest.mark.timeout(300)
def test_every_router_knows_what_one_of_them_hears(
    routers: list[Router], report: Callable[[str], None]
) -> None:
    dice = random.Random(3)
    for router in routers:
        wait_until(
            lambda r=router: metric(r.url, "router_shared_routers") == ROUTERS, 20, "company"
        )
    mixed = prompts(11)
    for number in range(40):
        ids, fields = next(mixed)
        complete(routers[number % ROUTERS], ids, **fields)
    for router in routers:
        wait_until(lambda r=router: all_by_events(r), 20, "all workers known by events")
    leased = [metric(router.url, "router_shared_leased_workers") for router in routers]
    assert sum(leased) == WORKERS
    assert 0.0 in leased, "one of three routers listens to neither of two workers"
    exact = dict.fromkeys(range(ROUTERS), 0)
    asked = dict.fromkeys(range(ROUTERS), 0)
    hits = 0
    for _ in range(REQUESTS):
        ids, fields = next(mixed)
        which = dice.randrange(ROUTERS)
        answer = complete(routers[which], ids, **fields)
        predicted = int(answer.header("x-router-cached-tokens") or 0)
        asked[which] += 1
        exact[which] += predicted == answer.cached_tokens
        hits += answer.cached_tokens > 0
    deaf = leased.index(0.0)
    report(
        f"three routers, one Redis: {sum(exact.values())} of {REQUESTS} predicted to the token, {hits} of them hits;"
        f" {exact[deaf]} of {asked[deaf]} by the router that listens to nobody"
    )
    assert sum(exact.values()) >= 0.97 * REQUESTS
    assert hits > REQUESTS / 4
