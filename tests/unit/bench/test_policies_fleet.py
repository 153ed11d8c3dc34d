"""Emptying workers between slices, and the routers' command lines."""

import asyncio
import json
from pathlib import Path

import pytest

from bench.policies import fleet
from bench.policies.fleet import FleetError, Router, empty, model_of, routers
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

BUSY = b'vllm:num_requests_running{engine="0"} 1.0\nvllm:num_requests_waiting{engine="0"} 0.0\n'
IDLE = BUSY.replace(b"1.0", b"0.0")


class Resets:
    """Answers resets as vLLM does: refused so many times, then done."""

    def __init__(self, refusals: int = 0) -> None:
        self.count = 0
        self._refusals = refusals

    async def __call__(self, request: Request, wire: Wire) -> None:
        assert request.method == "POST"
        self.count += 1
        await wire.json({"success": self.count > self._refusals})


async def not_found(_request: Request, wire: Wire) -> None:
    await wire.json({"detail": "Not Found"}, status=404)


async def test_a_refused_reset_is_tried_again() -> None:
    async with FakeWorker() as worker:
        worker.metrics = IDLE
        worker.routes["/reset_prefix_cache"] = resets = Resets(refusals=2)
        assert await asyncio.to_thread(empty, [worker.url])
        assert resets.count == 3


async def test_a_busy_worker_is_waited_for_before_its_cache_is_emptied() -> None:
    async with FakeWorker() as worker:
        worker.metrics = BUSY
        worker.routes["/reset_prefix_cache"] = resets = Resets()
        emptying = asyncio.create_task(asyncio.to_thread(empty, [worker.url]))
        await worker.until(lambda: len(worker.probes) >= 2)
        assert resets.count == 0
        worker.metrics = IDLE
        assert await emptying
        assert resets.count == 1


async def test_a_worker_that_offers_no_reset_is_told() -> None:
    async with FakeWorker() as one, FakeWorker() as two:
        one.metrics = two.metrics = IDLE
        one.routes["/reset_prefix_cache"] = not_found
        two.routes["/reset_prefix_cache"] = resets = Resets()
        assert not await asyncio.to_thread(empty, [one.url, two.url])
        assert resets.count == 1


async def test_requests_that_do_not_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "IDLE_S", 0.3)
    async with FakeWorker() as worker:
        worker.metrics = BUSY
        with pytest.raises(FleetError, match="is in use"):
            await asyncio.to_thread(empty, [worker.url])


async def test_the_model_is_asked_of_the_worker() -> None:
    async with FakeWorker(models=("first", "second")) as worker:
        assert await asyncio.to_thread(model_of, worker.url) == "first"
    with pytest.raises(FleetError, match=worker.url):
        await asyncio.to_thread(model_of, worker.url)


def test_a_router_is_told_its_policy_its_settings_and_every_worker() -> None:
    router = Router("python -m router", ("room_tokens=512",), ("http://a:1", "http://b:2"))
    assert router.command_line("random", 18510) == [
        *(
            "env",
            "PREFIX_ROUTER_ROOM_TOKENS=512",
            "python",
            "-m",
            "router",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            "18510",
        ),
        *("--policy", "random", "--worker", "http://a:1", "--worker", "http://b:2"),
    ]


def test_a_router_that_ends_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    script = "import sys; sys.exit('cannot start')"
    command = f"python3 -c {json.dumps(script)}"
    with (
        pytest.raises(FleetError, match=str(tmp_path / r"random\.log")),
        routers(Router(command, (), ()), ["random"], 18590, tmp_path),
    ):
        pass
    assert (tmp_path / "random.log").read_text() == "cannot start\n"
