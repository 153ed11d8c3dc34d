"""A prompt that one real worker computed comes back from LMCache on another, because the router chose it knowingly."""

import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.engines import BLOCK, event_specs
from tests.e2e.harness import Router, ask, launcher, router_process, wait_until
from tests.fakes.ports import free_ports
from tests.fakes.redis_server import redis_server

pytestmark = pytest.mark.engine

MODEL = "small-qwen3"
CHUNK = 64
TOKENS = 1500
POOL_BLOCKS = 130


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """Where a prompt went, and what came of it."""

    worker: str
    predicted: int
    found: int
    ttft_ms: float


@pytest.fixture(scope="module")
def router(
    engine: ModuleType, report: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Router, list[Any]]]:
    """A router before two workers that share an LMCache, whose coordinator and Redis it asks."""
    if not (engine.engine_dir() / "venv/bin/lmcache").exists():
        report("NOT TESTED with LMCache: it has no build for the engine's Python")
        pytest.skip("no LMCache")
    module = launcher("lmcache_server")
    with redis_server() as redis:
        spec = module.LMCacheSpec(*free_ports(3), urlsplit(redis).port, chunk=CHUNK, memory_gb=0.25)
        with module.running(spec) as lmcache:
            specs = event_specs(engine, 2, blocks=POOL_BLOCKS, extra=lmcache.spec.worker_args)
            small = [
                dataclasses.replace(each, model="small", kv_mb=256, max_model_len=4096)
                for each in specs
            ]
            with engine.running(small) as workers, pytest.MonkeyPatch.context() as patch:
                patch.setenv("PREFIX_ROUTER_LMCACHE_COORDINATOR", lmcache.coordinator.url)
                patch.setenv("PREFIX_ROUTER_LMCACHE_REDIS_URL", redis)
                patch.setenv("PREFIX_ROUTER_LMCACHE_CHUNK_TOKENS", str(CHUNK))
                patch.setenv("PREFIX_ROUTER_LMCACHE_DEADLINE_S", "0.5")  # two cores carry all of it
                urls = [worker.url for worker in workers]
                with router_process(urls, tmp_path_factory.mktemp("tiers")) as running:
                    yield running, workers


def prompt(seed: int, tokens: int = TOKENS) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(3, 4000) for _ in range(tokens)]


def send(router: Router, tokens: list[int], worker: str | None = None, answer: int = 2) -> Answered:
    """Complete a prompt, streamed; `worker`: it must go there."""
    request_id = f"{time.monotonic_ns()}"
    options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0}
    body = {"model": MODEL, "prompt": tokens, "max_tokens": answer} | options
    headers = {"x-request-id": request_id} | ({"x-router-worker": worker} if worker else {})
    usage = ask(router.url, "/v1/completions", body, headers).usage
    line = router.request_line(request_id)
    found = usage["prompt_tokens_details"]["cached_tokens"]
    return Answered(line["worker"], line["predicted_cached_tokens"], found, line["ttft_ms"])


@pytest.mark.timeout(240, func_only=True)
def test_it_comes_back_on_another_worker(
    router: tuple[Router, list[Any]], report: Callable[[str], None]
) -> None:
    running, (one, two) = router
    for number, worker in enumerate((one, two)):
        send(running, prompt(100 + number), worker.id)  # warms up, and is heard of
    wanted = prompt(1)
    cold = send(running, wanted, one.id)
    for seed in range(2, 6):  # more than its pool holds
        send(running, prompt(seed), one.id)
    assert (cold.predicted, cold.found) == (0, 0)

    def stored() -> bool:
        """LMCache's servers report to the coordinator every now and then."""
        seen = explained(running, wanted)
        return all(each["cached_tokens"] > TOKENS - 2 * CHUNK for each in seen["workers"])

    wait_until(stored, 20, "both workers can load it")
    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(send, running, prompt(20 + n), one.id, 60) for n in range(4)]
        wait_until(lambda: inflight(running, one.id) == len(busy), 10, "the first one is busy")
        back = send(running, wanted)
        for each in busy:
            each.result()
    again = send(running, wanted, two.id)
    report(
        f"LMCache: {cold.found} of {TOKENS} tokens cached on the first worker, TTFT {cold.ttft_ms:.0f} ms; sent to the"
        f" second one for {back.predicted}, found {back.found}, TTFT {back.ttft_ms:.0f} ms; there again"
        f" {again.predicted}, found {again.found}, TTFT {again.ttft_ms:.0f} ms"
    )
    assert back.worker == two.id
    assert back.predicted == back.found > TOKENS - 2 * CHUNK
    assert abs(again.predicted - again.found) <= BLOCK
    metrics = ask(running.url, "/metrics", method="GET").body.decode()
    loaded = [line for line in metrics.splitlines() if "router_cached_tokens_total{" in line]
    assert any('tier="cpu"' in line or 'tier="remote"' in line for line in loaded), loaded


def explained(router: Router, tokens: list[int]) -> dict[str, Any]:
    body = {"model": MODEL, "prompt": tokens}
    found: dict[str, Any] = ask(router.url, "/explain", body).json()
    return found


def inflight(router: Router, worker: str) -> int:
    (found,) = [each for each in router.workers()["workers"] if each["id"] == worker]
    count: int = found["inflight"]
    return count
