"""How those do that find workers."""

from router.telemetry.discovery import SourceSample
from router.telemetry.metrics import Metrics
from tests.unit.telemetry.scrape import scraped


def test_sources_are_asked_at_each_scrape() -> None:
    metrics = Metrics()
    metrics.discovery.sources = lambda: [
        SourceSample("dns vllm:8000", False, 3),
        SourceSample("file workers.yaml", True, 0),
    ]
    found = scraped(metrics)
    dns, file = (("source", "dns vllm:8000"),), (("source", "file workers.yaml"),)
    assert (found["router_discovery_up", dns], found["router_discovery_workers", dns]) == (0, 3)
    assert (found["router_discovery_up", file], found["router_discovery_workers", file]) == (1, 0)


def test_none_where_workers_are_configured() -> None:
    assert not [name for name, _ in scraped(Metrics()) if name.startswith("router_discovery")]
