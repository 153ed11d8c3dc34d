"""How those do that find workers, as Prometheus samples."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client.metrics_core import GaugeMetricFamily, Metric


class SourceSample(NamedTuple):
    """A source of workers: whether it knows what there is now, and how many it told of last."""

    source: str
    up: bool
    workers: int


class DiscoverySamples:
    """`sources` is asked at each scrape; empty where workers are only configured."""

    def __init__(self) -> None:
        self.sources: Callable[[], Iterable[SourceSample]] = tuple

    def families(self) -> Iterator[Metric]:
        """All series."""
        up = GaugeMetricFamily(
            "router_discovery_up",
            "1 if the source can tell which workers there are; 0: what it told last stands.",
            labels=("source",),
        )
        workers = GaugeMetricFamily(
            "router_discovery_workers", "Workers that the source told of last.", labels=("source",)
        )
        for sample in self.sources():
            up.add_metric((sample.source,), float(sample.up))
            workers.add_metric((sample.source,), sample.workers)
        yield from (up, workers)
