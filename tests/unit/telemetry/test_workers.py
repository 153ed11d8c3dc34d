"""How the workers do, and what each was asked."""

from router.telemetry.metrics import Metrics
from router.telemetry.workers import WorkerSample
from tests.unit.telemetry.scrape import scraped

UP = WorkerSample("a:1", True, "up", 3, 120.0, {"gpu": 7}, 2, 4, 0.5, ejections=6)
DOWN = WorkerSample("b:1", False, "down", 0, 0.0, {})
A, B = (("worker", "a:1"),), (("worker", "b:1"),)


def test_workers_are_asked_at_each_scrape() -> None:
    metrics, workers = Metrics(), [UP, DOWN]
    metrics.workers.state = lambda: workers
    found = scraped(metrics)
    assert found["router_worker_up", A] == 1
    assert found["router_worker_up", B] == 0
    assert found["router_worker_state", (("state", "up"), *A)] == 1
    assert found["router_worker_state", (("state", "down"), *B)] == 1
    assert found["router_worker_inflight_requests", A] == 3
    assert found["router_worker_pending_prefill_tokens", A] == 120
    assert found["router_index_blocks", (("tier", "gpu"), *A)] == 7
    assert found["router_worker_ejections_total", A] == 6
    workers.pop()
    assert ("router_worker_up", B) not in scraped(metrics)


def test_what_a_worker_does_not_tell_is_not_made_up() -> None:
    metrics = Metrics()
    metrics.workers.state = lambda: [UP, DOWN]
    found = scraped(metrics)
    for name, value in {"running": 2, "queue": 4, "kv_usage": 0.5}.items():
        assert found[f"router_worker_{name}", A] == value
        assert (f"router_worker_{name}", B) not in found


def test_what_a_worker_was_asked() -> None:
    metrics = Metrics()
    metrics.workers.state = lambda: [UP, DOWN]
    counts = metrics.workers.counts("a:1")
    counts.outcomes["ok"] += 2
    counts.prompt_tokens += 100
    counts.cached_tokens += 60
    found = scraped(metrics)
    assert found["router_worker_requests_total", (("outcome", "ok"), *A)] == 2
    assert found["router_worker_prompt_tokens_total", A] == 100
    assert found["router_worker_cached_tokens_total", A] == 60
    assert found["router_worker_prompt_tokens_total", B] == 0


def test_the_counts_of_one_that_left_are_dropped() -> None:
    """Also where its last request ends after it has left."""
    metrics, workers = Metrics(), [UP, DOWN]
    metrics.workers.state = lambda: workers
    for worker in ("a:1", "b:1"):
        metrics.workers.counts(worker).prompt_tokens += 5
    workers.remove(UP)
    for _ in range(2):
        assert not [name for name, labels in scraped(metrics) if labels == A]
        metrics.workers.counts("a:1").prompt_tokens += 5
    workers.append(UP)
    scraped(metrics)
    assert metrics.workers.counts("b:1").prompt_tokens == 5
