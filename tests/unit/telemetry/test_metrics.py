"""Plain numbers in, Prometheus' exposition out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from router.telemetry.metrics import (
    ERROR_BUCKETS_S,
    LATENCY_BUCKETS_S,
    LOOKUP_BUCKETS_S,
    TOKEN_BUCKETS_S,
    Histogram,
    Metrics,
    WorkerSample,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(metrics: Metrics) -> Samples:
    """Every sample of a scrape, by name and sorted labels."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(
    "bounds", [LATENCY_BUCKETS_S, TOKEN_BUCKETS_S, ERROR_BUCKETS_S, LOOKUP_BUCKETS_S]
)
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


class TestHistogram:
    def test_a_bound_belongs_to_its_bucket(self) -> None:
        histogram = Histogram((1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 2.0, 3.0):
            histogram.observe(value)
        assert histogram.buckets() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)]
        assert histogram.total == 8.0

    def test_several_equal_observations_at_once(self) -> None:
        histogram = Histogram((1.0,))
        histogram.observe(0.5, 3)
        assert histogram.buckets() == [("1.0", 3.0), ("+Inf", 3.0)]
        assert histogram.total == 1.5

    @given(st.lists(st.floats(-1e3, 1e3), max_size=20))
    def test_buckets_are_cumulative(self, values: list[float]) -> None:
        histogram = Histogram(ERROR_BUCKETS_S)
        for value in values:
            histogram.observe(value)
        buckets = histogram.buckets()
        assert [count for _, count in buckets] == [
            sum(value <= float(bound) for value in values) for bound, _ in buckets
        ]
        assert histogram.total == pytest.approx(math.fsum(values), abs=1e-6)


def test_nothing_observed_is_a_valid_scrape() -> None:
    assert scraped(Metrics())["router_index_lookup_seconds_count", ()] == 0.0
    assert scraped(Metrics())["router_queue_depth", ()] == 0.0


def test_a_route_s_series() -> None:
    metrics = Metrics()
    series = metrics.route("m", "completions")
    assert metrics.route("m", "completions") is series
    series.outcomes["ok"] += 2
    series.outcomes["cancelled"] += 1
    series.prompt_tokens += 50
    series.duration.observe(0.2)
    series.queue_wait.observe(1.5)
    series.ttft.observe(0.02)
    series.itl.observe(0.02, 4)
    series.tpot.observe(0.02)
    found = scraped(metrics)
    labels = (("endpoint", "completions"), ("model", "m"))
    assert found["router_requests_total", (*labels, ("outcome", "ok"))] == 2
    assert found["router_requests_total", (*labels, ("outcome", "cancelled"))] == 1
    assert found["router_prompt_tokens_total", labels] == 50
    for name, count in {
        "router_request_duration_seconds": 1,
        "router_queue_wait_seconds": 1,
        "router_time_to_first_token_seconds": 1,
        "router_inter_token_latency_seconds": 4,
        "router_time_per_output_token_seconds": 1,
    }.items():
        assert found[f"{name}_count", labels] == count
    assert found["router_request_duration_seconds_sum", labels] == 0.2
    duration = "router_request_duration_seconds_bucket"
    assert found[duration, (labels[0], ("le", "0.1"), labels[1])] == 0
    assert found[duration, (labels[0], ("le", "0.25"), labels[1])] == 1


def test_the_router_s_own_series() -> None:
    metrics = Metrics()
    metrics.cached_tokens["predicted", "gpu"] += 10
    metrics.retries["refused"] += 1
    metrics.degraded["index"] += 1
    metrics.rejected["queue_full"] += 1
    metrics.queue_depth = lambda: 7
    metrics.lookup.observe(2e-6)
    metrics.ttft_error.observe(-0.02)
    found = scraped(metrics)
    kind = (("kind", "predicted"), ("tier", "gpu"))
    assert found["router_cached_tokens_total", kind] == 10
    assert found["router_retries_total", (("reason", "refused"),)] == 1
    assert found["router_degraded_total", (("reason", "index"),)] == 1
    assert found["router_rejected_total", (("reason", "queue_full"),)] == 1
    assert found["router_queue_depth", ()] == 7
    assert found["router_index_lookup_seconds_bucket", (("le", "2.5e-06"),)] == 1
    assert found["router_ttft_prediction_error_seconds_bucket", (("le", "-0.01"),)] == 1


def test_workers_are_asked_at_each_scrape() -> None:
    metrics = Metrics()
    workers = [
        WorkerSample("a:1", True, "up", 3, 120.0, {"gpu": 7}),
        WorkerSample("b:1", False, "down", 0, 0.0, {}),
    ]
    metrics.workers = lambda: workers
    found = scraped(metrics)
    a = (("worker", "a:1"),)
    assert found["router_worker_up", a] == 1
    assert found["router_worker_up", (("worker", "b:1"),)] == 0
    assert found["router_worker_state", (("state", "up"), *a)] == 1
    assert found["router_worker_state", (("state", "down"), ("worker", "b:1"))] == 1
    assert found["router_worker_inflight_requests", a] == 3
    assert found["router_worker_pending_prefill_tokens", a] == 120
    assert found["router_index_blocks", (("tier", "gpu"), *a)] == 7
    workers.pop()
    assert ("router_worker_up", (("worker", "b:1"),)) not in scraped(metrics)


def test_what_has_ended_is_counted_before_a_scrape() -> None:
    metrics = Metrics()

    def settle() -> None:
        metrics.route("m", "x").outcomes["ok"] += 1

    metrics.settle = settle
    labels = (("endpoint", "x"), ("model", "m"), ("outcome", "ok"))
    assert scraped(metrics)["router_requests_total", labels] == 1
    assert scraped(metrics)["router_requests_total", labels] == 2


def test_odd_model_names_do_not_break_the_exposition() -> None:
    metrics = Metrics()
    metrics.route('a"b\\c\nd', "x").outcomes["ok"] += 1
    labels = (("endpoint", "x"), ("model", 'a"b\\c\nd'), ("outcome", "ok"))
    assert scraped(metrics)["router_requests_total", labels] == 1


def test_two_metrics_objects_share_nothing() -> None:
    Metrics().route("m", "x").outcomes["ok"] += 1
    assert not [name for name, _ in scraped(Metrics()) if name.startswith("router_requests")]
