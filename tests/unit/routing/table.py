"""A policy at a table: what it is built from, and short ways to ask it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.ids import BlockKey, WorkerId
from router.prompt.identity import TokenIdentity
from router.routing.cost import CostModel, Rates
from router.routing.policies import Tools
from router.routing.policy import Choice, Policy, Question

NOW = 100.0
BLOCK = 100
"""Tokens."""

PROMPT = tuple(range(1, 11))
"""Ten blocks."""


def prompt(*parts: int, blocks: int = 10) -> tuple[BlockKey, ...]:
    """Keys of a prompt: block n of two prompts is the same if their first parts up to n are."""
    keys, key = [], 0
    for part in (*parts, *[0] * (blocks - len(parts))):
        key = hash((key, part)) & 0xFFFFFFFFFFFFFFFF
        keys.append(key)
    return tuple(keys)


def question(
    workers: Sequence[Worker],
    overlaps: Mapping[WorkerId, int] | None = None,
    keys: Sequence[BlockKey] = PROMPT,
    *,
    now: float = NOW,
    model: str = "m",
    session: str | None = None,
) -> Question:
    """A prompt of these blocks, of which the workers hold `overlaps`."""
    identity = TokenIdentity.of(list(keys), max(1, len(keys)) * BLOCK, BLOCK)
    asking = SimpleNamespace(model=model, session=session)
    return Question(asking, identity, workers, overlaps or {}, now, now)


@dataclass
class Table:
    """One policy with what it is built from."""

    make: Callable[[Tools], Policy]
    seed: int = 1
    cost: CostModel = field(default_factory=lambda: CostModel(Rates()))

    def __post_init__(self) -> None:
        self.policy = self.make(Tools(self.cost, lambda request: request.session, self.seed))

    def choose(self, workers: Sequence[Worker], *args: Any, **options: Any) -> Choice:
        """The policy's answer to `question(...)`."""
        return self.policy(question(workers, *args, **options))

    def worker(self, workers: Sequence[Worker], *args: Any, **options: Any) -> Worker:
        """Whom it takes."""
        return self.choose(workers, *args, **options).worker


def prefill(
    worker: Worker, tokens: float = 0.0, *, seconds: float = 0.0, context: float = 0.0
) -> PendingPrefill:
    """One more request on `worker` that waits for its first token."""
    pending = PendingPrefill(seconds, tokens, context, streams=True)
    worker.load.enter(pending, NOW)
    return pending


def decode(worker: Worker, count: int = 1, *, context: float = 0.0) -> None:
    """More requests on `worker` that are being answered."""
    for _ in range(count):
        worker.load.prefilled(prefill(worker, context=context), NOW)
