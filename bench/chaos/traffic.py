"""What the clients ask (pure): chats and completions with shared beginnings, short and long answers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WORDS = (
    "router worker prefix cache block token stream answer request queue engine model prompt batch "
    "memory latency load balance fault retry drain probe health shard replica tenant quota budget"
)
_GROUPS = 8
# Tokens of an answer, and how often of ten.
_LENGTHS = ((4, 16, 4), (32, 128, 4), (150, 400, 2))


@dataclass(frozen=True, slots=True)
class Question:
    """A request of a client. `key`: equal for equal bodies."""

    path: str
    body: dict[str, Any]

    @property
    def stream(self) -> bool:
        """Whether the answer comes as events."""
        return bool(self.body.get("stream"))

    @property
    def key(self) -> str:
        """What the answer's text depends on."""
        asked = {k: v for k, v in self.body.items() if k not in ("stream", "stream_options")}
        return self.path + json.dumps(asked, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine can take. `open_ended`: chats without a limit end by themselves."""

    prompt_words: int = 1200
    answer_tokens: int = 400
    open_ended: bool = True


class Traffic:
    """Questions without end; with `distinct`, only so many different ones (and each streamed or not)."""

    def __init__(self, seed: int, model: str, limits: Limits, distinct: int | None = None) -> None:
        self._rng = random.Random(seed)
        self._model, self._limits = model, limits
        low = limits.prompt_words // 8
        self._systems = [
            _prose(self._rng, self._rng.randint(low, limits.prompt_words)) for _ in range(_GROUPS)
        ]
        self._number = 0
        self.known: Sequence[Question] = [self._new() for _ in range(distinct or 0)]

    def next(self) -> Question:
        """The next one."""
        asked = self._rng.choice(self.known) if self.known else self._new()
        body = dict(asked.body)
        if self._rng.random() < 0.7:
            body["stream"] = True
            if self._rng.random() < 0.5:
                body["stream_options"] = {"include_usage": True}
        return Question(asked.path, body)

    def _new(self) -> Question:
        self._number += 1
        rng = self._rng
        system = rng.choice(self._systems)
        ask = f"{self._number}: {_prose(rng, rng.randint(5, 60))}"
        body: dict[str, Any] = {"model": self._model, "temperature": 0}
        body["max_tokens"] = min(_length(rng), self._limits.answer_tokens)
        if rng.random() < 0.35:
            return Question("/v1/completions", {**body, "prompt": f"{system}\n{ask}\n"})
        if self._limits.open_ended and rng.random() < 0.2:
            del body["max_tokens"]
        talk = [{"role": "system", "content": system}, {"role": "user", "content": ask}]
        return Question("/v1/chat/completions", {**body, "messages": talk})


def _length(rng: random.Random) -> int:
    low, high, _ = rng.choices(_LENGTHS, [weight for *_, weight in _LENGTHS])[0]
    return rng.randint(low, high)


def _prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS.split(), k=words)).capitalize() + "."
