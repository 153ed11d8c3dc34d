"""vLLM's dialect (0.32): health, models; cache size and load from its metrics."""

import re
from contextlib import suppress
from math import isfinite, nan
from typing import Any

import msgspec

from router.engines.base import Gauges, ModelCard, WorkerReport
from router.errors import RouterError
from router.upstream.fetch import fetch
from router.upstream.pool import Pool

_CACHE_CONFIG = re.compile(rb"^vllm:cache_config_info\{(.*)\} \S+$", re.MULTILINE)
_STARTED = re.compile(rb"^process_start_time_seconds(?:\{.*\})? ([0-9.eE+]+)$", re.MULTILINE)
_RUNNING = b"\nvllm:num_requests_running{"
_WAITING = b"\nvllm:num_requests_waiting{"
_KV_USAGE = b"\nvllm:kv_cache_usage_perc{"
_ENGINE = re.compile(rb'[{,]engine="(\d{1,9})"')
_LABEL = re.compile(rb'(\w+)="((?:[^"\\]|\\.)*)"')


class VllmEngine:
    """Asks vLLM workers (`engines.base.Engine`). `api_key` is sent with every probe."""

    def __init__(self, *, api_key: str | None = None, timeout_s: float = 5.0) -> None:
        self._api_key = api_key
        self._timeout_s = timeout_s

    async def healthy(self, pool: Pool) -> bool:
        """`GET /health` answers 200."""
        answer = await fetch(pool, "/health", api_key=self._api_key, timeout_s=self._timeout_s)
        return answer.status == 200

    async def describe(self, pool: Pool) -> WorkerReport:
        """`GET /v1/models` and, where there is one, `GET /metrics`."""
        answer = await fetch(pool, "/v1/models", api_key=self._api_key, timeout_s=self._timeout_s)
        if answer.status != 200:
            hint = " (is `worker_api_key` set?)" if answer.status == 401 else ""
            raise RouterError(
                502, "worker_bad_response", f"/v1/models answered {answer.status}{hint}"
            )
        metrics = await self._metrics(pool)
        kv_tokens, block_tokens = cache_size_in(metrics)
        return WorkerReport(
            models_in(answer.body),
            kv_tokens,
            block_tokens,
            started_at_in(metrics),
            ranks_in(metrics),
        )

    async def gauges(self, pool: Pool) -> dict[int, Gauges]:
        """From `GET /metrics`, by data-parallel rank."""
        answer = await fetch(pool, "/metrics", api_key=self._api_key, timeout_s=self._timeout_s)
        return gauges_in(answer.body) if answer.status == 200 else {}

    async def _metrics(self, pool: Pool) -> bytes:
        """The metrics page, empty when there is none: a worker need not have it."""
        try:
            answer = await fetch(pool, "/metrics", api_key=self._api_key, timeout_s=self._timeout_s)
        except (RouterError, TimeoutError):
            return b""
        return answer.body if answer.status == 200 else b""


def models_in(body: bytes) -> dict[str, ModelCard]:
    """Model cards by id; raises `RouterError` when `body` is not a list of models."""
    try:
        listing: Any = msgspec.json.decode(body)
        return {str(card["id"]): card for card in listing["data"]}
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise RouterError(
            502, "worker_bad_response", "/v1/models is not a list of models"
        ) from error


def started_at_in(metrics: bytes) -> float | None:
    """When the worker's process began, epoch seconds; None when the metrics do not tell."""
    match = _STARTED.search(metrics)
    return float(match[1]) if match else None


def cache_size_in(metrics: bytes) -> tuple[int | None, int | None]:
    """(tokens in the KV cache, tokens of a block); of several ranks the smallest counts. None: not told."""
    smallest, block = None, None
    for match in _CACHE_CONFIG.finditer(metrics):
        labels = dict(_LABEL.findall(match[1]))
        blocks, size = labels.get(b"num_gpu_blocks", b""), labels.get(b"block_size", b"")
        if blocks.isdigit() and size.isdigit():
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
