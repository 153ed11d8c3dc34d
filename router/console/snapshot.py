"""The fleet as rows of a table, and what of them changed since somebody last looked."""

from collections.abc import Iterable, Mapping
from typing import Any

from router.console.tally import Recent

Row = dict[str, Any]
Rows = dict[str, Row]

_SAME = ("name", "source", "role", "rank", "models", "known_by", "room", "up", "state")


def fleet_row(seen: Mapping[str, Any], recent: Recent) -> Row:
    """A worker as the table has it. `seen`: what `/workers` says of it; `why`: what is wrong, empty when nothing is."""
    worker = seen["id"]
    blocks: Mapping[str, int] = seen["index_blocks"]
    work, rate = recent.work(worker), recent.rate(worker)
    return {
        **{name: seen.get(name) for name in _SAME},
        "circuit": seen["circuit"]["state"],
        "why": _why(seen),
        "inflight": seen["inflight"],
        "pending": seen["pending_prefill_tokens"],
        "running": seen["requests_running"],
        "waiting": seen["requests_waiting"],
        "kv": _round(seen["kv_cache_usage"], 3),
        "hit": _round(work.hit_rate, 3),
        "predicted": _round(work.predicted_rate, 3),
        "blocks": sum(blocks.values()),
        "lower": sum(count for tier, count in blocks.items() if tier != "gpu"),
        "speed": _round(seen["speed"], 2),
        "rate": _round(rate, 1),
    }


def changes(before: Rows, after: Rows) -> tuple[list[tuple[str, Row]], list[str]]:
    """Rows with the fields that changed (all of them, of a row that is new), and the ids of rows that are gone."""
    changed = []
    for worker, row in after.items():
        known = before.get(worker)
        if known is None:
            changed.append((worker, row))
        elif known != row:
            changed.append((worker, {k: v for k, v in row.items() if known[k] != v}))
    return changed, [worker for worker in before if worker not in after]


def models_of(rows: Iterable[Row]) -> list[str]:
    """Every model that some worker serves."""
    return sorted({model for row in rows for model in row["models"]})


def _why(seen: Mapping[str, Any]) -> str:
    circuit = seen["circuit"]
    reasons = []
    if seen["error"]:
        reasons.append(str(seen["error"]))
    if circuit["state"] == "open":
        reasons.append(f"its answers failed: given no requests (opened {circuit['opened']} times)")
    elif circuit["state"] == "probation":
        reasons.append("its answers failed: given a few requests to try")
    return "; ".join([*reasons, *seen["mismatches"]])


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
