"""How the workers do, and what each of them was asked, as Prometheus samples."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.telemetry.labels import OUTCOMES, from_zero


class WorkerSample(NamedTuple):
    """A worker's state at scrape time."""

    worker: str
    up: bool
    state: str
    inflight: int
    pending_prefill_tokens: float
    index_blocks: Mapping[str, int]
    """By tier."""
    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None
    """These three as its own metrics say, None while they do not."""
    ejections: int = 0


class WorkerCounts:
    """What a worker was asked: requests by how they ended, and the prompt tokens of those that generate, all and cached."""

    __slots__ = ("cached_tokens", "outcomes", "prompt_tokens")

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self.prompt_tokens = 0
        self.cached_tokens = 0


class WorkerSamples:
    """`state` is asked at each scrape. The counts of a worker that is not there any more are dropped then."""

    def __init__(self) -> None:
        self.state: Callable[[], Iterable[WorkerSample]] = tuple
        self._counts: defaultdict[str, WorkerCounts] = defaultdict(WorkerCounts)

    def counts(self, worker: str) -> WorkerCounts:
        """What is counted for one worker."""
        return self._counts[worker]

    def families(self) -> Iterator[Metric]:
        """All series."""
        samples = list(self.state())
        for gone in self._counts.keys() - {sample.worker for sample in samples}:
            del self._counts[gone]
        yield from _states(samples)
        yield from _engines(samples)
        yield from self._counters(samples)

    def _counters(self, samples: Iterable[WorkerSample]) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "router_worker_requests",
            "Requests by the worker that had them last, by how they ended.",
            labels=("worker", "outcome"),
        )
        prompts = _counter(
            "router_worker_prompt_tokens",
            "Prompt tokens of generating requests as the worker reported.",
        )
        cached = _counter(
            "router_worker_cached_tokens", "How many of these the worker reported as cached."
        )
        ejections = _counter(
            "router_worker_ejections",
            "Times that failed requests had the worker given none for a while.",
        )
        for sample in samples:
            counts = self._counts[sample.worker]
            for outcome, count in from_zero(counts.outcomes, OUTCOMES):
                requests.add_metric((sample.worker, outcome), count)
            prompts.add_metric((sample.worker,), counts.prompt_tokens)
            cached.add_metric((sample.worker,), counts.cached_tokens)
            ejections.add_metric((sample.worker,), sample.ejections)
        yield from (requests, prompts, cached, ejections)


def _states(samples: Iterable[WorkerSample]) -> Iterator[Metric]:
    up = _gauge("router_worker_up", "1 if the worker passes its health check.")
    inflight = _gauge("router_worker_inflight_requests", "Requests sent and not ended.")
    pending = _gauge(
        "router_worker_pending_prefill_tokens", "Uncached tokens sent, first token awaited."
    )
    blocks = GaugeMetricFamily(
        "router_index_blocks", "Blocks known per worker.", labels=("worker", "tier")
    )
    state = GaugeMetricFamily(
        "router_worker_state",
        "1 for the state that the worker is in: up, down, draining, asleep, paused, ejected, probation; `fallback`: no worker, "
        "but what stands in.",
        labels=("worker", "state"),
    )
    for sample in samples:
        state.add_metric((sample.worker, sample.state), 1.0)
        up.add_metric((sample.worker,), float(sample.up))
        inflight.add_metric((sample.worker,), sample.inflight)
        pending.add_metric((sample.worker,), sample.pending_prefill_tokens)
        for tier, count in sample.index_blocks.items():
            blocks.add_metric((sample.worker, tier), count)
    yield from (up, state, inflight, pending, blocks)


def _engines(samples: Iterable[WorkerSample]) -> Iterator[Metric]:
    running = _gauge(
        "router_worker_running", "Requests in the worker's batch, whoever sent them, as it says."
    )
    waiting = _gauge(
        "router_worker_queue", "Requests that wait in the worker, whoever sent them, as it says."
    )
    usage = _gauge(
        "router_worker_kv_usage",
        "Share of the worker's KV cache that running requests hold, 0 to 1, as it says.",
    )
    for sample in samples:
        for family, value in (
            (running, sample.running),
            (waiting, sample.waiting),
            (usage, sample.kv_usage),
        ):
            if value is not None:
                family.add_metric((sample.worker,), value)
    yield from (running, waiting, usage)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("worker",))


def _counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=("worker",))
