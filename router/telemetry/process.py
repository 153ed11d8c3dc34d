"""The router as a process, as Prometheus samples."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from router.telemetry.histogram import LAG_BUCKETS_S, Histogram, histogram_family


class ProcessSamples:
    """`version` is the router's. `registry` gets `process_*` besides: CPU, memory and open files, on Linux.

    `loop_lag` is to be told how late the event loop came to something that was due, seconds. `draining`: whether the router
    was told to stop.
    """

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self.loop_lag = Histogram(LAG_BUCKETS_S)
        self.draining: Callable[[], bool] = bool
        self._version = version
        ProcessCollector(registry=registry)

    def families(self) -> Iterator[Metric]:
        """All series but `process_*`."""
        build = GaugeMetricFamily("router_build_info", "1; its version.", labels=("version",))
        build.add_metric((self._version,), 1.0)
        yield build
        draining = GaugeMetricFamily("router_draining", "1 once the router was told to stop.")
        draining.add_metric((), float(self.draining()))
        yield draining
        yield histogram_family(
            "router_loop_lag_seconds",
            "How late the event loop comes to what is due, four times a second.",
            (),
            [((), self.loop_lag)],
        )
