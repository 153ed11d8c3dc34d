"""Shows an explanation to people: a sentence, and the figures that decide as a table."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import click

from router.tables import Table, fitted, lines

_LACKS = {
    "max_inflight": "it is sent no more than `max_inflight` requests at a time",
    "prefill_pending": "it has `room_tokens` of prefill to do",
    "kv_cache_full": "the prompt does not fit its KV cache beside what runs there",
    "others_wait": "others wait for the same model; the least work goes first",
    "saturated": "the policy takes the workers to be saturated",
}
_EXCLUDED = {
    "down": "down",
    "model_not_served": "does not serve the model",
    "other_rank": "the request names another data-parallel rank",
    "pinned_elsewhere": "the request names another worker",
    "stored_elsewhere": "another worker stores the response that is referred to",
}
_FIGURES = {
    "cached": "",
    "uncached": "",
    "in flight": "",
    "pending": "uncached tokens sent there and not begun with",
    "KV cache": "",
    "scale": "its times as a multiple of what is estimated, learned from its streams, 1.00 before the first",
    "TTFT ms": "waiting, own prefill and a step",
    "cost ms": "that and what the request does to others",
    "room": "",
}
"""The columns after the worker's, and what is to be said of them."""


def shown(explanation: dict[str, Any], width: int | None) -> Iterator[str]:
    """The lines to print on a terminal of `width` columns, or whole ones where there is none."""
    yield from _wrapped(sentence(explanation), width)
    yield ""
    yield from _wrapped(_title(explanation), width)
    table = fitted(_table(explanation), width)
    blocks = lines(table, width)
    chosen = [False, *(worker["chosen"] for worker in explanation["workers"])]
    for block, bold in zip(blocks, chosen, strict=True):
        yield from (click.style(line, bold=True) if bold else line for line in block)
    for note in _notes(explanation, table.head):
        yield from _wrapped(note, width)


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def sentence(explanation: dict[str, Any]) -> str:
    """What would happen, and why."""
    if explanation["outcome"] == "turned_away":
        return (
            f"It would be turned away with 503: {explanation['queue_depth']} requests wait already."
        )
    name = explanation["worker"] or f"one of {_listed(explanation['equal'])}, drawn by lot"
    if explanation["outcome"] == "waits":
        why = _LACKS.get(explanation["waits"], explanation["waits"])
        return f"It would wait, as things are for {name}: {why}."
    return f"It would go to {name} ({explanation['reason']}): {_gain(explanation)}."


def _gain(explanation: dict[str, Any]) -> str:
    best, *others = explanation["workers"]
    cached, tokens = best["cached_tokens"], explanation["prompt"]["tokens"]
    left = next((each for each in others if not each["chosen"]), None)
    against = f" ({left['predicted_ttft_ms']:,.1f} ms on {left['id']})" if left else ""
    return (
        f"{cached:,} of {tokens:,} prompt tokens are cached there, the first token is expected after "
        f"{best['predicted_ttft_ms']:,.1f} ms{against}"
    )


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _table(explanation: dict[str, Any]) -> Table:
    rows = [list(_cells(worker)) for worker in explanation["workers"]]
    silent = frozenset({"", "-", "0", "0%", "1.00", "yes"})
    return Table(("worker", *_FIGURES), rows, frozenset({"room"}), silent)


def _title(explanation: dict[str, Any]) -> str:
    prompt = explanation["prompt"]
    return (
        f"policy {explanation['policy']}, model {explanation['model'] or 'any'}, "
        f"{explanation['endpoint']}, {prompt['tokens']:,} prompt tokens in {prompt['blocks']} blocks of {prompt['by']}"
    )


def _cells(worker: dict[str, Any]) -> Iterator[str]:
    usage, foreign = worker["kv_cache_usage"], worker["foreign"]
    yield f"{'→' if worker['chosen'] else ' '} {worker['id']}{'' if worker['up'] else ' (down)'}"
    yield _cached(worker)
    yield f"{worker['uncached_tokens']:,}"
    yield f"{worker['inflight']} + {foreign}" if foreign else f"{worker['inflight']}"
    yield f"{worker['pending_prefill_tokens']:,}"
    yield "-" if usage is None else f"{usage:.0%}"
    yield f"{worker['scale']:.2f}"
    yield f"{worker['predicted_ttft_ms']:,.1f}"
    yield f"{worker['cost_ms']:,.1f}"
    yield "-" if worker["room"] is None else worker["lacks"] or "yes"


def _cached(worker: dict[str, Any]) -> str:
    loaded = worker["loaded_tokens"]
    where = f" ({loaded:,} {worker['tier']})" if loaded else ""
    return f"{worker['cached_tokens']:,}{where}"


def _notes(explanation: dict[str, Any], columns: Sequence[str]) -> Iterator[str]:
    said = (f"{name}: {_FIGURES[name]}" for name in columns if _FIGURES.get(name))
    yield f"{'; '.join(said)}."
    if excluded := explanation["excluded"]:
        whys = (f"{each['id']} ({_EXCLUDED.get(each['why'], each['why'])})" for each in excluded)
        yield f"Left out: {', '.join(whys)}."
