"""What is known of the workers' caches, as a scrape sees it."""

import pytest

from router.telemetry.caches import CacheSamples, EventSample
from router.telemetry.metrics import Metrics


@pytest.fixture
def caches() -> CacheSamples:
    return CacheSamples()


def samples(caches: CacheSamples) -> dict[tuple[str, ...], float]:
    """Name and labels' values of every sample."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in caches.families()
        for sample in family.samples
    }


def test_where_nothing_is_known_there_are_no_series(caches: CacheSamples) -> None:
    assert samples(caches) == {}
    assert [family.name for family in caches.families()] == [
        "router_kv_events",
        "router_kv_event_lag_seconds",
        "router_prompts_identified",
        "router_tier_questions",
        "router_token_mismatch",
        "router_tier_load_seconds_per_token",
    ]


def test_events_by_worker_and_kind(caches: CacheSamples) -> None:
    caches.events = lambda: {
        "a:1": EventSample({"stored": 5, "gaps": 0}, 0.25),
        "a:1#1": EventSample({"stored": 7}, 0.0),
    }
    assert samples(caches) == {
        ("router_kv_events_total", "a:1", "stored"): 5,
        ("router_kv_events_total", "a:1", "gaps"): 0,
        ("router_kv_events_total", "a:1#1", "stored"): 7,
        ("router_kv_event_lag_seconds", "a:1"): 0.25,
        ("router_kv_event_lag_seconds", "a:1#1"): 0.0,
    }


def test_prompts_mismatches_and_loads(caches: CacheSamples) -> None:
    caches.prompts = lambda: {"tokens": 3, "tokens_deadline": 1}
    caches.mismatches = lambda: {"m": 2}
    caches.load_s = lambda: {"cpu": 6e-6}
    assert samples(caches) == {
        ("router_prompts_identified_total", "tokens"): 3,
        ("router_prompts_identified_total", "tokens_deadline"): 1,
        ("router_token_mismatch", "m"): 2,
        ("router_tier_load_seconds_per_token", "cpu"): 6e-6,
    }


def test_a_worker_that_left_has_no_series_any_more(caches: CacheSamples) -> None:
    known = {"a:1": EventSample({"stored": 5}, 0.0)}
    caches.events = lambda: known
    assert samples(caches)
    known.clear()
    assert samples(caches) == {}


def test_they_are_on_the_page_of_metrics() -> None:
    metrics = Metrics()
    metrics.caches.events = lambda: {"a:1": EventSample({"stored": 5}, 0.5)}
    page = metrics.exposition().decode()
    assert '\nrouter_kv_events_total{kind="stored",worker="a:1"} 5.0\n' in page
    assert '\nrouter_kv_event_lag_seconds{worker="a:1"} 0.5\n' in page
