"""What routers share, as a scrape sees it."""

import pytest

from router.telemetry.metrics import Metrics
from router.telemetry.sharing import SharedSample, SharedSamples

SAMPLE = SharedSample(
    up=True,
    failures={"late": 3, "full": 1},
    written=2048,
    lost=7,
    waiting=12,
    leaders=2,
    followers=5,
    leased=4,
)


@pytest.fixture
def shared() -> SharedSamples:
    return SharedSamples()


def samples(shared: SharedSamples) -> dict[tuple[str, ...], float]:
    """Name and labels' values of every sample."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in shared.families()
        for sample in family.samples
    }


def test_without_a_shared_redis_there_are_no_series(shared: SharedSamples) -> None:
    assert samples(shared) == {}
    assert [family.name for family in shared.families()] == [
        "router_shared_up",
        "router_shared_failures",
        "router_shared_blocks",
        "router_shared_blocks_waiting",
        "router_shared_routers",
        "router_shared_leased_workers",
    ]


def test_all_that_is_shared(shared: SharedSamples) -> None:
    shared.sample = lambda: SAMPLE
    assert samples(shared) == {
        ("router_shared_up",): 1,
        ("router_shared_failures_total", "late"): 3,
        ("router_shared_failures_total", "full"): 1,
        ("router_shared_failures_total", "failed"): 0,
        ("router_shared_failures_total", "read_only"): 0,
        ("router_shared_blocks_total", "written"): 2048,
        ("router_shared_blocks_total", "lost"): 7,
        ("router_shared_blocks_waiting",): 12,
        ("router_shared_routers", "leads"): 2,
        ("router_shared_routers", "follows"): 5,
        ("router_shared_leased_workers",): 4,
    }


def test_a_redis_that_is_away_is_a_zero(shared: SharedSamples) -> None:
    shared.sample = lambda: SAMPLE._replace(up=False, failures={})
    found = samples(shared)
    assert found[("router_shared_up",)] == 0
    assert not any(
        count for (name, *_), count in found.items() if name.startswith("router_shared_failures")
    )


def test_each_scrape_asks_anew(shared: SharedSamples) -> None:
    counts = iter(range(10))
    shared.sample = lambda: SAMPLE._replace(written=next(counts))
    found = [samples(shared)[("router_shared_blocks_total", "written")] for _ in range(3)]
    assert found == [0, 1, 2]


def test_every_family_says_what_it_is(shared: SharedSamples) -> None:
    assert all(family.documentation.endswith(".") for family in shared.families())


def test_they_are_among_the_routers_metrics() -> None:
    metrics = Metrics()
    metrics.shared.sample = lambda: SAMPLE
    assert b"router_shared_leased_workers 4.0" in metrics.exposition()
