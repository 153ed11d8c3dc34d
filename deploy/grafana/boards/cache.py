"""How much of prompts is cached, and how well the routers know it."""

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panel import BAD, GOOD, WARN, Panel, Query
from deploy.grafana.boards.promql import (
    WORKER,
    hit_rate,
    most,
    of,
    per_second,
    quantile,
    ratio,
    total,
)
from deploy.grafana.boards.shared import (
    by_reason,
    heatmap,
    hit_rate_by_worker,
    hit_rates,
    prompt_rate,
    stat,
)

_ERROR = "router_cached_tokens_prediction_error"
_TROUBLE = 'kind=~"unknown|sparse|nameless|orphans|refused|unreadable|duplicates|dropped|gaps|replays|restarts|resyncs"'


def _within(tokens: float) -> str:
    """The share of prompts whose prediction was no further off than this."""
    above, below = (f'le="{bound}"' for bound in (tokens, -tokens))
    part = f"({per_second(f'{_ERROR}_bucket', 'by', above)} - {per_second(f'{_ERROR}_bucket', 'by', below)})"
    within = ratio(part, per_second(f"{_ERROR}_count", "by"))
    return f"clamp_max({within}, 1)"  # rates of young series are not quite in proportion


_HITS = Row(
    "Hit rate",
    [
        stat(
            "Hit rate",
            "Share of prompt tokens that workers reported as cached.",
            hit_rate("actual"),
            unit="percentunit",
            high=1,
            width=4,
        ),
        stat(
            "Predicted",
            "Share of prompt tokens that the index had predicted to be cached.",
            hit_rate("predicted"),
            unit="percentunit",
            high=1,
            width=4,
        ),
        stat(
            "Prompt tokens",
            "Prompt tokens per second of endpoints that generate.",
            prompt_rate(),
            width=4,
        ),
        stat(
            "Blocks known",
            "Blocks of KV cache that a router knows of, over all workers and tiers; the router that knows most.",
            most(total(of("router_index_blocks", WORKER), "instance")),
            width=4,
        ),
        stat(
            "Prompts by tokens",
            "Share of prompts known by their tokens, of those where workers' KV events call for it.",
            ratio(
                per_second("router_prompts_identified_total", "", 'by="tokens"'),
                per_second("router_prompts_identified_total", ""),
            ),
            unit="percentunit",
            high=1,
            width=4,
        ),
        stat(
            "Mismatches",
            "Ways in which models' tokens are other here than at their workers; the log and /workers say which.",
            f"sum({most(of('router_token_mismatch'), 'model')}) or vector(0)",
            steps=[(None, GOOD), (1, BAD)],
            width=4,
        ),
        hit_rates(),
        Panel(
            "Cached tokens by tier",
            "Prompt tokens per second that were predicted, and that workers reported, as cached in each tier.",
            [Query(per_second("router_cached_tokens_total", "kind, tier"), "{{kind}} {{tier}}")],
        ),
        hit_rate_by_worker(),
    ],
)

_PREDICTIONS = Row(
    "Predictions",
    [
        Panel(
            "Cached tokens: predictions that were right",
            "Share of prompts whose reported cached tokens were at most so many off, by what the prediction rests on: the "
            "workers' events, or what they were sent.",
            [
                Query(_within(16.0), "{{by}}: 16"),
                Query(_within(256.0), "{{by}}: 256"),
            ],
            unit="percentunit",
            high=1,
        ),
        heatmap(
            "Cached tokens: reported minus predicted",
            "Below 0: less was cached than thought, as the worker evicts earlier. Above 0: others send past the router.",
            f"{_ERROR}",
            unit="short",
        ),
        Panel(
            "Time to first token: observed minus predicted",
            "Near 0 in the middle; a p95 that grows says that workers have more to do than the routers know.",
            [
                Query(quantile(q, "router_ttft_prediction_error_seconds"), name)
                for name, q in {"p5": 0.05, "p50": 0.5, "p95": 0.95}.items()
            ],
            unit="s",
            low=None,
            colors={"p5": "blue", "p50": GOOD, "p95": WARN},
        ),
    ],
)

_INDEX = Row(
    "Index",
    [
        Panel(
            "Blocks by tier",
            "Blocks known, over all workers; of several routers the one that knows most.",
            [
                Query(
                    most(total(of("router_index_blocks", WORKER), "instance, tier"), "tier"),
                    "{{tier}}",
                )
            ],
            stacked=True,
            width=6,
        ),
        by_reason(
            "Prompts identified",
            "`tokens`: exactly, as the engine sees them. Else why their text had to do.",
            "router_prompts_identified_total",
            "by",
            width=6,
        ),
        by_reason(
            "Served with less than full knowledge",
            "Requests per second, by what was missing.",
            "router_degraded_total",
            width=6,
        ),
        Panel(
            "Token mismatches",
            "Ways in which a model's tokens are other here than at its workers: template, salt, tokenizer.",
            [Query(most(of("router_token_mismatch"), "model"), "{{model}}")],
            width=6,
        ),
    ],
)

_EVENTS = Row(
    "KV events",
    [
        Panel(
            "Blocks told of",
            "Blocks per second that workers' events told of. More removed than stored: the caches are too small for what is "
            "asked.",
            [
                Query(
                    per_second(
                        "router_kv_events_total", "kind", WORKER, 'kind=~"stored|removed|batches"'
                    ),
                    "{{kind}}",
                )
            ],
        ),
        Panel(
            "What went wrong",
            "gaps are replayed; resyncs and restarts made all that was known of a worker void; dropped found the inbox full.",
            [Query(per_second("router_kv_events_total", "kind", WORKER, _TROUBLE), "{{kind}}")],
            unit="cps",
        ),
        Panel(
            "Lag",
            "Age of the last batch when it was applied, by both machines' clocks: also shows clocks that differ.",
            [Query(most(of("router_kv_event_lag_seconds", WORKER), "worker"), "{{worker}}")],
            unit="s",
            low=None,
        ),
    ],
)

_TIERS = Row(
    "Lower tiers (LMCache)",
    [
        by_reason(
            "Questions",
            "Prompts that LMCache was asked about (asked), in which tier some of it was found, and answers that were late or "
            "failed.",
            "router_tier_questions_total",
            "result",
            width=12,
        ),
        Panel(
            "Time to load",
            "Learned time to load one cached token back from a lower tier.",
            [Query(most(of("router_tier_load_seconds_per_token"), "tier"), "{{tier}}")],
            unit="s",
            width=12,
        ),
    ],
)

_SHARED = Row(
    "Shared Redis",
    [
        Panel(
            "Reached",
            "1: the router's last question was answered. 0: it goes by what it knows itself.",
            [Query(f"min by (instance) ({of('router_shared_up')})", "{{instance}}")],
            kind="state-timeline",
            low=None,
            mappings=[(0, "away", BAD), (1, "up", GOOD)],
            steps=[(None, BAD), (1, GOOD)],
        ),
        Panel(
            "Lookup time",
            "Time to look one prompt up there; a request waits no longer than redis_deadline_s.",
            [
                Query(quantile(q, "router_shared_lookup_seconds"), name)
                for name, q in {"p50": 0.5, "p99": 0.99}.items()
            ],
            unit="s",
            colors={"p50": GOOD, "p99": WARN},
        ),
        by_reason(
            "Failures",
            "What it did not do: late (no answer in redis_deadline_s), failed, full, read_only.",
            "router_shared_failures_total",
        ),
        Panel(
            "Blocks",
            "Blocks per second that it was told of, or that were lost while it was away.",
            [Query(per_second("router_shared_blocks_total", "result"), "{{result}}")],
            colors={"written": GOOD, "lost": BAD},
        ),
        Panel(
            "Blocks waiting",
            "Blocks that each router is still to tell it of.",
            [Query(total(of("router_shared_blocks_waiting"), "instance"), "{{instance}}")],
        ),
        Panel(
            "Routers and their workers",
            "Routers that share it, by role, as each sees it; and how many workers each looks after for all.",
            [
                Query(most(of("router_shared_routers"), "role"), "routers: {{role}}"),
                Query(
                    total(of("router_shared_leased_workers"), "instance"),
                    "looked after by {{instance}}",
                ),
            ],
        ),
    ],
)

BOARD = Board(
    "prefix-router-cache",
    "prefix-router / Cache",
    "How much of prompts is cached, and how well the routers know it.",
    [_HITS, _PREDICTIONS, _INDEX, _EVENTS, _TIERS, _SHARED],
)
