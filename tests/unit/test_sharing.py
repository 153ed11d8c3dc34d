"""What is built where there is a shared Redis, and that nothing is where there is none."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from router.engines.base import WorkerReport
from router.settings import Settings
from router.shared.service import Shared
from router.sharing import sharing
from router.telemetry.metrics import Metrics
from tests.fakes.redis_server import server
from tests.unit.support import fleet_of

NOBODY = "redis://127.0.0.1:9"
"""Nothing answers there; nothing is to ask."""


class Bench:
    """Two workers, one of which said how large its cache is."""

    def __init__(self) -> None:
        self.fleet = fleet_of("a", "b")
        self.a, self.b = self.fleet
        self.fleet.set_report(self.a, WorkerReport({"m": {"id": "m"}}, 5000, 16))
        self.metrics = Metrics()
        self._opened: list[Shared] = []

    def build(self, **settings: object) -> Shared | None:
        values = {"workers": ["http://a:8000"], **settings}
        shared = sharing(Settings.model_validate(values), self.fleet, self.metrics)
        if shared is not None:
            self._opened.append(shared)
        return shared

    def shared(self, redis_url: str = NOBODY, **settings: object) -> Shared:
        shared = self.build(redis_url=redis_url, **settings)
        assert shared is not None
        return shared

    async def close(self) -> None:
        for shared in self._opened:
            await shared.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.close()


async def test_without_a_url_there_is_nothing(bench: Bench) -> None:
    assert bench.build() is None


def test_without_a_url_the_driver_is_not_even_imported() -> None:
    code = "import sys, router.app, router.sharing; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "url",
    [
        NOBODY,
        "rediss://user:hunter2@127.0.0.1:9/3",
        "unix:///nowhere/redis.sock",
        "redis+cluster://127.0.0.1:9",
        "rediss+cluster://127.0.0.1:9",
        "redis+sentinel://127.0.0.1:9,127.0.0.1:11/mymaster",
        "rediss+sentinel://127.0.0.1:9/mymaster",
    ],
)
async def test_with_one_it_is_built_without_a_connection(bench: Bench, url: str) -> None:
    shared = bench.shared(url)
    sample = shared.sample()
    assert not sample.up
    assert (sample.leaders, sample.followers, sample.leased, sample.written) == (0, 0, 0, 0)
    assert sample.failures == {}


async def test_a_sidecar_follows_and_others_lead(bench: Bench) -> None:
    assert bench.shared().replica.leads
    assert not bench.shared(sidecar=True).replica.leads


async def test_each_router_has_a_name_of_its_own(bench: Bench) -> None:
    assert bench.shared().replica.name != bench.shared().replica.name


async def test_a_workers_cache_is_as_large_as_it_said_or_as_is_set(bench: Bench) -> None:
    shared = bench.shared(default_kv_tokens=777)
    assert shared.board.kv_tokens(bench.a) == 5000
    assert shared.board.kv_tokens(bench.b) == 777


async def test_questions_without_answer_are_counted_as_degraded(bench: Bench) -> None:
    shared = bench.shared()
    assert await shared.home("resp_1") is None
    assert bench.metrics.degraded == {"shared_connecting": 1}


async def test_the_namespace_and_the_redis_are_those_of_the_settings(bench: Bench) -> None:
    with server("valkey") as running:
        one = bench.shared(running.url, redis_namespace="one")
        same = bench.shared(running.url, redis_namespace="one")
        other = bench.shared(running.url, redis_namespace="other")
        for shared in (one, same, other):
            await shared.board.tick()
        await same.board.tick()
        assert (same.board.leaders, other.board.leaders) == (2, 1)
        assert one.bond.up
        await bench.close()
