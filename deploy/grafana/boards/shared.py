"""Panels that several dashboards have."""

from deploy.grafana.boards.panel import BAD, CALM, GOOD, WARN, Panel, Query
from deploy.grafana.boards.promql import (
    GENERATES,
    MODEL,
    QUANTILES,
    hit_rate,
    of,
    per_second,
    quantile,
    rate,
    ratio,
    total,
)

OUTCOMES = {
    "ok": GOOD,
    "client_error": WARN,
    "upstream_error": BAD,
    "router_error": "dark-red",
    "cancelled": CALM,
}

TTFT = "router_time_to_first_token_seconds"
ITL = "router_inter_token_latency_seconds"
TPOT = "router_time_per_output_token_seconds"
E2E = "router_request_duration_seconds"
WAIT = "router_queue_wait_seconds"


def stat(title: str, description: str, expr: str, **rest: object) -> Panel:
    """One value, and how it went."""
    return Panel(
        title,
        description,
        [Query(expr, title)],
        kind="stat",
        **{"width": 3, "height": 4, **rest},  # type: ignore[arg-type]
    )


def quantiles(title: str, description: str, metric: str, *matchers: str, width: int = 8) -> Panel:
    """A histogram's p50, p95 and p99 over time."""
    queries = [Query(quantile(q, metric, *matchers), name) for name, q in QUANTILES.items()]
    colors = dict(zip(QUANTILES, (GOOD, WARN, BAD), strict=True))
    return Panel(title, description, queries, unit="s", width=width, colors=colors)


def heatmap(title: str, description: str, metric: str, *matchers: str, unit: str = "s") -> Panel:
    """How many fell into which bucket, over time."""
    expr = total(f"increase({of(f'{metric}_bucket', *matchers)}[$__rate_interval])", "le")
    axis = {"yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False}}
    return Panel(
        title,
        description,
        [Query(expr, "{{le}}", format="heatmap")],
        kind="heatmap",
        unit="short",
        options=axis,
    )


def requests_by_outcome(width: int = 8) -> Panel:
    """What became of requests."""
    return Panel(
        "Requests by outcome",
        "Requests per second by how they ended. upstream_error: a worker failed them; router_error: the router answered "
        "itself (no worker, queue full); cancelled: the client left.",
        [Query(per_second("router_requests_total", "outcome", MODEL), "{{outcome}}")],
        unit="reqps",
        width=width,
        stacked=True,
        colors=OUTCOMES,
    )


def hit_rates(width: int = 8) -> Panel:
    """Predicted beside actual."""
    return Panel(
        "Cache hit rate",
        "Share of prompt tokens that workers reported as cached, and that the index had predicted. Needs workers with "
        "--enable-prompt-tokens-details. All models.",
        [Query(hit_rate("actual"), "actual"), Query(hit_rate("predicted"), "predicted")],
        unit="percentunit",
        width=width,
        high=1,
        colors={"actual": GOOD, "predicted": "blue"},
    )


def tokens(width: int = 8) -> Panel:
    """Prompt and output tokens."""
    return Panel(
        "Tokens per second",
        "Tokens of prompts, of these the cached ones, and tokens of answers.",
        [
            Query(per_second("router_prompt_tokens_total", "", MODEL), "prompt"),
            Query(
                total(rate("router_cached_tokens_total", 'kind="actual"')), "cached (all models)"
            ),
            Query(per_second("router_completion_tokens_total", "", MODEL), "output"),
        ],
        unit="short",
        width=width,
    )


def queue_depth(width: int = 8) -> Panel:
    """Who waits here."""
    return Panel(
        "Queue",
        "Requests that wait in the routers, by model: no worker has room for them.",
        [Query(total(of("router_queue_depth", MODEL), "model"), "{{model}}")],
        width=width,
        stacked=True,
    )


def in_flight(width: int = 8) -> Panel:
    """Concurrency."""
    return Panel(
        "In flight",
        "Requests under way in each router: those at workers, and those that wait.",
        [Query(total(of("router_inflight_requests"), "instance"), "{{instance}}")],
        width=width,
        stacked=True,
    )


def by_reason(
    title: str, description: str, metric: str, label: str = "reason", width: int = 8
) -> Panel:
    """A counter's rate by its only label."""
    return Panel(
        title,
        description,
        [Query(per_second(metric, label), f"{{{{{label}}}}}")],
        unit="cps",
        width=width,
    )


def hit_rate_by_worker(width: int = 8) -> Panel:
    """Of each worker's prompts."""
    part = per_second("router_worker_cached_tokens_total", "worker", 'worker=~"$worker"')
    whole = per_second("router_worker_prompt_tokens_total", "worker", 'worker=~"$worker"')
    return Panel(
        "Hit rate by worker",
        "Share of the prompt tokens of each worker's requests that it reported as cached.",
        [Query(ratio(part, whole), "{{worker}}")],
        unit="percentunit",
        high=1,
        width=width,
    )


def errors(over: str = "$__rate_interval") -> str:
    """Share of requests that failed by no fault of the client's."""
    failed = total(
        rate("router_requests_total", MODEL, 'outcome=~"upstream_error|router_error"', over=over)
    )
    return (
        f"({failed} or vector(0)) / ({total(rate('router_requests_total', MODEL, over=over))} > 0)"
    )


def prompt_rate() -> str:
    """Prompt tokens per second of what shares the KV cache."""
    return total(rate("router_prompt_tokens_total", GENERATES, MODEL))
