"""Plain numbers in, Prometheus' exposition out."""

from router.telemetry.metrics import Metrics
from tests.unit.telemetry.scrape import scraped


def test_nothing_observed_is_a_valid_scrape() -> None:
    found = scraped(Metrics())
    assert found["router_index_lookup_seconds_count", ()] == 0.0
    assert found["router_inflight_requests", ()] == 0.0


def test_the_router_s_own_series() -> None:
    metrics = Metrics()
    metrics.cached_tokens["predicted", "gpu"] += 10
    metrics.cached_error["events"].observe(-20)
    metrics.retries["refused"] += 1
    metrics.resumed["completed"] += 1
    metrics.degraded["index"] += 1
    metrics.rejected["queue_full"] += 1
    metrics.queue_depths = lambda: {"m": 7, "n": 0}
    metrics.pending_prefill = lambda: {"m": 512.0}
    metrics.model_workers = lambda: {"m": 2, "gone": 0}
    metrics.inflight = lambda: 9
    metrics.lookup.observe(2e-6)
    metrics.ttft_error.observe(-0.02)
    found = scraped(metrics)
    kind = (("kind", "predicted"), ("tier", "gpu"))
    assert found["router_cached_tokens_total", kind] == 10
    assert found["router_cached_tokens_prediction_error_count", (("by", "events"),)] == 1
    assert found["router_retries_total", (("reason", "refused"),)] == 1
    assert found["router_resumed_total", (("outcome", "completed"),)] == 1
    assert found["router_degraded_total", (("reason", "index"),)] == 1
    assert found["router_rejected_total", (("reason", "queue_full"),)] == 1
    assert found["router_queue_depth", (("model", "m"),)] == 7
    assert found["router_queue_depth", (("model", "n"),)] == 0
    assert found["router_pending_prefill_tokens", (("model", "m"),)] == 512
    assert found["router_model_workers", (("model", "m"),)] == 2
    assert found["router_model_workers", (("model", "gone"),)] == 0
    assert found["router_inflight_requests", ()] == 9
    assert found["router_index_lookup_seconds_bucket", (("le", "2.5e-06"),)] == 1
    assert found["router_ttft_prediction_error_seconds_bucket", (("le", "-0.01"),)] == 1
    assert found["router_ttft_prediction_error_seconds_count", ()] == 1


def test_what_has_ended_is_counted_before_a_scrape() -> None:
    metrics = Metrics()

    def settle() -> None:
        metrics.route("m", "x").outcomes["ok"] += 1

    metrics.settle = settle
    labels = (("endpoint", "x"), ("model", "m"), ("outcome", "ok"))
    assert scraped(metrics)["router_requests_total", labels] == 1
    assert scraped(metrics)["router_requests_total", labels] == 2


def test_two_metrics_objects_share_nothing() -> None:
    Metrics().route("m", "x").outcomes["ok"] += 1
    assert not [name for name, _ in scraped(Metrics()) if name.startswith("router_requests")]
