"""Every metric of the router, kept as plain numbers and turned into Prometheus samples at scrape time.

Observing costs one list increment. Labels are bounded: models that workers serve (or "unknown"), endpoints
of the table, workers that exist; the series of a worker that left are dropped.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from router.telemetry.access import AccessSamples
from router.telemetry.caches import CacheSamples
from router.telemetry.sharing import SharedSamples

LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
TOKEN_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
ERROR_BUCKETS_S = (-5.0, -1.0, -0.5, -0.1, -0.05, -0.01, 0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
CACHED_ERROR_BUCKETS = (
    -65536.0, -8192.0, -1024.0, -256.0, -64.0, -32.0, -16.0, -1.0, 0.0, 16.0, 32.0, 64.0, 256.0, 1024.0, 8192.0, 65536.0,
)  # fmt: skip
SHARED_BUCKETS_S = (1e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 5e-2)
LOOKUP_BUCKETS_S = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3)


class Histogram:
    """Counts per bucket; `observe` may be told of several equal observations at once."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` over."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative buckets as prometheus_client wants them."""
        out, running = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            out.append(("+Inf" if bound == float("inf") else repr(bound), float(running)))
        return out


class RouteSeries:
    """What is counted for one (model, endpoint)."""

    __slots__ = ("duration", "itl", "outcomes", "prompt_tokens", "queue_wait", "tpot", "ttft")

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self.duration = Histogram(LATENCY_BUCKETS_S)
        self.queue_wait = Histogram(LATENCY_BUCKETS_S)
        self.ttft = Histogram(LATENCY_BUCKETS_S)
        self.itl = Histogram(TOKEN_BUCKETS_S)
        self.tpot = Histogram(TOKEN_BUCKETS_S)
        self.prompt_tokens = 0


class WorkerSample(NamedTuple):
    """A worker's state at scrape time."""

    worker: str
    up: bool
    state: str
    inflight: int
    pending_prefill_tokens: float
    index_blocks: Mapping[str, int]
    """By tier."""


class Metrics(Collector):
    """The router's series. Each scrape first has `settle` count what has ended, and asks `workers` for their state
    and `queue_depth` for how many requests wait.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self.workers: Callable[[], Iterable[WorkerSample]] = tuple
        self.settle: Callable[[], None] = _nothing
        self.queue_depth: Callable[[], int] = int
        self.lookup = Histogram(LOOKUP_BUCKETS_S)
        self.shared_lookup = Histogram(SHARED_BUCKETS_S)
        self.ttft_error = Histogram(ERROR_BUCKETS_S)
        self.cached_error = {
            by: Histogram(CACHED_ERROR_BUCKETS) for by in ("events", "predictions")
        }
        self.caches = CacheSamples()
        self.shared = SharedSamples()
        self.access = AccessSamples()
        self.cached_tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.degraded: defaultdict[str, int] = defaultdict(int)
        self.retries: defaultdict[str, int] = defaultdict(int)
        self.resumed: defaultdict[str, int] = defaultdict(int)
        self.rejected: defaultdict[str, int] = defaultdict(int)
        self._routes: dict[tuple[str, str], RouteSeries] = {}

    def route(self, model: str, endpoint: str) -> RouteSeries:
        """The series of one model and endpoint; the caller bounds both."""
        key = (model, endpoint)
        series = self._routes.get(key)
        if series is None:
            series = self._routes[key] = RouteSeries()
        return series

    def exposition(self) -> bytes:
        """The scrape's body in Prometheus text format."""
        self.settle()
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        yield from self._route_families()
        yield from self._router_families()
        yield from self._worker_families()
        yield from self.caches.families()
        yield from self.shared.families()
        yield from self.access.families()

    def _route_families(self) -> Iterator[Metric]:
        labels = ("model", "endpoint")
        requests = CounterMetricFamily(
            "router_requests", "Requests by how they ended.", labels=(*labels, "outcome")
        )
        tokens = CounterMetricFamily(
            "router_prompt_tokens", "Prompt tokens as reported by the workers.", labels=labels
        )
        histograms = {
            "duration": ("router_request_duration_seconds", "Arrival to the answer's last byte."),
            "queue_wait": (
                "router_queue_wait_seconds",
                "Time in the router's queue, of requests that had to wait.",
            ),
            "ttft": (
                "router_time_to_first_token_seconds",
                "Arrival to the first token, streams only.",
            ),
            "itl": ("router_inter_token_latency_seconds", "Gap between streamed tokens."),
            "tpot": ("router_time_per_output_token_seconds", "Mean gap of one stream's tokens."),
        }
        families = {
            field: HistogramMetricFamily(name, text, labels=labels)
            for field, (name, text) in histograms.items()
        }
        for key, series in self._routes.items():
            for outcome, count in series.outcomes.items():
                requests.add_metric((*key, outcome), count)
            tokens.add_metric(key, series.prompt_tokens)
            for field, family in families.items():
                histogram: Histogram = getattr(series, field)
                family.add_metric(key, histogram.buckets(), histogram.total)
        yield from (requests, tokens, *families.values())

    def _router_families(self) -> Iterator[Metric]:
        cached = CounterMetricFamily(
            "router_cached_tokens",
            "Prompt tokens that the index predicted, or the worker reported, as cached.",
            labels=("kind", "tier"),
        )
        for labels, count in self.cached_tokens.items():
            cached.add_metric(labels, count)
        yield cached
        error = HistogramMetricFamily(
            "router_cached_tokens_prediction_error",
            "Cached tokens of a prompt: reported minus predicted, by what the prediction rests on.",
            labels=("by",),
        )
        for by, histogram in self.cached_error.items():
            error.add_metric((by,), histogram.buckets(), histogram.total)
        yield error
        yield _counter(
            "router_degraded",
            "Requests served with less than full knowledge, and log lines given up.",
            "reason",
            self.degraded,
        )
        yield _counter(
            "router_retries",
            "Attempts moved to another connection or worker.",
            "reason",
            self.retries,
        )
        yield _counter(
            "router_resumed",
            "Streams whose worker died, by what became of them.",
            "outcome",
            self.resumed,
        )
        yield _counter(
            "router_rejected",
            "Requests and connections that the router itself answered with 503.",
            "reason",
            self.rejected,
        )
        depth = GaugeMetricFamily("router_queue_depth", "Requests that wait in the router.")
        depth.add_metric((), self.queue_depth())
        yield depth
        yield _histogram("router_index_lookup_seconds", "Time to look one prompt up.", self.lookup)
        yield _histogram(
            "router_shared_lookup_seconds",
            "Time to look one prompt up in the shared Redis.",
            self.shared_lookup,
        )
        yield _histogram(
            "router_ttft_prediction_error_seconds",
            "Observed minus predicted time to first token.",
            self.ttft_error,
        )

    def _worker_families(self) -> Iterator[Metric]:
        label = ("worker",)
        up = GaugeMetricFamily(
            "router_worker_up", "1 if the worker passes its health check.", labels=label
        )
        inflight = GaugeMetricFamily(
            "router_worker_inflight_requests", "Requests sent and not ended.", labels=label
        )
        pending = GaugeMetricFamily(
            "router_worker_pending_prefill_tokens",
            "Uncached tokens sent, first token awaited.",
            labels=label,
        )
        blocks = GaugeMetricFamily(
            "router_index_blocks", "Blocks known per worker.", labels=("worker", "tier")
        )
        state = GaugeMetricFamily(
            "router_worker_state",
            "1 for the state that the worker is in: up, down, draining, asleep, paused, ejected, probation.",
            labels=("worker", "state"),
        )
        for sample in self.workers():
            state.add_metric((sample.worker, sample.state), 1.0)
            up.add_metric((sample.worker,), float(sample.up))
            inflight.add_metric((sample.worker,), sample.inflight)
            pending.add_metric((sample.worker,), sample.pending_prefill_tokens)
            for tier, count in sample.index_blocks.items():
                blocks.add_metric((sample.worker, tier), count)
        yield from (up, state, inflight, pending, blocks)


def _nothing() -> None:
    pass


def _counter(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text)
    family.add_metric((), histogram.buckets(), histogram.total)
    return family
