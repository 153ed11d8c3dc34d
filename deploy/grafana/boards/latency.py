"""How long answers take, and how much comes through: the figures of `vllm bench serve`, of live traffic."""

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panel import Json, Panel, Query
from deploy.grafana.boards.promql import MODEL, mean, of, per_second, quantile, rate, total
from deploy.grafana.boards.shared import (
    E2E,
    ITL,
    TPOT,
    TTFT,
    WAIT,
    heatmap,
    quantiles,
    stat,
)

_ROUTES = (MODEL, 'endpoint=~"$endpoint"')
_RANGE = "$__range"
_FIGURES = {
    "Time to first token (TTFT)": TTFT,
    "Inter-token latency (ITL)": ITL,
    "Time per output token (TPOT)": TPOT,
    "End to end (E2E)": E2E,
    "Queue wait": WAIT,
}
_STATISTICS = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def _figure(expr: str, name: str) -> str:
    return f'label_replace({expr}, "figure", "{name}", "", "")'


def _table() -> Panel:
    rows = {
        statistic: " or ".join(
            _figure(quantile(q, metric, *_ROUTES, over=_RANGE), name)
            for name, metric in _FIGURES.items()
        )
        for statistic, q in _STATISTICS.items()
    }
    rows["mean"] = " or ".join(
        _figure(mean(metric, *_ROUTES, over=_RANGE), name) for name, metric in _FIGURES.items()
    )
    names: Json = {f"Value #{chr(ord('A') + n)}": name for n, name in enumerate(rows)}
    times = {f"Time {n}": True for n in range(1, len(rows) + 1)}
    return Panel(
        "Latency over the range",
        "Of all requests in the dashboard's time range. TTFT, ITL and TPOT: streams only. Queue wait: of requests that had to "
        "wait.",
        [Query(expr, instant=True, format="table") for expr in rows.values()],
        kind="table",
        unit="s",
        width=12,
        height=8,
        transformations=[
            {"id": "joinByField", "options": {"byField": "figure", "mode": "outer"}},
            {
                "id": "organize",
                "options": {"excludeByName": {"Time": True, **times}, "renameByName": names},
            },
        ],
    )


def _median(title: str, description: str, metric: str) -> Panel:
    expr = quantile(0.5, metric, *_ROUTES, over=_RANGE)
    return stat(title, description, expr, unit="s", width=3, options={"graphMode": "none"})


_PEAK = f"max_over_time({total(of('router_inflight_requests'))}[{_RANGE}:])"

_FIGURES_ROW = Row(
    "Over the range",
    [
        _median("Median TTFT", "Arrival to the first token.", TTFT),
        _median("Median TPOT", "Mean gap of one stream's tokens.", TPOT),
        _median("Median ITL", "Gap between streamed tokens.", ITL),
        stat(
            "Output tokens/s",
            "Tokens of answers per second.",
            total(rate("router_completion_tokens_total", *_ROUTES, over=_RANGE)),
            options={"graphMode": "none"},
        ),
        stat(
            "Total tokens/s",
            "Tokens of prompts and answers per second.",
            f"{total(rate('router_prompt_tokens_total', *_ROUTES, over=_RANGE))} + "
            f"{total(rate('router_completion_tokens_total', *_ROUTES, over=_RANGE))}",
            options={"graphMode": "none"},
        ),
        stat(
            "Requests/s",
            "Requests that ended well, per second.",
            total(rate("router_requests_total", *_ROUTES, 'outcome="ok"', over=_RANGE)),
            unit="reqps",
            options={"graphMode": "none"},
        ),
        stat(
            "Peak concurrency",
            "Most requests under way at once, as scrapes saw it; all models.",
            _PEAK,
            options={"graphMode": "none"},
        ),
        _median("Median E2E", "Arrival to the answer's last byte.", E2E),
        _table(),
        Panel(
            "Time to first token by model",
            "95 % of streams had their first token within this time.",
            [Query(quantile(0.95, TTFT, *_ROUTES, by="model"), "{{model}}")],
            unit="s",
            width=12,
        ),
    ],
)

_OVER_TIME = Row(
    "Over time",
    [
        quantiles(
            "Time to first token",
            "Arrival to the first token, the router's queue included; streams only.",
            TTFT,
            *_ROUTES,
            width=6,
        ),
        quantiles("Inter-token latency", "Gap between streamed tokens.", ITL, *_ROUTES, width=6),
        quantiles(
            "Time per output token", "Mean gap of one stream's tokens.", TPOT, *_ROUTES, width=6
        ),
        quantiles("End to end", "Arrival to the answer's last byte.", E2E, *_ROUTES, width=6),
    ],
)

_SPREAD = Row(
    "Spread",
    [
        heatmap("Time to first token", "How many streams, by their first token.", TTFT, *_ROUTES),
        heatmap("Inter-token latency", "How many gaps, by length.", ITL, *_ROUTES),
        heatmap("End to end", "How many requests, by duration.", E2E, *_ROUTES),
    ],
)

_QUEUE = Row(
    "Queue",
    [
        quantiles(
            "Queue wait",
            "Time in the router's queue, of requests that had to wait.",
            WAIT,
            *_ROUTES,
        ),
        heatmap("Queue wait", "How many requests had to wait, by how long.", WAIT, *_ROUTES),
        Panel(
            "Had to wait",
            "Share of requests that no worker had room for at once, by model.",
            [
                Query(
                    f"{per_second(f'{WAIT}_count', 'model', *_ROUTES)} / "
                    f"({per_second('router_requests_total', 'model', *_ROUTES)} > 0)",
                    "{{model}}",
                )
            ],
            unit="percentunit",
            high=1,
        ),
    ],
)

_THROUGHPUT = Row(
    "Throughput",
    [
        Panel(
            "Output tokens",
            "Tokens of answers per second, by model.",
            [Query(per_second("router_completion_tokens_total", "model", *_ROUTES), "{{model}}")],
            stacked=True,
            width=6,
        ),
        Panel(
            "Prompt tokens",
            "Tokens of prompts per second, by model.",
            [Query(per_second("router_prompt_tokens_total", "model", *_ROUTES), "{{model}}")],
            stacked=True,
            width=6,
        ),
        Panel(
            "Requests",
            "Requests that ended, per second, by endpoint.",
            [Query(per_second("router_requests_total", "endpoint", *_ROUTES), "{{endpoint}}")],
            unit="reqps",
            stacked=True,
            width=6,
        ),
        Panel(
            "Concurrency",
            "Requests under way, those that wait included; all models.",
            [
                Query(total(of("router_inflight_requests")), "under way"),
                Query(total(of("router_queue_depth")), "of these waiting"),
            ],
            width=6,
        ),
    ],
)

BOARD = Board(
    "prefix-router-latency",
    "prefix-router / Latency and throughput",
    "How long answers take, and how much comes through: the figures of `vllm bench serve`, of live traffic.",
    [_FIGURES_ROW, _OVER_TIME, _SPREAD, _QUEUE, _THROUGHPUT],
    variables=("namespace", "job", "instance", "model", "endpoint"),
)
