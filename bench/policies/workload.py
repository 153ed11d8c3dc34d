"""Chat sessions: a system prompt that all share, a first context of their own, some turns with short answers (pure)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench.dataplane.prompts import text


@dataclass(frozen=True, slots=True)
class Shape:
    """What sessions look like; lengths in bytes of text, three of which are about a token of `small`."""

    system_bytes: int = 1200
    context_bytes: int = 3000  # median; log-normal
    context_sigma: float = 0.5
    context_max_bytes: int = 6000
    turns: float = 5.0  # mean; geometric
    max_turns: int = 12
    question_bytes: int = 240
    answer_tokens: int = 16
    think_s: float = 1.0  # mean; exponential


@dataclass(frozen=True, slots=True)
class Session:
    """One user's conversation; `thinks` are the pauses in seconds before each question."""

    name: str
    system: str
    questions: tuple[str, ...]
    thinks: tuple[float, ...]


def sessions(shape: Shape, seed: int, label: str) -> Iterator[Session]:
    """Endless sessions, the same for the same seed.

    `label` begins the system prompt, so that texts under two labels have no prefix in common.
    """
    system = f"[{label}] {text(shape.system_bytes, seed)}"
    draw = random.Random(seed)
    for number in itertools.count():
        yield _session(shape, f"{seed}-{number}", system, draw)


def _session(shape: Shape, name: str, system: str, draw: random.Random) -> Session:
    context = shape.context_bytes * draw.lognormvariate(0, shape.context_sigma)
    turns = 1
    while turns < shape.max_turns and draw.random() > 1 / shape.turns:
        turns += 1
    questions = [text(shape.question_bytes, draw.getrandbits(48)) for _ in range(turns)]
    first = text(int(min(context, shape.context_max_bytes)), draw.getrandbits(48))
    questions[0] = f"{first}\n\n{questions[0]}"
    thinks = tuple(draw.expovariate(1 / shape.think_s) for _ in questions)
    return Session(name, system, tuple(questions), thinks)
