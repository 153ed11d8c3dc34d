"""Compares what we counted with what workers counted, and says in plain words when a model is set up otherwise
here than there (pure).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

PATIENCE = 3
"""Wrong numbers of tokens in a row that are no accident."""

CACHE_PATIENCE = 8
"""Surprises in a row by a cache that are none: what was there may be evicted before a prompt is read, and what two prompts
share may be computed for the first of them just in time for the second.
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """One answered prompt that had token keys.

    `tokens` and `cached` are what we expected, `worker_tokens` and `worker_cached` what the answer's usage says
    (None: it does not). `chat`: a chat template wrote it.
    """

    model: str
    chat: bool
    tokens: int
    worker_tokens: int
    cached: int | None = None
    worker_cached: int | None = None


@dataclass(slots=True)
class _Row:
    """Disagreements in a row: (ours, the worker's)."""

    counts: list[tuple[int, int]] = field(default_factory=list)

    def add(self, ours: int, theirs: int, patience: int) -> bool:
        """Whether these are now enough for a verdict."""
        self.counts = [*self.counts[1 - patience :], (ours, theirs)]
        return len(self.counts) >= patience


class TokenAudit:
    """Verdicts by model; one is lifted by the first answer that agrees. `disagreements` counts prompts.

    Of caches only a hit that was expected is an agreement: that a new prompt is new to both says nothing.
    """

    def __init__(self) -> None:
        self.disagreements = 0
        self._verdicts: dict[tuple[str, str], str] = {}
        self._rows: dict[tuple[str, str], _Row] = {}

    @property
    def verdicts(self) -> Mapping[str, list[str]]:
        """What is wrong, by model; a model with which nothing is wrong is not there."""
        found: dict[str, list[str]] = {}
        for (model, _), verdict in self._verdicts.items():
            found.setdefault(model, []).append(verdict)
        return found

    def observe(self, one: Counted) -> str | None:
        """Learn from an answer; returns a verdict when it is new, to be logged."""
        if one.tokens != one.worker_tokens:
            self.disagreements += 1
            kind = "chat" if one.chat else "text"
            return self._disagree(one.model, kind, one.tokens, one.worker_tokens)
        self._agree(one.model, "chat" if one.chat else "text")
        if one.cached is None or one.worker_cached is None:
            return None
        if one.cached > 0 and one.worker_cached > 0:
            self._agree(one.model, "cache")
        if (one.cached > 0) == (one.worker_cached > 0):
            return None
        self.disagreements += 1
        return self._disagree(one.model, "cache", one.cached, one.worker_cached)

    def _agree(self, model: str, kind: str) -> None:
        self._rows.pop((model, kind), None)
        self._verdicts.pop((model, kind), None)

    def _disagree(self, model: str, kind: str, ours: int, theirs: int) -> str | None:
        row = self._rows.setdefault((model, kind), _Row())
        patience = CACHE_PATIENCE if kind == "cache" else PATIENCE
        if not row.add(ours, theirs, patience) or (model, kind) in self._verdicts:
            return None
        verdict = self._verdicts[model, kind] = _VERDICTS[kind](model, row.counts)
        return verdict


def _template(model: str, counts: list[tuple[int, int]]) -> str:
    ours, theirs = counts[-1]
    return (
        f"the chat template used for model {model} gives {ours} tokens, the worker counted {theirs}"
        f"{_difference(counts)}: are its workers started with --chat-template,"
        " --default-chat-template-kwargs or another tokenizer than the router has?"
    )


def _tokenizer(model: str, counts: list[tuple[int, int]]) -> str:
    ours, theirs = counts[-1]
    return (
        f"the tokenizer used for model {model} gives {ours} tokens, the worker counted {theirs}"
        f"{_difference(counts)}: do its workers have other tokenizer files than the router?"
    )


def _difference(counts: list[tuple[int, int]]) -> str:
    """Always the same one points to a token that only one side puts around prompts."""
    apart = {theirs - ours for ours, theirs in counts}
    if len(apart) > 1:
        return ""
    number = apart.pop()
    return f" (always {abs(number)} {'more' if number > 0 else 'fewer'})"


def _cache(model: str, counts: list[tuple[int, int]]) -> str:
    ours, theirs = counts[-1]
    told = (
        f"{ours} cached tokens were expected and the worker found none"
        if ours
        else f"no cached tokens were expected and the worker found {theirs}"
    )
    return (
        f"model {model}: prompts have the right number of tokens, but {told}, {len(counts)} times in a row: its"
        " cache goes by something else (cache_salt, an adapter, the block size), or its events do not arrive"
    )


_VERDICTS = {"chat": _template, "text": _tokenizer, "cache": _cache}
