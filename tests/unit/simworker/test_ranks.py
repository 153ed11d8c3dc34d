"""A worker of several data-parallel ranks: each has its cache, its counters and its events."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
import pytest
import zmq
import zmq.asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.ports import free_ports

PROMPT = {"prompt": "abcd" * 40, "max_tokens": 1}


def cached(worker: Any) -> list[int]:
    """How many blocks each rank has."""
    return [engine.pool.cached for engine in worker.worker.engines]


async def ask(worker: Any, rank: str | None = None, **fields: Any) -> httpx2.Response:
    headers = {} if rank is None else {"X-data-parallel-rank": rank}
    response: httpx2.Response = await worker.post(
        "/v1/completions", {**PROMPT, **fields}, **headers
    )
    return response


@pytest.mark.parametrize("rank", [0, 1, 2])
async def test_a_request_is_served_by_the_rank_that_it_says(local: Any, rank: int) -> None:
    async with local(data_parallel_size=3) as worker:
        for _ in range(2):
            assert (await ask(worker, str(rank))).status_code == 200
        blocks = cached(worker)
        hits = [engine.stats.hits for engine in worker.worker.engines]
    assert [place for place, count in enumerate(blocks) if count] == [rank]
    assert [place for place, count in enumerate(hits) if count] == [rank]


@pytest.mark.parametrize(("ranks", "said"), [(2, "2"), (2, "-1"), (1, "1")])
async def test_a_rank_that_is_not_there(local: Any, ranks: int, said: str) -> None:
    async with local(data_parallel_size=ranks) as worker:
        response = await ask(worker, said)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "BadRequestError")
    assert error["message"] == f"data_parallel_rank {said} is out of range [0, {ranks})."


@pytest.mark.parametrize("said", ["x", "", "1.5", None])
async def test_who_says_no_number_says_nothing(local: Any, said: str | None) -> None:
    async with local(data_parallel_size=2) as worker:
        for _ in range(4):
            assert (await ask(worker, said)).status_code == 200
        assert 0 not in cached(worker), "they take turns"


async def test_the_rank_with_the_least_to_do_is_next(local: Any) -> None:
    async with local(data_parallel_size=3) as worker:
        engines = worker.worker.engines
        for engine in engines:
            engine.pause()
        answers = [asyncio.ensure_future(ask(worker, "1")) for _ in range(2)]
        answers += [asyncio.ensure_future(ask(worker)) for _ in range(4)]
        async with asyncio.timeout(10):
            while sum(len(engine.scheduler.waiting) for engine in engines) < 6:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert [len(engine.scheduler.waiting) for engine in engines] == [2, 2, 2]
        assert (await worker.http.get("/load")).json() == {"server_load": 6}
        for engine in engines:
            engine.resume()
        assert {answer.status_code for answer in await asyncio.gather(*answers)} == {200}


async def test_metrics_tell_the_ranks_apart(local: Any) -> None:
    async with local(data_parallel_size=2) as worker:
        await ask(worker, "1")
        text = (await worker.http.get("/metrics")).text
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "each is there once"
    for family in families:
        if family.name == "process_start_time_seconds":  # there is one process
            continue
        assert {sample.labels["engine"] for sample in family.samples} == {"0", "1"}
    assert 'vllm:prompt_tokens_total{engine="1",model_name="sim-model"} 40.0' in text
    assert 'vllm:prompt_tokens_total{engine="0",model_name="sim-model"} 0.0' in text


async def test_all_ranks_sleep_and_are_emptied_together(local: Any) -> None:
    async with local(data_parallel_size=2) as worker:
        for rank in ("0", "1"):
            await ask(worker, rank)
        assert (await worker.http.post("/reset_prefix_cache")).json() == {"success": True}
        assert cached(worker) == [0, 0]
        await worker.http.post("/sleep?level=1")
        assert [engine.sleep_level for engine in worker.worker.engines] == [1, 1]
        await worker.http.post("/wake_up")
        assert [engine.paused for engine in worker.worker.engines] == [False, False]


async def test_each_rank_publishes_its_events_at_a_port_of_its_own(local: Any) -> None:
    port = free_ports(4)[0]
    context = zmq.asyncio.Context()
    async with local(data_parallel_size=2, kv_events_port=port) as worker:
        sources = (await worker.http.get("/kv_event_sources")).json()
        assert {rank: source["endpoint"] for rank, source in sources.items()} == {
            "0": f"tcp://*:{port}",
            "1": f"tcp://*:{port + 1}",
        }
        await ask(worker, "1")
        for rank, batches in (("0", 0), ("1", 1)):
            with context.socket(zmq.DEALER) as replay:
                replay.linger = 0
                replay.connect(sources[rank]["replay_endpoint"])
                await replay.send_multipart([b"", bytes(8)])
                async with asyncio.timeout(10):
                    answers = [await replay.recv_multipart() for _ in range(batches + 1)]
            assert answers.pop()[2] == b"\xff" * 8
            for _, _, _, payload in answers:
                _, [stored], told = msgspec.msgpack.decode(payload)
                assert (stored["type"], told) == ("BlockStored", int(rank))
    context.term()


def test_the_command_line_says_how_many(spawn: Callable[..., Any]) -> None:
    worker = spawn("--data-parallel-size", "2", "--time-scale", "0.1")
    response = httpx2.post(
        f"{worker.url}/v1/completions", json=PROMPT, headers={"X-data-parallel-rank": "2"}
    )
    assert response.status_code == 400
    assert worker.terminate() == 0
