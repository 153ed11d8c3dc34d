"""vLLM's dialect (0.32): health, models; cache size and load from its metrics."""

import re
from collections.abc import Iterator
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
        return WorkerReport(
            models_in(answer.body), *cache_size_in(metrics), started_at=started_at_in(metrics)
        )

    async def gauges(self, pool: Pool) -> Gauges | None:
        """From `GET /metrics`, over all data-parallel ranks."""
        answer = await fetch(pool, "/metrics", api_key=self._api_key, timeout_s=self._timeout_s)
        return gauges_in(answer.body) if answer.status == 200 else None

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
    """(tokens in the KV cache over all data-parallel ranks, tokens of a block); None: not told."""
    total, block = 0, None
    for match in _CACHE_CONFIG.finditer(metrics):
        labels = dict(_LABEL.findall(match[1]))
        blocks, size = labels.get(b"num_gpu_blocks", b""), labels.get(b"block_size", b"")
        if blocks.isdigit() and size.isdigit():
            block = int(size)
            total += (int(blocks) - 1) * block  # one block is vLLM's null block
    return total or None, block


def gauges_in(metrics: bytes) -> Gauges | None:
    """Requests over all data-parallel ranks, and the mean of their KV usage; None when it is not told.

    Pages have hundreds of lines and are asked for every second: only the lines wanted are looked at.
    """
    page = b"\n" + metrics
    running, waiting = list(_values(page, _RUNNING)), list(_values(page, _WAITING))
    if not running or not waiting:
        return None
    usage = list(_values(page, _KV_USAGE))
    return Gauges(
        round(sum(running)), round(sum(waiting)), sum(usage) / len(usage) if usage else None
    )


def _values(page: bytes, start: bytes) -> Iterator[float]:
    """The finite values of the samples whose lines begin with `start`."""
    at = page.find(start)
    while at >= 0:
        end = page.find(b"\n", at + 1)
        line = page[at : end if end >= 0 else len(page)]
        try:
            value = float(line.rpartition(b"} ")[2])
        except ValueError:
            value = nan
        if isfinite(value):
            yield value
        at = page.find(start, at + 1)
