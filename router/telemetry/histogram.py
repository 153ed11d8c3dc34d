"""Histograms kept as plain counts."""

from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.samples import Sample

LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
TOKEN_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
ERROR_BUCKETS_S = (-5.0, -1.0, -0.5, -0.1, -0.05, -0.01, 0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
CACHED_ERROR_BUCKETS = (
    -65536.0, -8192.0, -1024.0, -256.0, -64.0, -32.0, -16.0, -1.0, 0.0, 16.0, 32.0, 64.0, 256.0, 1024.0, 8192.0, 65536.0,
)  # fmt: skip
SHARED_BUCKETS_S = (1e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 5e-2)
LOOKUP_BUCKETS_S = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3)
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Histogram:
    """Counts per bucket; `observe` may be told of several equal observations at once."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` over."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative buckets as prometheus_client wants them."""
        out, running = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            out.append(("+Inf" if bound == float("inf") else repr(bound), float(running)))
        return out


def histogram_family(
    name: str,
    text: str,
    labels: tuple[str, ...],
    series: Iterable[tuple[tuple[str, ...], Histogram]],
) -> HistogramMetricFamily:
    """The samples of `series`, by label values. One that may fall below 0 has no `_sum`: nothing could tell its fall
    from a restart.
    """
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in series:
        buckets = histogram.buckets()
        family.add_metric(values, buckets, histogram.total)
        if histogram.bounds[0] < 0:  # then prometheus_client leaves out the count too
            named = dict(zip(labels, values, strict=True))
            family.samples.append(Sample(f"{name}_count", named, buckets[-1][1]))
    return family
