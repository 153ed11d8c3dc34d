"""Every metric of the router, kept as plain numbers and turned into Prometheus samples at scrape time.

Observing costs one list increment. Labels are bounded: models that workers serve (or "unknown"), endpoints
of the table, workers that exist; the series of a worker that left are dropped, and in time those of a model.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.telemetry.access import AccessSamples
from router.telemetry.caches import CacheSamples
from router.telemetry.discovery import DiscoverySamples
from router.telemetry.histogram import (
    CACHED_ERROR_BUCKETS,
    ERROR_BUCKETS_S,
    LATENCY_BUCKETS_S,
    LOOKUP_BUCKETS_S,
    SHARED_BUCKETS_S,
    TOKEN_BUCKETS_S,
    Histogram,
    histogram_family,
)
from router.telemetry.labels import DEGRADED, REJECTED, RESUMED, RETRIES, from_zero
from router.telemetry.process import ProcessSamples
from router.telemetry.routes import RouteSamples, RouteSeries
from router.telemetry.sharing import SharedSamples
from router.telemetry.workers import WorkerSample, WorkerSamples

__all__ = [
    "ERROR_BUCKETS_S",
    "LATENCY_BUCKETS_S",
    "LOOKUP_BUCKETS_S",
    "TOKEN_BUCKETS_S",
    "Histogram",
    "Metrics",
    "RouteSeries",
    "WorkerSample",
]

_NOTHING_CACHED = {("predicted", "gpu"): 0, ("actual", "gpu"): 0}


class Metrics(Collector):
    """The router's series. Each scrape first has `settle` count what has ended, and asks `queue_depths` for how many
    requests wait, by model, `pending_prefill` for the tokens that the workers of each have to read yet, and `inflight`
    for how many requests are under way, those that wait included.
    """

    def __init__(self, version: str = "unknown") -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self.settle: Callable[[], None] = _nothing
        self.queue_depths: Callable[[], Mapping[str, int]] = dict
        self.pending_prefill: Callable[[], Mapping[str, float]] = dict
        self.model_workers: Callable[[], Mapping[str, int]] = dict
        self.inflight: Callable[[], int] = int
        self.lookup = Histogram(LOOKUP_BUCKETS_S)
        self.shared_lookup = Histogram(SHARED_BUCKETS_S)
        self.ttft_error = Histogram(ERROR_BUCKETS_S)
        self.cached_error = {
            by: Histogram(CACHED_ERROR_BUCKETS) for by in ("events", "predictions")
        }
        self.route = RouteSamples()
        self.workers = WorkerSamples()
        self.caches = CacheSamples()
        self.shared = SharedSamples()
        self.access = AccessSamples()
        self.discovery = DiscoverySamples()
        self.process = ProcessSamples(self.registry, version)
        self.cached_tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.degraded: defaultdict[str, int] = defaultdict(int)
        self.retries: defaultdict[str, int] = defaultdict(int)
        self.resumed: defaultdict[str, int] = defaultdict(int)
        self.rejected: defaultdict[str, int] = defaultdict(int)

    def exposition(self) -> bytes:
        """The scrape's body in Prometheus text format."""
        self.settle()
        self.route.keep(self.queue_depths(), monotonic())
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        yield from self.route.families()
        yield from self._cached_families()
        yield from self._router_families()
        yield from self._time_families()
        yield from self.workers.families()
        yield from self.caches.families()
        yield from self.shared.families()
        yield from self.access.families()
        yield from self.discovery.families()
        yield from self.process.families()

    def _cached_families(self) -> Iterator[Metric]:
        cached = CounterMetricFamily(
            "router_cached_tokens",
            "Prompt tokens that the index predicted, or the worker reported, as cached.",
            labels=("kind", "tier"),
        )
        for labels, count in (_NOTHING_CACHED | self.cached_tokens).items():
            cached.add_metric(labels, count)
        yield cached
        yield histogram_family(
            "router_cached_tokens_prediction_error",
            "Cached tokens of a prompt: reported minus predicted, by what the prediction rests on.",
            ("by",),
            [((by,), histogram) for by, histogram in self.cached_error.items()],
        )

    def _router_families(self) -> Iterator[Metric]:
        yield _counter(
            "router_degraded",
            "Requests served with less than full knowledge, and log lines given up.",
            "reason",
            from_zero(self.degraded, DEGRADED),
        )
        yield _counter(
            "router_retries",
            "Attempts moved to another connection or worker.",
            "reason",
            from_zero(self.retries, RETRIES),
        )
        yield _counter(
            "router_resumed",
            "Streams whose worker died, by what became of them.",
            "outcome",
            from_zero(self.resumed, RESUMED),
        )
        yield _counter(
            "router_rejected",
            "Requests and connections that the router itself answered with 503.",
            "reason",
            from_zero(self.rejected, REJECTED),
        )
        inflight = GaugeMetricFamily(
            "router_inflight_requests", "Requests under way: those at workers, and those that wait."
        )
        inflight.add_metric((), self.inflight())
        yield inflight
        yield from self._model_families()

    def _model_families(self) -> Iterator[Metric]:
        yield _by_model(
            "router_queue_depth", "Requests that wait in the router.", self.queue_depths()
        )
        yield _by_model(
            "router_pending_prefill_tokens",
            "Uncached tokens sent to workers that serve the model, first token awaited.",
            self.pending_prefill(),
        )
        yield _by_model(
            "router_model_workers",
            "Workers that serve the model now; of one whose last worker left, 0 for an hour.",
            self.model_workers(),
        )

    def _time_families(self) -> Iterator[Metric]:
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


def _nothing() -> None:
    pass


def _by_model(name: str, text: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=("model",))
    for model, value in values.items():
        family.add_metric((model,), value)
    return family


def _counter(
    name: str, text: str, label: str, values: Iterable[tuple[str, int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in values:
        family.add_metric((value,), count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return histogram_family(name, text, (), [((), histogram)])
