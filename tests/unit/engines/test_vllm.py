"""vLLM's answers to the router's questions."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.engines import vllm
from router.engines.base import Gauges, WorkerReport
from router.engines.vllm import (
    VllmEngine,
    cache_size_in,
    gauges_in,
    models_in,
    ranks_in,
    started_at_in,
)
from router.errors import RouterError
from router.upstream.fetch import Answer
from router.upstream.pool import Address, Pool

POOL = Pool(Address("gpu-1", 8000, False, b""), None, connect_s=1.0, idle_s=1.0)
MODELS = json.dumps(
    {
        "object": "list",
        "data": [
            {"id": "m", "object": "model", "max_model_len": 4096, "root": "m", "parent": None},
            {"id": "lora", "object": "model", "max_model_len": None, "root": "x", "parent": "m"},
        ],
    }
).encode()
METRICS = b"""\
# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="101",sliding_window="None"} 1.0
vllm:num_requests_running{engine="0",model_name="m"} 0.0
"""


class Worker:
    """Answers `fetch` by path; an exception is raised instead."""

    def __init__(self, **answers: Answer | Exception) -> None:
        self.answers = {
            "health": Answer(200, b""),
            "models": Answer(200, MODELS),
            "metrics": Answer(200, METRICS),
            **answers,
        }
        self.asked: list[tuple[str, str | None, float]] = []

    async def fetch(
        self, pool: Pool, path: str, *, api_key: str | None, timeout_s: float
    ) -> Answer:
        assert pool is POOL
        self.asked.append((path, api_key, timeout_s))
        answer = self.answers[path.rsplit("/", 1)[1]]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(monkeypatch: pytest.MonkeyPatch, **answers: Answer | Exception) -> Worker:
    worker = Worker(**answers)
    monkeypatch.setattr(vllm, "fetch", worker.fetch)
    return worker


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (404, False)])
async def test_health(monkeypatch: pytest.MonkeyPatch, status: int, healthy: bool) -> None:
    worker = ask(monkeypatch, health=Answer(status, b""))
    assert await VllmEngine(api_key="k", timeout_s=2.0).healthy(POOL) is healthy
    assert worker.asked == [("/health", "k", 2.0)]


async def test_a_worker_describes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ask(monkeypatch)
    report = await VllmEngine().describe(POOL)
    assert list(report.models) == ["m", "lora"]
    assert report.models["m"]["max_model_len"] == 4096
    assert (report.kv_tokens, report.block_tokens, report.ranks) == (1600, 16, 1)
    assert [path for path, _, _ in worker.asked] == ["/v1/models", "/metrics"]


async def test_metrics_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, metrics=Answer(404, b"{}"))
    report = await VllmEngine().describe(POOL)
    assert report == WorkerReport(models_in(MODELS), None, None)
    assert report.ranks is None


@pytest.mark.parametrize(("status", "hint"), [(401, "worker_api_key"), (500, "answered 500")])
async def test_models_are(monkeypatch: pytest.MonkeyPatch, status: int, hint: str) -> None:
    ask(monkeypatch, models=Answer(status, b"{}"))
    with pytest.raises(RouterError, match=hint):
        await VllmEngine().describe(POOL)


async def test_a_worker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, health=TimeoutError())
    with pytest.raises(TimeoutError):
        await VllmEngine().healthy(POOL)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"5",
        b"{}",
        b'{"data": 5}',
        b'{"data": null}',
        b'{"data": ["m"]}',
        b'{"data": [{}]}',
        b'{"data": [null]}',
        b'{"data": [[]]}',
        b'{"data": "\xff"}',
    ],
)
def test_what_is_no_list_of_models(body: bytes) -> None:
    with pytest.raises(RouterError, match="not a list of models"):
        models_in(body)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "id", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_json_is_a_list_of_models_or_told(value: Any) -> None:
    try:
        models = models_in(json.dumps(value).encode())
    except RouterError:
        return
    assert all(isinstance(name, str) for name in models)


@pytest.mark.parametrize(
    ("metrics", "size"),
    [
        (METRICS, (1600, 16)),
        (METRICS * 2, (1600, 16)),
        (METRICS + METRICS.replace(b"101", b"91"), (1440, 16)),
        (METRICS + METRICS.replace(b"101", b"111"), (1600, 16)),
        (b"", (None, None)),
        (b'vllm:cache_config_info{block_size="16"} 1\n', (None, None)),
        (b'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1\n', (None, None)),
        (b'vllm:cache_config_info{num_gpu_blocks="11",block_size="32"} 1\n', (320, 32)),
        (b'other:cache_config_info{block_size="16",num_gpu_blocks="11"} 1\n', (None, None)),
        (b'vllm:cache_config_info{block_size="16",num_gpu_blocks="1"} 1\n', (None, 16)),
        (b"vllm:cache_config_info{", (None, None)),
    ],
)
def test_the_cache_s_size(metrics: bytes, size: tuple[int | None, int | None]) -> None:
    assert cache_size_in(metrics) == size


def test_a_brace_in_a_label_is_a_part_of_it() -> None:
    line = b'vllm:cache_config_info{x="{}",block_size="16",num_gpu_blocks="11"} 1\n'
    assert cache_size_in(line) == (160, 16)


@given(st.binary(max_size=100))
def test_noise_tells_nothing(noise: bytes) -> None:
    cache_size_in(noise + METRICS[:180] + noise)


@pytest.mark.parametrize(
    ("metrics", "started"),
    [
        (b"process_start_time_seconds 1.79557688082e+09\n", 1795576880.82),
        (b'a 1\nprocess_start_time_seconds{x="}"} 12.5\nb 2\n', 12.5),
        (b"other_process_start_time_seconds 3\n", None),
        (b"", None),
    ],
)
def test_when_the_process_began(metrics: bytes, started: float | None) -> None:
    assert started_at_in(metrics) == started


def page(*ranks: tuple[float, float, float]) -> bytes:
    """Running, waiting and KV usage of each data-parallel rank, as vLLM writes them."""
    names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    lines = []
    for place, name in enumerate(names):
        lines += [f"# HELP vllm:{name} Something.", f"# TYPE vllm:{name} gauge"]
        lines += [
            f'vllm:{name}{{engine="{number}",model_name="org/m"}} {rank[place]}'
            for number, rank in enumerate(ranks)
        ]
    lines.insert(5, 'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0')
    return "\n".join(lines).encode() + b"\n"


NO_USAGE = page((3.0, 2.0, 0.25)).partition(b"# HELP vllm:kv")[0]
NOT_WAITING = page((3.0, 2.0, 0.25)).partition(b"# HELP vllm:num_requests_waiting ")[0]
ODD_LABELS = b"""\
vllm:num_requests_running{model_name="} 7,engine=\\"5",my_engine="6"} 1
vllm:num_requests_waiting{engine="x"} 1"""


@pytest.mark.parametrize(
    ("metrics", "gauges"),
    [
        (page((3.0, 2.0, 0.25)), {0: Gauges(3, 2, 0.25)}),
        (page((3, 2, 0.25), (5, 0, 0.75)), {0: Gauges(3, 2, 0.25), 1: Gauges(5, 0, 0.75)}),
        (page((0.0, 0.0, 0.0)), {0: Gauges(0, 0, 0.0)}),
        (page((1e3, 2e1, 1.0)), {0: Gauges(1000, 20, 1.0)}),
        (page((3.0, 2.0, float("nan"))), {0: Gauges(3, 2, None)}),
        (page((3.0, float("inf"), 0.5)), {}),
        (page((float("nan"), 1, 0.5), (3, 2, 0.5)), {1: Gauges(3, 2, 0.5)}),
        (page((3, 2, 0.5)).replace(b'engine="0"', b'engine="12"'), {0: Gauges(3, 2, 0.5)}),
        (NO_USAGE, {0: Gauges(3, 2, None)}),
        (NOT_WAITING, {}),
        (METRICS, {}),
        (b"", {}),
        (b"vllm:num_requests_running{} x\nvllm:num_requests_waiting{} 1\n", {}),
        (b"vllm:num_requests_running{} 1\nvllm:num_requests_waiting{} 1", {0: Gauges(1, 1)}),
        (ODD_LABELS, {0: Gauges(1, 1)}),
    ],
)
def test_what_each_rank_has_to_do(metrics: bytes, gauges: dict[int, Gauges]) -> None:
    assert gauges_in(metrics) == gauges


@given(st.binary(max_size=50), st.binary(max_size=50))
@example(b"", b"vllm:num_requests_waiting{")  # a page that was cut off
@example(b"vllm:num_requests_running{", b'vllm:kv_cache_usage_perc{engine="1"} x')
def test_noise_around_the_gauges_does_no_harm(before: bytes, after: bytes) -> None:
    found = gauges_in(before + b"\n" + page((3.0, 2.0, 0.25), (5.0, 2.0, 0.25)) + after)
    assert [gauges.running for gauges in found.values()] == [3, 5]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12, unique=True))
def test_engines_are_ranks_in_their_order(engines: list[int]) -> None:
    lines = [
        f'vllm:num_requests_{state}{{engine="{engine}",model_name="m"}} {engine}'
        for state in ("running", "waiting")
        for engine in engines
    ]
    metrics = "\n".join(lines).encode()
    assert ranks_in(metrics) == len(engines)
    assert [gauges.running for gauges in gauges_in(metrics).values()] == sorted(engines)


@pytest.mark.parametrize(
    ("metrics", "ranks"),
    [
        (b"", None),
        (b"process_start_time_seconds 1.0\n", None),
        (METRICS, 1),
        (b"vllm:num_requests_running{} 1\n", 1),
        (page((0, 0, 0)), 1),
        (page((0, 0, 0), (0, 0, 0)), 2),
        (page(*[(0, 0, 0)] * 16), 16),
    ],
)
def test_how_many_ranks_there_are(metrics: bytes, ranks: int | None) -> None:
    assert ranks_in(metrics) == ranks


@pytest.mark.parametrize("status", [404, 401, 500])
async def test_a_worker_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    ask(monkeypatch, metrics=Answer(status, page((3.0, 2.0, 0.25))))
    assert await VllmEngine().gauges(POOL) == {}


async def test_a_worker_that_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ask(monkeypatch, metrics=Answer(200, page((3.0, 2.0, 0.25))))
    gauges = await VllmEngine(api_key="k", timeout_s=2.0).gauges(POOL)
    assert gauges == {0: Gauges(3, 2, 0.25)}
    assert worker.asked == [("/metrics", "k", 2.0)]
