"""What tenants ask for, as a scrape sees it."""

from router.telemetry.access import AccessSamples, TenantSample
from router.telemetry.metrics import Metrics

ACME = TenantSample(
    "acme", {"ok": 5, "cancelled": 1}, {"prompt": 700, "completion": 30}, {"tokens": 2}
)
BETA = TenantSample("beta", {}, {"prompt": 0, "completion": 0}, {})  # fmt: skip


def samples(access: AccessSamples) -> dict[tuple[str, ...], float]:
    """Name and labels' values of every sample."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in access.families()
        for sample in family.samples
    }


def test_without_tenants_there_are_no_series() -> None:
    access = AccessSamples()
    assert samples(access) == {}
    assert [family.name for family in access.families()] == [
        "router_tenant_requests",
        "router_tenant_tokens",
        "router_rate_limited",
    ]
    assert all(family.documentation.endswith((".", "`.")) for family in access.families())


def test_all_tenants() -> None:
    access = AccessSamples()
    access.tenants = lambda: [ACME, BETA]
    found = samples(access)
    assert {key: count for key, count in found.items() if count or "tokens_total" in key[0]} == {
        ("router_tenant_requests_total", "acme", "ok"): 5,
        ("router_tenant_requests_total", "acme", "cancelled"): 1,
        ("router_tenant_tokens_total", "acme", "prompt"): 700,
        ("router_tenant_tokens_total", "acme", "completion"): 30,
        ("router_rate_limited_total", "acme", "tokens"): 2,
        ("router_tenant_tokens_total", "beta", "prompt"): 0,
        ("router_tenant_tokens_total", "beta", "completion"): 0,
    }
    assert found["router_tenant_requests_total", "beta", "ok"] == 0
    assert found["router_rate_limited_total", "acme", "requests"] == 0


def test_they_are_among_the_routers_metrics() -> None:
    metrics = Metrics()
    metrics.access.tenants = lambda: [ACME]
    assert b'router_rate_limited_total{limit="tokens",tenant="acme"} 2.0' in metrics.exposition()
