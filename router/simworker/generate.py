"""From prompts to sequences in the engine, and their output."""

from collections.abc import AsyncIterator
from collections.abc import Sequence as Items
from typing import Self

from router.simworker.config import WorkerConfig
from router.simworker.engine import (
    Engine,
    EngineBusyError,
    EngineDeadError,
    EngineDrainingError,
)
from router.simworker.fields import Sampling, adapter_path
from router.simworker.hashing import ChainKey
from router.simworker.http import ApiError, bad_request
from router.simworker.model import Model, natural_length
from router.simworker.sequence import Delta, Outbox, Sequence
from router.simworker.tokens import VOCAB_SIZE, decode, encode

_BUSY = (
    "The engine is currently busy and cannot accept new requests. "
    "Please try again later or on a different instance."
)
_TOO_LONG = (
    "This model's maximum context length is {limit} tokens. However, your prompt contains at least {found} input "
    "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
    "(parameter=input_tokens, value={found})"
)
_DRAINING = "cannot schedule new futures after shutdown"
_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
# Longest answer that is searched for a stop string.
_STOP_SEARCH_TOKENS = 4096


def chain_key(config: WorkerConfig, model: str, cache_salt: str | None) -> ChainKey:
    """What marks the cache blocks of a model's prompts."""
    if model == config.models[0]:
        return ChainKey(cache_salt=cache_salt)
    return ChainKey(model, adapter_path(model), cache_salt)


class Generation:
    """The sequences of one request, in the engine from `async with` on and out of it at its end."""

    def __init__(
        self, engine: Engine, sequences: list[Sequence], outbox: Outbox, copies: int
    ) -> None:
        self._engine = engine
        self._outbox = outbox
        self.sequences = sequences
        self._copies = copies

    async def __aenter__(self) -> Self:
        try:
            self._engine.submit(self.sequences)
        except EngineBusyError:
            raise ApiError(503, "Service Unavailable", _BUSY) from None
        except EngineDrainingError:
            raise ApiError(500, "InternalServerError", _DRAINING) from None
        except EngineDeadError:
            raise _dead() from None
        return self

    async def __aexit__(self, *_: object) -> None:
        self._engine.abort(self.sequences)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum(sequence.prompt_tokens for sequence in self.sequences[:: self._copies])

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""
        return sum(sequence.generated for sequence in self.sequences)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens found in the cache; of the last prompt if there are several, as vLLM reports."""
        return self.sequences[-self._copies].cached_tokens or 0

    @property
    def created_tokens(self) -> int:
        """Prompt tokens in blocks that this request added to the cache."""
        size = self._engine.pool.block_size
        return self.sequences[-self._copies].prompt_tokens // size * size - self.cached_tokens

    async def deltas(self) -> AsyncIterator[Delta]:
        """Output as it comes, until every sequence has ended; raises ApiError if the engine dies."""
        unfinished = len(self.sequences)
        while unfinished:
            for delta in await self._next():
                unfinished -= delta.finish_reason is not None
                yield delta

    async def _next(self) -> list[Delta]:
        try:
            return await self._outbox.get()
        except EngineDeadError:
            raise _dead() from None

    async def finish(self) -> list[tuple[list[int], str]]:
        """Tokens and finish reason of every sequence, in order."""
        tokens: list[list[int]] = [[] for _ in self.sequences]
        reasons = [""] * len(tokens)
        async for delta in self.deltas():
            tokens[delta.index] += delta.tokens
            reasons[delta.index] = delta.finish_reason or ""
        return list(zip(tokens, reasons, strict=True))


class Generator:
    """Makes generations for one worker."""

    def __init__(self, config: WorkerConfig, engine: Engine) -> None:
        self.config = config
        self.engine = engine

    def start(self, prompts: Items[list[int]], model: str, how: Sampling) -> Generation:
        """Prepare the sequences of a request; raises ApiError if a prompt or the limit is too long."""
        outbox = Outbox()
        sequences: list[Sequence] = []
        for prompt in prompts:
            self._check(prompt, how.max_tokens)
            for _ in range(how.n):
                sequences.append(self._sequence(prompt, model, how, len(sequences), outbox))
        return Generation(self.engine, sequences, outbox, how.n)

    def embed(self, prompts: Items[list[int]], model: str) -> Generation:
        """Like `start`, but the prompts are only read."""
        outbox = Outbox()
        key = chain_key(self.config, model, None)
        for prompt in prompts:
            self._check(prompt, None)
        sequences = [
            Sequence(list(prompt), 0, outbox, index=index, final_reason="stop", key=key)
            for index, prompt in enumerate(prompts)
        ]
        return Generation(self.engine, sequences, outbox, 1)

    def _sequence(
        self, prompt: list[int], model: str, how: Sampling, index: int, outbox: Outbox
    ) -> Sequence:
        copy = index % how.n
        said = Model.reading(prompt, model, copy)
        room = self.config.context_limit - len(prompt)
        length = natural_length(prompt, model, copy) if how.max_tokens is None else how.max_tokens
        limit = min(length, room)
        reason = "length" if how.max_tokens else "stop"
        planned = None
        if how.planned is not None:
            planned = encode(how.planned)
        elif how.stop:
            planned = _until_stop(said.copy(), min(limit, _STOP_SEARCH_TOKENS), how.stop)
        if planned is not None and len(planned) <= min(how.max_tokens or room, room):
            limit, reason = len(planned), "stop"
        return Sequence(
            list(prompt),
            limit,
            outbox,
            model=said,
            index=index,
            final_reason=reason,
            key=chain_key(self.config, model, how.cache_salt),
            planned=planned,
        )

    def _check(self, prompt: list[int], max_tokens: int | None) -> None:
        limit = self.config.context_limit
        if any(not 0 <= token < VOCAB_SIZE for token in prompt):
            raise bad_request(f"Token id {max(prompt)} is out of vocabulary")
        if not prompt:
            raise bad_request("The decoder prompt cannot be empty")
        if max_tokens is not None and max_tokens > limit:
            message = f"max_tokens={max_tokens} cannot be greater than max_model_len={limit}."
            details = (
                f"Please request fewer output tokens. (parameter=max_tokens, value={max_tokens})"
            )
            raise bad_request(f"{message} {details}", "max_tokens")
        if len(prompt) >= limit:
            raise bad_request(_TOO_LONG.format(limit=limit, found=limit + 1), "input_tokens")


def _dead() -> ApiError:
    return ApiError(500, "InternalServerError", _DEAD)


def _until_stop(model: Model, limit: int, stops: tuple[str, ...]) -> list[int] | None:
    """The answer up to before the first stop string, None if none comes."""
    text = decode([model.next_token() for _ in range(limit)])
    found = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return encode(text[: min(found)]) if found else None
