"""What tenants ask for, as Prometheus samples. Their names are those of the configuration."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from router.telemetry.labels import LIMITS, OUTCOMES, from_zero


class TenantSample(NamedTuple):
    """A tenant's requests by outcome, tokens by kind, and refusals by the limit that was reached."""

    tenant: str
    outcomes: Mapping[str, int]
    tokens: Mapping[str, int]
    limited: Mapping[str, int]


class AccessSamples:
    """`tenants` is asked at each scrape; empty where clients need no keys."""

    def __init__(self) -> None:
        self.tenants: Callable[[], Iterable[TenantSample]] = tuple

    def families(self) -> Iterator[Metric]:
        """All series."""
        requests = CounterMetricFamily(
            "router_tenant_requests",
            "Requests of tenants, by how they ended.",
            labels=("tenant", "outcome"),
        )
        tokens = CounterMetricFamily(
            "router_tenant_tokens",
            "Tokens that count against tenants' quotas: `prompt` or `completion`.",
            labels=("tenant", "kind"),
        )
        limited = CounterMetricFamily(
            "router_rate_limited",
            "Requests answered with 429, by the limit: `requests`, `tokens` or `inflight`.",
            labels=("tenant", "limit"),
        )
        for sample in self.tenants():
            for family, counts, known in (
                (requests, sample.outcomes, OUTCOMES),
                (tokens, sample.tokens, ()),
                (limited, sample.limited, LIMITS),
            ):
                for label, count in from_zero(counts, known):
                    family.add_metric((sample.tenant, label), count)
        yield from (requests, tokens, limited)
