"""One sequence that the engine works on, and where its output goes."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum

from router.simworker.hashing import ChainKey
from router.simworker.model import Model


class State(Enum):
    """Where a sequence is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(slots=True)
class Delta:
    """New tokens of the sequence `index` of a request, and why it ended if it did."""

    index: int
    tokens: list[int]
    finish_reason: str | None = None


class Outbox:
    """Output of one request's sequences; what the reader does not fetch in time is merged."""

    def __init__(self) -> None:
        self._pending: dict[int, Delta] = {}
        self._ready = asyncio.Event()
        self._failure: Exception | None = None

    def put(self, index: int, token: int | None, finish_reason: str | None) -> None:
        """Add a token, an end, or both."""
        delta = self._pending.setdefault(index, Delta(index, []))
        if token is not None:
            delta.tokens.append(token)
        delta.finish_reason = finish_reason
        self._ready.set()

    def fail(self, failure: Exception) -> None:
        """There will be nothing more."""
        self._failure = failure
        self._ready.set()

    async def get(self) -> list[Delta]:
        """Everything since the last call; waits for something. Raises what was given to `fail`."""
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure
        self._ready.clear()
        deltas = list(self._pending.values())
        self._pending.clear()
        return deltas


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and output of one answer with its place in the cache.

    `tokens` grows by the output. `planned` is the output where the worker has to say something special
    (a tool call), else `model` says it. The answer ends with `final_reason` after `limit` tokens;
    a limit of 0 computes the prompt only.
    """

    tokens: list[int]
    limit: int
    outbox: Outbox
    model: Model | None = None
    index: int = 0
    final_reason: str = "length"
    key: ChainKey = field(default_factory=ChainKey)
    planned: list[int] | None = None
    prompt_tokens: int = 0
    computed: int = 0
    cached_tokens: int | None = None
    preemptions: int = 0
    blocks: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    published: int = 0
    state: State = State.WAITING
    arrived_at: float = 0.0
    scheduled_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)

    @property
    def generated(self) -> int:
        """Output tokens so far."""
        return len(self.tokens) - self.prompt_tokens

    def next_token(self) -> int:
        """The token that the model samples now."""
        if self.planned is not None:
            return self.planned[self.generated]
        if self.model is None:
            self.model = Model.reading(self.tokens, "")
        return self.model.next_token()
