"""Each worker: its state, its load, what it answers, and where it is known from."""

from itertools import starmap

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.overview import STATES
from deploy.grafana.boards.panel import BAD, GOOD, WARN, Json, Panel, Query
from deploy.grafana.boards.promql import WORKER, most, of, per_second, rate, ratio, total
from deploy.grafana.boards.shared import hit_rate_by_worker


def _now(expr: str) -> Query:
    return Query(expr, instant=True, format="table")


def _column(name: str, unit: str, **more: object) -> Json:
    properties: list[Json] = [{"id": "unit", "value": unit}]
    properties += [{"id": key, "value": value} for key, value in more.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


_COLUMNS = {
    "up": most(of("router_worker_up", WORKER), "worker"),
    "requests/s": per_second("router_worker_requests_total", "worker", WORKER),
    "in flight": total(of("router_worker_inflight_requests", WORKER), "worker"),
    "running": most(of("router_worker_running", WORKER), "worker"),
    "waiting": most(of("router_worker_queue", WORKER), "worker"),
    "KV cache": most(of("router_worker_kv_usage", WORKER), "worker"),
    "prefill to do": total(of("router_worker_pending_prefill_tokens", WORKER), "worker"),
    "hit rate": ratio(
        per_second("router_worker_cached_tokens_total", "worker", WORKER),
        per_second("router_worker_prompt_tokens_total", "worker", WORKER),
    ),
    "blocks": most(total(of("router_index_blocks", WORKER), "instance, worker"), "worker"),
}
_BAR = {"type": "gauge", "mode": "basic"}

_TABLE = Panel(
    "Workers",
    "Now, over all routers. running, waiting and KV cache: as the workers say; blocks: what the index knows.",
    [_now(expr) for expr in _COLUMNS.values()],
    kind="table",
    width=24,
    height=9,
    transformations=[
        {"id": "joinByField", "options": {"byField": "worker", "mode": "outer"}},
        {
            "id": "organize",
            "options": {
                "excludeByName": dict.fromkeys(
                    ("Time", *(f"Time {n}" for n in range(1, len(_COLUMNS) + 1))), True
                ),
                "renameByName": {
                    f"Value #{chr(ord('A') + place)}": name for place, name in enumerate(_COLUMNS)
                },
            },
        },
    ],
    overrides=[
        _column(
            "up",
            "short",
            mappings=[
                {
                    "type": "value",
                    "options": {
                        "0": {"text": "down", "color": BAD},
                        "1": {"text": "up", "color": GOOD},
                    },
                }
            ],
            **{"custom.cellOptions": {"type": "color-text"}},
        ),
        _column("requests/s", "reqps"),
        _column("KV cache", "percentunit", min=0, max=1, **{"custom.cellOptions": _BAR}),
        _column("hit rate", "percentunit", min=0, max=1, **{"custom.cellOptions": _BAR}),
    ],
)

_NUMBERS = {state: number for number, state in enumerate(STATES, start=1)}


def _numbered(state: str, number: int) -> str:
    matcher = f'state="{state}"'
    return f"{of('router_worker_state', WORKER, matcher)} * {number}"


_TIMELINE = Panel(
    "States",
    "The worst state that a router sees the worker in.",
    [
        Query(
            most(" or ".join(starmap(_numbered, _NUMBERS.items())), "worker"),
            "{{worker}}",
        )
    ],
    kind="state-timeline",
    width=24,
    height=7,
    low=None,
    mappings=[(number, state, STATES[state]) for state, number in _NUMBERS.items()],
)

_LOAD = Row(
    "Load",
    [
        Panel(
            "Requests",
            "Requests that ended, per second, by the worker that had them last.",
            [Query(per_second("router_worker_requests_total", "worker", WORKER), "{{worker}}")],
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "In flight",
            "Requests that the chosen routers have at each worker.",
            [Query(total(of("router_worker_inflight_requests", WORKER), "worker"), "{{worker}}")],
            stacked=True,
        ),
        Panel(
            "Prefill to do",
            "Uncached prompt tokens that were sent and whose first token is awaited.",
            [
                Query(
                    total(of("router_worker_pending_prefill_tokens", WORKER), "worker"),
                    "{{worker}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            "Running in the engine",
            "Requests in the worker's batch, whoever sent them, as it says.",
            [Query(most(of("router_worker_running", WORKER), "worker"), "{{worker}}")],
        ),
        Panel(
            "Waiting in the engine",
            "Requests that wait in the worker, whoever sent them. More than a few for long: others send past the router, or "
            "room_tokens and max_inflight are more than the worker takes.",
            [Query(most(of("router_worker_queue", WORKER), "worker"), "{{worker}}")],
        ),
        Panel(
            "KV cache in use",
            "Share of the worker's KV cache that running requests hold. Near 1 it preempts.",
            [Query(most(of("router_worker_kv_usage", WORKER), "worker"), "{{worker}}")],
            unit="percentunit",
            high=1,
        ),
    ],
)

_ANSWERS = Row(
    "Answers and cache",
    [
        Panel(
            "Failed requests",
            "Requests per second that ended as upstream_error. What was tried again elsewhere and went well is not among them.",
            [
                Query(
                    per_second(
                        "router_worker_requests_total", "worker", WORKER, 'outcome="upstream_error"'
                    ),
                    "{{worker}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            "Taken out of use",
            "Times that failed requests had the worker given none for a while, over the last 15 minutes.",
            [
                Query(
                    f"max by (worker) (increase({of('router_worker_ejections_total', WORKER)}[15m]))",
                    "{{worker}}",
                )
            ],
        ),
        hit_rate_by_worker(),
        Panel(
            "Prompt tokens",
            "Prompt tokens of generating requests, per second.",
            [
                Query(
                    total(rate("router_worker_prompt_tokens_total", WORKER), "worker"), "{{worker}}"
                )
            ],
            stacked=True,
        ),
        Panel(
            "Blocks known",
            "Blocks of KV cache that the index knows at each worker, all tiers; of several routers the one that knows most.",
            [
                Query(
                    most(total(of("router_index_blocks", WORKER), "instance, worker"), "worker"),
                    "{{worker}}",
                )
            ],
        ),
        Panel(
            "Changes of health",
            "Times that a worker came up or went down, over the last 15 minutes, as one router saw it.",
            [
                Query(
                    f"max by (worker) (changes({of('router_worker_up', WORKER)}[15m]))",
                    "{{worker}}",
                )
            ],
        ),
    ],
)

_MODELS = Row(
    "Models",
    [
        Panel(
            "Workers by model",
            "Workers that are up and serve the model, as the router sees it that sees most. 0: it has lost all of them.",
            [Query(most(of("router_model_workers"), "model"), "{{model}}")],
            width=12,
        ),
        Panel(
            "Prefill to do by model",
            "Uncached prompt tokens that its workers were sent and whose first token is awaited; what workers are scaled by.",
            [Query(total(of("router_pending_prefill_tokens"), "model"), "{{model}}")],
            stacked=True,
            width=12,
        ),
    ],
)

_DISCOVERY = Row(
    "Where workers are found",
    [
        Panel(
            "Workers by source",
            "Workers that each source told of last: a file, DNS, Kubernetes. None where workers are only configured.",
            [Query(most(of("router_discovery_workers"), "source"), "{{source}}")],
            width=12,
        ),
        Panel(
            "Sources",
            "1: the source can tell which workers there are. 0: what it told last stands.",
            [Query(f"min by (source) ({of('router_discovery_up')})", "{{source}}")],
            kind="state-timeline",
            width=12,
            low=None,
            mappings=[(0, "failing", BAD), (1, "up", GOOD)],
            steps=[(None, WARN), (1, GOOD)],
        ),
    ],
)

BOARD = Board(
    "prefix-router-fleet",
    "prefix-router / Fleet",
    "Each worker: its state, its load, what it answers, and where it is known from.",
    [Row("Workers", [_TABLE, _TIMELINE]), _LOAD, _MODELS, _ANSWERS, _DISCOVERY],
    variables=("namespace", "job", "instance", "worker"),
)
