"""Is all well? Requests, latency, cache, fleet and throughput at a glance."""

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panel import BAD, GOOD, WARN, Panel, Query
from deploy.grafana.boards.promql import MODEL, hit_rate, most, of, per_second, quantile, total
from deploy.grafana.boards.shared import (
    E2E,
    OUTCOMES,
    TTFT,
    by_reason,
    errors,
    hit_rates,
    in_flight,
    quantiles,
    queue_depth,
    requests_by_outcome,
    stat,
    tokens,
)

STATES = {
    "up": GOOD,
    "probation": "yellow",
    "draining": "blue",
    "asleep": "purple",
    "paused": "semi-dark-purple",
    "ejected": WARN,
    "down": BAD,
    "fallback": "light-blue",
}

_SERVING = of("router_worker_state", 'state=~"up|probation"')
_WORKERS_UP = f"count({most(_SERVING, 'worker')}) or vector(0)"

_NOW = Row(
    "Now",
    [
        stat(
            "Requests",
            "Requests that ended, per second.",
            per_second("router_requests_total", "", MODEL),
            unit="reqps",
        ),
        stat(
            "Failed",
            "Share of requests that failed by no fault of the client's.",
            errors(),
            unit="percentunit",
            steps=[(None, GOOD), (0.01, WARN), (0.05, BAD)],
            decimals=2,
        ),
        stat(
            "TTFT p95",
            "95 % of streams had their first token within this time.",
            quantile(0.95, TTFT, MODEL),
            unit="s",
        ),
        stat(
            "Hit rate",
            "Share of prompt tokens that workers reported as cached.",
            hit_rate("actual"),
            unit="percentunit",
            high=1,
        ),
        stat(
            "Workers up",
            "Workers that take requests.",
            _WORKERS_UP,
            steps=[(None, BAD), (1, GOOD)],
        ),
        stat(
            "Queue",
            "Requests that wait in the routers.",
            total(of("router_queue_depth", MODEL)),
            steps=[(None, GOOD), (10, WARN), (100, BAD)],
        ),
        stat(
            "In flight",
            "Requests under way, those that wait included.",
            total(of("router_inflight_requests")),
        ),
        stat(
            "Output",
            "Tokens of answers, per second.",
            per_second("router_completion_tokens_total", "", MODEL),
        ),
    ],
)

_REQUESTS = Row(
    "Requests",
    [
        requests_by_outcome(),
        quantiles(
            "Time to first token",
            "Arrival at the router to the first token, its queue included; streams only.",
            TTFT,
            MODEL,
        ),
        quantiles("Duration", "Arrival to the answer's last byte.", E2E, MODEL),
    ],
)

_FLEET = Row(
    "Cache and fleet",
    [
        hit_rates(),
        Panel(
            "Workers by state",
            "Where several routers see a worker differently it counts once for each.",
            [
                Query(
                    f"count by (state) ({most(of('router_worker_state'), 'worker, state')})",
                    "{{state}}",
                )
            ],
            stacked=True,
            decimals=0,
            colors=STATES,
        ),
        queue_depth(),
    ],
)

_THROUGHPUT = Row(
    "Throughput and trouble",
    [
        tokens(),
        in_flight(),
        Panel(
            "Trouble",
            "What the routers did about failures: attempts moved elsewhere, requests answered with 503, streams whose "
            "worker died, tenants over their quota. The dashboard Router has the reasons.",
            [
                Query(per_second("router_retries_total", ""), "retries"),
                Query(per_second("router_rejected_total", ""), "rejected (503)"),
                Query(per_second("router_resumed_total", ""), "streams broken off"),
                Query(
                    f"{per_second('router_rate_limited_total', '')} or vector(0)",
                    "rate limited (429)",
                ),
            ],
            unit="cps",
        ),
    ],
)

_TENANTS = Row(
    "Tenants",
    [
        Panel(
            "Requests by tenant",
            "Only where clients need keys of the router's.",
            [Query(per_second("router_tenant_requests_total", "tenant"), "{{tenant}}")],
            unit="reqps",
            stacked=True,
            width=6,
        ),
        Panel(
            "Outcomes of tenants' requests",
            "All tenants together.",
            [Query(per_second("router_tenant_requests_total", "outcome"), "{{outcome}}")],
            unit="reqps",
            stacked=True,
            colors=OUTCOMES,
            width=6,
        ),
        Panel(
            "Tokens by tenant",
            "Tokens per second that count against the tenants' quotas.",
            [
                Query(
                    per_second("router_tenant_tokens_total", "tenant, kind"), "{{tenant}} {{kind}}"
                )
            ],
            stacked=True,
            width=6,
        ),
        Panel(
            "Rate limited",
            "Requests answered with 429, by tenant and the limit that was reached.",
            [
                Query(
                    per_second("router_rate_limited_total", "tenant, limit"), "{{tenant}} {{limit}}"
                )
            ],
            unit="cps",
            width=6,
        ),
    ],
)

_ALERTS = Row(
    "Alerts",
    [
        Panel(
            "Alerts",
            "Pending and firing alerts of deploy/prometheus/rules.yaml; docs/runbook.md says what to do.",
            [
                Query(
                    'ALERTS{alertname=~"Router.+"}',
                    instant=True,
                    format="table",
                )
            ],
            kind="table",
            width=24,
            height=6,
            transformations=[
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True, "Value": True, "__name__": True},
                        "indexByName": {"alertname": 0, "alertstate": 1, "severity": 2},
                    },
                }
            ],
        ),
        by_reason(
            "Served with less than full knowledge",
            "no_worker_up and all_ejected: sent to a worker that may fail. prompt_unknown: chosen by load alone. shared_…: "
            "without the shared Redis. log_dropped: log lines given up.",
            "router_degraded_total",
            width=24,
        ),
    ],
)

BOARD = Board(
    "prefix-router-overview",
    "prefix-router / Overview",
    "Requests, latency, cache, fleet and throughput at a glance.",
    [_NOW, _REQUESTS, _FLEET, _THROUGHPUT, _TENANTS, _ALERTS],
    variables=("namespace", "job", "instance", "model"),
)
