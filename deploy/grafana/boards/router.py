"""The routers themselves: what they cost, and what they did about trouble."""

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panel import BAD, GOOD, WARN, Panel, Query
from deploy.grafana.boards.promql import ROUTERS, of, per_second, quantile, rate, total
from deploy.grafana.boards.shared import (
    by_reason,
    heatmap,
    in_flight,
    queue_depth,
    requests_by_outcome,
    stat,
)

_DROPPED = 'reason="log_dropped"'


def _each(expr: str, legend: str = "{{instance}}") -> list[Query]:
    return [Query(expr, legend)]


_NOW = Row(
    "Now",
    [
        stat(
            "Routers up",
            "Routers that Prometheus can scrape.",
            f"sum(up{{{ROUTERS}}} * on (namespace, job, instance) group by (namespace, job, instance) ({of('router_build_info')}))",
            steps=[(None, BAD), (1, GOOD)],
            width=4,
        ),
        stat(
            "Stopping",
            "Routers that were told to stop, and let what runs come to its end.",
            total(of("router_draining")),
            width=4,
            options={"graphMode": "none"},
        ),
        stat(
            "Versions",
            "How many routers have which version.",
            f"count by (version) ({of('router_build_info')})",
            width=4,
            options={"textMode": "value_and_name", "graphMode": "none"},
        ),
        stat(
            "Since the last start",
            "Of the router that was started last.",
            f"time() - max({of('process_start_time_seconds')})",
            unit="s",
            width=6,
            options={"graphMode": "none"},
        ),
        stat(
            "CPU per request",
            "CPU time of the routers for each request that ended.",
            f"{total(rate('process_cpu_seconds_total'))} / ({total(rate('router_requests_total'))} > 0)",
            unit="s",
            width=6,
        ),
    ],
)

_PROCESS = Row(
    "Process",
    [
        Panel(
            "CPU",
            "Cores in use. A router's event loop uses one core at most; tokenizers run beside it.",
            _each(rate("process_cpu_seconds_total")),
        ),
        Panel(
            "Memory",
            "Resident and virtual memory.",
            [
                Query(of("process_resident_memory_bytes"), "{{instance}} resident"),
                Query(of("process_virtual_memory_bytes"), "{{instance}} virtual"),
            ],
            unit="bytes",
        ),
        Panel(
            "Open files",
            "Connections of clients and to workers, mostly; and the limit.",
            [
                Query(of("process_open_fds"), "{{instance}}"),
                Query(f"min({of('process_max_fds')})", "limit"),
            ],
            colors={"limit": BAD},
        ),
        Panel(
            "Event loop lag",
            "How late the event loop comes to what is due: all that a router does waits for so long.",
            [
                Query(quantile(0.99, "router_loop_lag_seconds", by="instance"), "{{instance}} p99"),
                Query(quantile(0.5, "router_loop_lag_seconds", by="instance"), "{{instance}} p50"),
            ],
            unit="s",
        ),
        heatmap(
            "Event loop lag",
            "How often it was so late, four looks a second.",
            "router_loop_lag_seconds",
        ),
        Panel(
            "Index lookup",
            "Time to look one prompt up in the router's own index.",
            [
                Query(quantile(q, "router_index_lookup_seconds"), name)
                for name, q in {"p50": 0.5, "p99": 0.99}.items()
            ],
            unit="s",
            colors={"p50": GOOD, "p99": WARN},
        ),
    ],
)

_REQUESTS = Row("Requests", [requests_by_outcome(), in_flight(), queue_depth()])

_TROUBLE = Row(
    "What was done about trouble",
    [
        by_reason(
            "Retries",
            "Attempts moved to another connection or worker, before the client had anything.",
            "router_retries_total",
        ),
        by_reason(
            "Streams broken off",
            "Streams whose worker died: resumed elsewhere, completed here, or neither was possible.",
            "router_resumed_total",
            "outcome",
        ),
        by_reason(
            "Rejected",
            "Requests and connections that the router itself answered with 503.",
            "router_rejected_total",
        ),
        by_reason(
            "Served with less than full knowledge",
            "Requests, by what was missing.",
            "router_degraded_total",
            width=12,
        ),
        Panel(
            "Log lines dropped",
            "Lines of the request log that were given up, as nobody reads them fast enough.",
            [
                Query(
                    per_second("router_degraded_total", "instance", _DROPPED),
                    "{{instance}}",
                )
            ],
            unit="cps",
            width=12,
        ),
    ],
)

BOARD = Board(
    "prefix-router-router",
    "prefix-router / Router",
    "The routers themselves: what they cost, and what they did about trouble.",
    [_NOW, _PROCESS, _REQUESTS, _TROUBLE],
    variables=("namespace", "job", "instance", "model"),
)
