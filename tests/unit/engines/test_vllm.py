"""vLLM's answers to the router's questions."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.engines import vllm
from router.engines.base import Condition, Gauges, WorkerReport
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
            "is_paused": Answer(404, b'{"detail":"Not Found"}'),
            "detokenize": Answer(200, b'{"prompt":"!"}'),
            **answers,
        }
        self.asked: list[tuple[str, str | None, float]] = []
        self.bodies: list[bytes] = []

    async def fetch(
        self, pool: Pool, path: str, *, api_key: str | None, timeout_s: float, body: bytes = b""
    ) -> Answer:
        assert pool is POOL
        self.asked.append((path, api_key, timeout_s))
        self.bodies += [body] if body else []
        answer = self.answers[path.rsplit("/", 1)[1]]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(monkeypatch: pytest.MonkeyPatch, **answers: Answer | Exception) -> Worker:
    worker = Worker(**answers)
    monkeypatch.setattr(vllm, "fetch", worker.fetch)
    return worker


NEW = WorkerReport()
KNOWN = WorkerReport({"org/m": {}, "lora": {}})
TOLD = WorkerReport({"org/m": {}}, controls=True)
DRAINS = b'{"error":{"message":"cannot schedule new futures after shutdown","type":"InternalServerError","param":null,"code":500}}'
PAUSED = Answer(200, b'{"is_paused":true}')
SLEEP = b"""\
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="awake"} %b
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="weights_offloaded"} 0.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="discard_all"} 0.0
"""


class TestCondition:
    @pytest.mark.parametrize(
        ("status", "condition"),
        [(200, Condition.SERVING), (503, Condition.ILL), (404, Condition.ILL)],
    )
    async def test_health_comes_first(
        self, monkeypatch: pytest.MonkeyPatch, status: int, condition: Condition
    ) -> None:
        worker = ask(monkeypatch, health=Answer(status, b""))
        assert await VllmEngine(api_key="k", timeout_s=2.0).condition(POOL, NEW) is condition
        assert worker.asked == [("/health", "k", 2.0)], "more is asked of who serves something"

    async def test_an_ill_worker_is_asked_nothing_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = ask(monkeypatch, health=Answer(500, b""), is_paused=PAUSED)
        assert await VllmEngine().condition(POOL, TOLD) is Condition.ILL
        assert [path for path, _, _ in worker.asked] == ["/health"]

    @pytest.mark.parametrize(
        ("answer", "condition"),
        [
            (Answer(500, DRAINS), Condition.DRAINING),
            (Answer(200, DRAINS), Condition.SERVING),
            (Answer(500, b"division by zero"), Condition.SERVING),
            (Answer(404, b"{}"), Condition.SERVING),
            (Answer(401, b"{}"), Condition.SERVING),
            (Answer(400, b"{}"), Condition.SERVING),
        ],
    )
    async def test_one_that_drains_lets_detokenize_fail(
        self, monkeypatch: pytest.MonkeyPatch, answer: Answer, condition: Condition
    ) -> None:
        worker = ask(monkeypatch, detokenize=answer)
        engine = VllmEngine(api_key="k", timeout_s=2.0)
        assert await engine.condition(POOL, KNOWN) is condition
        assert worker.asked == [("/health", "k", 2.0), ("/detokenize", "k", 2.0)]
        assert [json.loads(body) for body in worker.bodies] == [{"model": "org/m", "tokens": [1]}]

    @pytest.mark.parametrize(
        ("awake", "condition"),
        [
            (b"0.0", Condition.ASLEEP),
            (b"0", Condition.ASLEEP),
            (b"1.0", Condition.PAUSED),
            (b"0.5", Condition.PAUSED),
        ],
    )
    async def test_one_that_is_paused_may_be_asleep(
        self, monkeypatch: pytest.MonkeyPatch, awake: bytes, condition: Condition
    ) -> None:
        """`/is_sleeping` is true for both; only the metric tells."""
        ask(monkeypatch, is_paused=PAUSED, metrics=Answer(200, METRICS + SLEEP % awake))
        assert await VllmEngine().condition(POOL, TOLD) is condition

    @pytest.mark.parametrize("metrics", [Answer(404, b"{}"), Answer(200, b""), TimeoutError()])
    async def test_without_that_metric_it_is_paused(
        self, monkeypatch: pytest.MonkeyPatch, metrics: Answer | Exception
    ) -> None:
        ask(monkeypatch, is_paused=PAUSED, metrics=metrics)
        assert await VllmEngine().condition(POOL, TOLD) is Condition.PAUSED

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(200, b'{"is_paused":false}'),
            Answer(404, b'{"detail":"Not Found"}'),
            Answer(500, b'{"error":"Failed to fetch pause status: is_paused true"}'),
        ],
    )
    async def test_else_it_serves(self, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
        worker = ask(monkeypatch, is_paused=answer)
        assert await VllmEngine().condition(POOL, TOLD) is Condition.SERVING
        assert [path for path, _, _ in worker.asked] == ["/health", "/detokenize", "/is_paused"]

    @pytest.mark.parametrize("controls", [None, False])
    async def test_who_cannot_pause_is_not_asked(
        self, monkeypatch: pytest.MonkeyPatch, controls: bool | None
    ) -> None:
        worker = ask(monkeypatch, is_paused=PAUSED)
        report = WorkerReport({"m": {}}, controls=controls)
        assert await VllmEngine().condition(POOL, report) is Condition.SERVING
        assert "/is_paused" not in [path for path, _, _ in worker.asked]

    @pytest.mark.parametrize("path", ["health", "detokenize", "is_paused"])
    @pytest.mark.parametrize("error", [TimeoutError(), RouterError(502, "x", "y")])
    async def test_no_answer_is_the_caller_s_to_judge(
        self, monkeypatch: pytest.MonkeyPatch, path: str, error: Exception
    ) -> None:
        ask(monkeypatch, **{path: error})
        with pytest.raises(type(error)):
            await VllmEngine().condition(POOL, TOLD)


async def test_a_worker_describes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ask(monkeypatch)
    report = await VllmEngine().describe(POOL)
    assert list(report.models) == ["m", "lora"]
    assert report.models["m"]["max_model_len"] == 4096
    assert (report.kv_tokens, report.block_tokens, report.ranks) == (1600, 16, 1)
    assert [path for path, _, _ in worker.asked] == ["/v1/models", "/metrics", "/is_paused"]


@pytest.mark.parametrize(
    ("answer", "controls"),
    [
        (Answer(200, b'{"is_paused":false}'), True),
        (Answer(404, b"{}"), False),
        (TimeoutError(), None),
        (RouterError(502, "x", "y"), None),
    ],
)
async def test_it_says_whether_it_can_be_paused(
    monkeypatch: pytest.MonkeyPatch, answer: Answer | Exception, controls: bool | None
) -> None:
    ask(monkeypatch, is_paused=answer)
    assert (await VllmEngine().describe(POOL)).controls is controls


async def test_metrics_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, metrics=Answer(404, b"{}"))
    report = await VllmEngine().describe(POOL)
    assert report == WorkerReport(models_in(MODELS), None, None, controls=False)
    assert report.ranks is None


@pytest.mark.parametrize(
    ("status", "key", "told"),
    [
        (401, None, ": it demands a key, set `worker_api_key`"),
        (401, "sk-1", ": it does not take `worker_api_key`"),
        (500, None, ""),
    ],
)
async def test_models_are(
    monkeypatch: pytest.MonkeyPatch, status: int, key: str | None, told: str
) -> None:
    ask(monkeypatch, models=Answer(status, b"{}"))
    with pytest.raises(RouterError) as caught:
        await VllmEngine(api_key=key).describe(POOL)
    assert caught.value.message == f"/v1/models answered {status}{told}"


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
        b'{"data": ' + b"[" * 5000,
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
        (METRICS.replace(b"101", b"9" * 5000), (None, None)),
        (METRICS + METRICS.replace(b'"16"', b'"%d"' % 2**32), (1600, 16)),
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
        (b"process_start_time_seconds 1.2.3\n", None),
        (b"process_start_time_seconds 1.8+09\n", None),
        (b"process_start_time_seconds e\n", None),
        (b"process_start_time_seconds 1e999\n", None),
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
