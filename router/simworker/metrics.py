"""GET /metrics: vLLM's names and labels in the text exposition format."""

from collections.abc import Iterator, Sequence

from router.simworker.config import WorkerConfig
from router.simworker.engine import Engine
from router.simworker.stats import Histogram

CONTENT_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


def exposition(engines: Sequence[Engine], started_at: float) -> bytes:
    """Everything at this moment. `started_at`: seconds since 1970."""
    pages = [(*_gauges(each), *_counters(each), *_histograms(each)) for each in engines]
    lines = [
        "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.",
        "# TYPE process_start_time_seconds gauge",
        f"process_start_time_seconds {started_at!r}",
    ]
    for families in zip(*pages, strict=True):
        lines += families[0].head
        for family in families:
            lines += family.samples
    return ("\n".join(lines) + "\n").encode()


class _Family:
    """Lines of one metric of an engine."""

    def __init__(self, engine: Engine, name: str, kind: str, text: str) -> None:
        self._name = f"vllm:{name}"
        self._labels = {"engine": str(engine.rank), "model_name": engine.config.models[0]}
        sample = self._name if kind != "counter" else self._name.removesuffix("_total") + "_total"
        self.head = [f"# HELP {sample} {text}", f"# TYPE {sample} {kind}"]
        self.samples: list[str] = []

    def add(self, value: float, suffix: str = "", **labels: str) -> "_Family":
        merged = sorted({**self._labels, **labels}.items())
        text = ",".join(f'{name}="{_escape(label)}"' for name, label in merged)
        self.samples.append(f"{self._name}{suffix}{{{text}}} {float(value)!r}")
        return self


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _gauges(engine: Engine) -> Iterator[_Family]:
    waiting = len(engine.scheduler.waiting)
    for name, value, text in (
        (
            "num_requests_running",
            len(engine.scheduler.running),
            "Number of requests in model execution batches.",
        ),
        ("num_requests_waiting", waiting, "Number of requests waiting to be processed."),
        ("kv_cache_usage_perc", engine.usage, "KV-cache usage. 1 means 100 percent usage."),
    ):
        yield _Family(engine, name, "gauge", text).add(value)
    reasons = _Family(
        engine, "num_requests_waiting_by_reason", "gauge", "Number of waiting requests by reason."
    )
    yield reasons.add(waiting, reason="capacity").add(0, reason="deferred")
    level = engine.sleep_level
    sleep = _Family(engine, "engine_sleep_state", "gauge", "Engine sleep state.")
    sleep.add(level is None, sleep_state="awake").add(level == 1, sleep_state="weights_offloaded")
    yield sleep.add(level == 2, sleep_state="discard_all")
    info = _Family(engine, "cache_config_info", "gauge", "Information of the LLMEngine CacheConfig")
    yield info.add(1, **_cache_labels(engine.config))


def _cache_labels(config: WorkerConfig) -> dict[str, str]:
    blocks = config.num_blocks
    return {
        "block_size": str(config.block_size),
        "cache_dtype": "auto",
        "enable_prefix_caching": "True",
        "gpu_memory_utilization": "0.92",
        "kv_cache_max_concurrency": str(round(config.kv_tokens / config.context_limit, 2)),
        "kv_cache_size_tokens": str(blocks * config.block_size),
        "kv_offloading_backend": "native",
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(blocks),
        "num_gpu_blocks_override": str(blocks),
        "prefix_caching_hash_algo": "sha256",
        "prefix_match_unit": "None",
        "sliding_window": "None",
    }


def _counters(engine: Engine) -> Iterator[_Family]:
    stats = engine.stats
    for name, value, text in (
        (
            "prefix_cache_queries_total",
            stats.queries,
            "Prefix cache queries, in terms of number of queried tokens.",
        ),
        (
            "prefix_cache_hits_total",
            stats.hits,
            "Prefix cache hits, in terms of number of cached tokens.",
        ),
        ("external_prefix_cache_queries_total", 0, "External prefix cache queries, in tokens."),
        ("external_prefix_cache_hits_total", 0, "External prefix cache hits, in tokens."),
        (
            "num_preemptions_total",
            stats.preemptions,
            "Cumulative number of preemption from the engine.",
        ),
        ("prompt_tokens_total", stats.prompt_tokens, "Number of prefill tokens processed."),
        (
            "prompt_tokens_cached_total",
            stats.hits,
            "Number of cached prompt tokens (local + external).",
        ),
        (
            "generation_tokens_total",
            stats.generated_tokens,
            "Number of generation tokens processed.",
        ),
    ):
        yield _Family(engine, name, "counter", text).add(value)
    yield from _labelled_counters(engine)


def _labelled_counters(engine: Engine) -> Iterator[_Family]:
    stats = engine.stats
    sources = _Family(
        engine, "prompt_tokens_by_source_total", "counter", "Number of prompt tokens by source."
    )
    sources.add(max(0, stats.queries - stats.hits), source="local_compute")
    sources.add(stats.hits, source="local_cache_hit")
    yield sources.add(0, source="external_kv_transfer")
    success = _Family(
        engine, "request_success_total", "counter", "Count of successfully processed requests."
    )
    for reason, count in stats.finished.items():
        success.add(count, finished_reason=reason)
    yield success
    rejected = _Family(
        engine,
        "admission_rejections_total",
        "counter",
        "Admission attempts rejected by a queue limit.",
    )
    yield rejected.add(stats.rejected_requests, reason="max_num_queued_reqs")


def _histograms(engine: Engine) -> Iterator[_Family]:
    stats = engine.stats
    for name, histogram in (
        ("time_to_first_token_seconds", stats.ttft),
        ("inter_token_latency_seconds", stats.itl),
        ("e2e_request_latency_seconds", stats.e2e),
        ("request_queue_time_seconds", stats.queue_time),
        ("request_prefill_time_seconds", stats.prefill_time),
        ("request_decode_time_seconds", stats.decode_time),
        ("request_prompt_tokens", stats.prompt_lengths),
        ("request_generation_tokens", stats.output_lengths),
    ):
        text = f"Histogram of {name.removesuffix('_seconds').replace('_', ' ')}."
        yield _filled(_Family(engine, name, "histogram", text), histogram)


def _filled(family: _Family, histogram: Histogram) -> _Family:
    total = 0
    for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
        total += count
        family.add(total, "_bucket", le=str(bound))
    return family.add(total, "_count").add(histogram.sum, "_sum")
