"""What routers share, and how well that goes, as Prometheus samples."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.telemetry.labels import SHARED_FAILURES, from_zero


class SharedSample(NamedTuple):
    """The shared Redis, as this router finds it. `failures` by reason; blocks that it was told of, that could not be
    told, and that wait; how many routers lead and follow; workers that this one looks after for all.
    """

    up: bool
    failures: Mapping[str, int]
    written: int
    lost: int
    waiting: int
    leaders: int
    followers: int
    leased: int


class SharedSamples:
    """`sample` is asked at each scrape; None: there is no shared Redis."""

    def __init__(self) -> None:
        self.sample: Callable[[], SharedSample | None] = lambda: None

    def families(self) -> Iterator[Metric]:
        """All series."""
        up = GaugeMetricFamily("router_shared_up", "1 if the shared Redis answers.")
        failures = CounterMetricFamily(
            "router_shared_failures", "What the shared Redis did not do.", labels=("reason",)
        )
        blocks = CounterMetricFamily(
            "router_shared_blocks",
            "Blocks that the shared Redis was told of: `written`, or `lost` while it was away.",
            labels=("result",),
        )
        waiting = GaugeMetricFamily(
            "router_shared_blocks_waiting", "Blocks that it is still to be told of."
        )
        routers = GaugeMetricFamily(
            "router_shared_routers",
            "Routers that share it: `leads`, or `follows` as sidecars do.",
            labels=("role",),
        )
        leased = GaugeMetricFamily(
            "router_shared_leased_workers", "Workers that this router looks after for all."
        )
        sample = self.sample()
        if sample is not None:
            up.add_metric((), float(sample.up))
            waiting.add_metric((), sample.waiting)
            leased.add_metric((), sample.leased)
            blocks.add_metric(("written",), sample.written)
            blocks.add_metric(("lost",), sample.lost)
            routers.add_metric(("leads",), sample.leaders)
            routers.add_metric(("follows",), sample.followers)
            for reason, count in from_zero(sample.failures, SHARED_FAILURES):
                failures.add_metric((reason,), count)
        yield from (up, failures, blocks, waiting, routers, leased)
