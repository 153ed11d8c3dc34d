"""What is counted of requests by model and endpoint, as Prometheus samples."""

from collections import defaultdict
from collections.abc import Container, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from router.telemetry.histogram import (
    LATENCY_BUCKETS_S,
    TOKEN_BUCKETS_S,
    Histogram,
    histogram_family,
)
from router.telemetry.labels import OUTCOMES, from_zero

_LABELS = ("model", "endpoint")

UNKNOWN = "unknown"
"""The model of requests for one that nobody serves."""

_KEPT_S = 3600.0
"""Longer than a worker takes to come back, and than the windows of alerts."""
_HISTOGRAMS = {
    "duration": ("router_request_duration_seconds", "Arrival to the answer's last byte."),
    "queue_wait": (
        "router_queue_wait_seconds",
        "Time in the router's queue, of requests that had to wait.",
    ),
    "ttft": ("router_time_to_first_token_seconds", "Arrival to the first token, streams only."),
    "itl": (
        "router_inter_token_latency_seconds",
        "Gap between streamed tokens, of streams with one answer.",
    ),
    "tpot": ("router_time_per_output_token_seconds", "Mean gap of such a stream's tokens."),
}


class RouteSeries:
    """What is counted for one (model, endpoint)."""

    __slots__ = (
        "completion_tokens",
        "duration",
        "itl",
        "outcomes",
        "prompt_tokens",
        "queue_wait",
        "tpot",
        "ttft",
    )

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self.duration = Histogram(LATENCY_BUCKETS_S)
        self.queue_wait = Histogram(LATENCY_BUCKETS_S)
        self.ttft = Histogram(LATENCY_BUCKETS_S)
        self.itl = Histogram(TOKEN_BUCKETS_S)
        self.tpot = Histogram(TOKEN_BUCKETS_S)
        self.prompt_tokens = 0
        self.completion_tokens = 0


class RouteSamples:
    """All series by model and endpoint. Fleets that load adapters as they run have thousands of models in time: what was
    counted of one goes an hour after the last worker that had it.
    """

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], RouteSeries] = {}
        self._unserved: dict[str, float] = {}

    def __call__(self, model: str, endpoint: str) -> RouteSeries:
        """The series of one model and endpoint; the caller bounds both."""
        key = (model, endpoint)
        series = self._routes.get(key)
        if series is None:
            series = self._routes[key] = RouteSeries()
        return series

    def token_gaps(self) -> Iterator[Histogram]:
        """Inter-token latencies, of each model and endpoint."""
        return (series.itl for series in self._routes.values())

    def keep(self, served: Container[str], now: float) -> None:
        """Called every so often, with the models that workers have. `now`: seconds of a clock that only goes forward."""
        for model in {model for model, _ in self._routes}:
            if model == UNKNOWN or model in served:
                self._unserved.pop(model, None)
            elif now - self._unserved.setdefault(model, now) >= _KEPT_S:
                del self._unserved[model]
                for key in [key for key in self._routes if key[0] == model]:
                    del self._routes[key]

    def families(self) -> Iterator[Metric]:
        """All series."""
        requests = CounterMetricFamily(
            "router_requests", "Requests by how they ended.", labels=(*_LABELS, "outcome")
        )
        prompts = CounterMetricFamily(
            "router_prompt_tokens", "Prompt tokens as reported by the workers.", labels=_LABELS
        )
        answers = CounterMetricFamily(
            "router_completion_tokens",
            "Tokens of answers as reported by the workers, else as counted in their streams.",
            labels=_LABELS,
        )
        for key, series in self._routes.items():
            for outcome, count in from_zero(series.outcomes, OUTCOMES):
                requests.add_metric((*key, outcome), count)
            prompts.add_metric(key, series.prompt_tokens)
            answers.add_metric(key, series.completion_tokens)
        yield from (requests, prompts, answers)
        for field, (name, text) in _HISTOGRAMS.items():
            by_route = [(key, getattr(series, field)) for key, series in self._routes.items()]
            yield histogram_family(name, text, _LABELS, by_route)
