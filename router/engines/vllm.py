"""vLLM's dialect (0.32): health, models; cache size and load from its metrics."""

import re
from contextlib import suppress
from math import isfinite, nan
from typing import Any

import msgspec

from router.engines.base import Condition, Gauges, ModelCard, WorkerReport
from router.errors import RouterError
from router.upstream.fetch import Answer, fetch
from router.upstream.pool import Pool

_CACHE_CONFIG = re.compile(rb"^vllm:cache_config_info\{(.*)\} \S+$", re.MULTILINE)
_STARTED = re.compile(rb"^process_start_time_seconds(?:\{.*\})? ([0-9.eE+]+)$", re.MULTILINE)
_RUNNING = b"\nvllm:num_requests_running{"
_WAITING = b"\nvllm:num_requests_waiting{"
_KV_USAGE = b"\nvllm:kv_cache_usage_perc{"
_ENGINE = re.compile(rb'[{,]engine="(\d{1,9})"')
_PAUSED = re.compile(rb'"is_paused"\s*:\s*true')
_ASLEEP = re.compile(rb'^vllm:engine_sleep_state\{[^}]*"awake"\} 0(?:\.0)?$', re.MULTILINE)
DRAINING = b"cannot schedule new futures after shutdown"
"""What a worker answers with 500 to whatever is new, once it was told to end and while it ends what it has."""

DEAD = b"EngineCore encountered an issue"
"""What its server answers once the engine behind it has died."""

ABORTED = b'"finish_reason":"abort"'
"""Of an answer that it ended because it was told to stop, or to pause."""

_COUNT = re.compile(rb"\d{1,9}")
_LABEL = re.compile(rb'(\w+)="((?:[^"\\]|\\.)*)"')


class VllmEngine:
    """Asks vLLM workers (`engines.base.Engine`). `api_key` is sent with every probe."""

    def __init__(self, *, api_key: str | None = None, timeout_s: float = 5.0) -> None:
        self._api_key = api_key
        self._timeout_s = timeout_s

    async def condition(self, pool: Pool, report: WorkerReport) -> Condition:
        """`GET /health`, and what it does not know: a worker that drains lets `/detokenize` fail, which is cheap where
        it does not; one that sleeps or pauses says so, if it was started to (`VLLM_SERVER_DEV_MODE`).
        """
        answer = await self._get(pool, "/health")
        if answer.status != 200:
            return Condition.ILL
        if report.models and await self._drains(pool, next(iter(report.models))):
            return Condition.DRAINING
        if report.controls:
            answer = await self._get(pool, "/is_paused")
            if answer.status == 200 and _PAUSED.search(answer.body):
                asleep = _ASLEEP.search(await self._metrics(pool))
                return Condition.ASLEEP if asleep else Condition.PAUSED
        return Condition.SERVING

    async def _drains(self, pool: Pool, model: str) -> bool:
        question = msgspec.json.encode({"model": model, "tokens": [1]})
        answer = await fetch(
            pool,
            "/detokenize",
            api_key=self._api_key,
            timeout_s=self._timeout_s,
            body=question,
        )
        return answer.status == 500 and DRAINING in answer.body

    async def _get(self, pool: Pool, path: str) -> Answer:
        return await fetch(pool, path, api_key=self._api_key, timeout_s=self._timeout_s)

    async def describe(self, pool: Pool) -> WorkerReport:
        """`GET /v1/models` and, where there is one, `GET /metrics`."""
        answer = await self._get(pool, "/v1/models")
        if answer.status != 200:
            told = f"/v1/models answered {answer.status}"
            if answer.status == 401:
                told += (
                    ": it demands a key, set `worker_api_key`"
                    if self._api_key is None
                    else ": it does not take `worker_api_key`"
                )
            raise RouterError(502, "worker_bad_response", told)
        metrics = await self._metrics(pool)
        kv_tokens, block_tokens = cache_size_in(metrics)
        return WorkerReport(
            models_in(answer.body),
            kv_tokens,
            block_tokens,
            started_at_in(metrics),
            ranks_in(metrics),
            await self._has_controls(pool),
        )

    async def gauges(self, pool: Pool) -> dict[int, Gauges]:
        """From `GET /metrics`, by data-parallel rank."""
        answer = await self._get(pool, "/metrics")
        return gauges_in(answer.body) if answer.status == 200 else {}

    async def _metrics(self, pool: Pool) -> bytes:
        """The metrics page, empty when there is none: a worker need not have it."""
        try:
            answer = await self._get(pool, "/metrics")
        except (RouterError, TimeoutError):
            return b""
        return answer.body if answer.status == 200 else b""

    async def _has_controls(self, pool: Pool) -> bool | None:
        """It serves the routes that tell of sleep and pause: not all do."""
        try:
            return (await self._get(pool, "/is_paused")).status == 200
        except (RouterError, TimeoutError):
            return None


def models_in(body: bytes) -> dict[str, ModelCard]:
    """Model cards by id; raises `RouterError` when `body` is not a list of models."""
    try:
        listing: Any = msgspec.json.decode(body)
        return {str(card["id"]): card for card in listing["data"]}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        raise RouterError(
            502, "worker_bad_response", "/v1/models is not a list of models"
        ) from error


def started_at_in(metrics: bytes) -> float | None:
    """When the worker's process began, epoch seconds; None when the metrics do not tell."""
    match = _STARTED.search(metrics)
    with suppress(ValueError):
        started = float(match[1]) if match else nan
        return started if isfinite(started) else None
    return None


def cache_size_in(metrics: bytes) -> tuple[int | None, int | None]:
    """(tokens in the KV cache, tokens of a block); of several ranks the smallest counts. None: not told."""
    smallest, block = None, None
    for match in _CACHE_CONFIG.finditer(metrics):
        labels = dict(_LABEL.findall(match[1]))
        blocks, size = labels.get(b"num_gpu_blocks", b""), labels.get(b"block_size", b"")
        if _COUNT.fullmatch(blocks) and _COUNT.fullmatch(size):
            block = int(size)
            tokens = (int(blocks) - 1) * block  # one block is vLLM's null block
            smallest = tokens if smallest is None else min(smallest, tokens)
    return smallest or None, block


def ranks_in(metrics: bytes) -> int | None:
    """How many data-parallel ranks there are; None when the metrics do not tell."""
    return len(_by_engine(b"\n" + metrics, _RUNNING)) or None


def gauges_in(metrics: bytes) -> dict[int, Gauges]:
    """Requests and KV usage by data-parallel rank, as far as they are told.

    The engines of a worker are its ranks, in their order: vLLM counts them from 0 when it is sent a rank, also where
    a worker has only the last ones of a larger set. Pages have hundreds of lines and are asked for every second:
    only the lines wanted are looked at.
    """
    page = b"\n" + metrics
    running, waiting, usage = (_by_engine(page, name) for name in (_RUNNING, _WAITING, _KV_USAGE))
    found = {}
    for rank, engine in enumerate(sorted(running)):
        runs, waits = running[engine], waiting.get(engine, nan)
        share = usage.get(engine, nan)
        if isfinite(runs) and isfinite(waits):
            found[rank] = Gauges(round(runs), round(waits), share if isfinite(share) else None)
    return found


def _by_engine(page: bytes, start: bytes) -> dict[int, float]:
    """The samples whose lines begin with `start` by their engine, 0 if they name none. Lines that are none are passed
    over.
    """
    found = {}
    at = page.find(start)
    while at >= 0:
        end = page.find(b"\n", at + 1)
        labels, _, value = page[at : end if end >= 0 else len(page)].rpartition(b"} ")
        engine = _ENGINE.search(labels)
        with suppress(ValueError):
            found[int(engine[1]) if engine else 0] = float(value)
        at = page.find(start, at + 1)
    return found
