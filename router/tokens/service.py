"""Gives prompts their token ids, beside the event loop and in time, or not at all."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from router.prompt.identity import Identity, TokenIdentity
from router.prompt.request import Request
from router.prompt.token_blocks import prompt_extras, token_keys
from router.tokens.body import ENDPOINTS, read
from router.tokens.extras import Adapter, Extras, extras_of
from router.tokens.prompt import (
    ChatPrompt,
    IdsPrompt,
    Inexact,
    Prompt,
    Reason,
    TextPrompt,
    TokenIds,
)
from router.tokens.segments import text_key

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LIMIT_BYTES = 4 * 1024 * 1024
"""About a million tokens: more than contexts hold."""


class Run(Protocol):
    """Runs blocking work beside the event loop."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What `work` returns or raises."""


class Source(Protocol):
    """Knows a model's tokenizer."""

    async def ids(self, prompt: ChatPrompt | TextPrompt, run: Run) -> TokenIds:
        """The ids that the engine would see for `prompt`. Raises `Inexact` when that is not certain."""


class Sources(Protocol):
    """Sources by model: a `library.Library`, or a dict."""

    def get(self, model: str, other: Source | None, /) -> Source | None:
        """The model's source, else `other`."""


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """What the engine's cache keys a prompt by. `chat`: its text came from a chat template."""

    ids: TokenIds
    extras: Extras
    chat: bool

    def identity(self, block_tokens: int, text: Identity | None = None) -> TokenIdentity:
        """As looked up in the index, for engines with blocks of `block_tokens` tokens; `text`: as known by that."""
        blocks, extras = len(self.ids) // block_tokens, self.extras
        beside = prompt_extras(blocks, block_tokens, adapter=extras.adapter, salt=extras.salt)
        keys = token_keys(self.ids, block_tokens, beside)
        return TokenIdentity.of(keys, len(self.ids), block_tokens, text)


class TokenService:
    """Token ids for requests. `sources` are by base model: an adapter is tokenized as its base; `other` is asked
    about models that are not among them.

    A prompt gets `deadline_s`; `limit` of them are worked on at a time, those that nobody waits for any more included.
    What comes on top is let go at once, as is a body of more than `limit_bytes`.
    What went well counts in `exact` (`shared`: by the work for an equal prompt), the rest in `inexact` by reason;
    none of it fails a request.
    """

    def __init__(
        self,
        sources: Sources,
        other: Source | None = None,
        *,
        threads: int = 2,
        deadline_s: float = 0.1,
        limit: int = 64,
        limit_bytes: int = _LIMIT_BYTES,
    ) -> None:
        self.exact = 0
        self.shared = 0
        self.inexact: Counter[Reason] = Counter()
        self.pending = 0
        self._failing = False  # so that it is told once
        self._sources = sources
        self._other = other
        self._deadline_s = deadline_s
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="tokens")
        self._flights: dict[bytes, asyncio.Task[TokenIds | Inexact]] = {}

    async def tokens(self, request: Request, adapter: Adapter | None = None) -> TokenPrompt | None:
        """`request`'s prompt, or None: go by its text. `adapter`: the LoRA adapter that its model is."""
        try:
            prompt = await self._tokens(request, adapter)
        except Inexact as why:
            self._count(why)
            return None
        except asyncio.CancelledError:
            if _is_leaving():
                raise
            self._count(Inexact(Reason.FAILED, "closed"))
            return None
        except Exception as error:  # noqa: BLE001 - no mishap here is worth the request
            self._count(Inexact(Reason.FAILED, repr(error)))
            return None
        self.exact += 1
        self._failing = False
        return prompt

    def close(self) -> None:
        """No more work is begun."""
        for flight in self._flights.values():
            flight.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _count(self, why: Inexact) -> None:
        self.inexact[why.reason] += 1
        if why.reason is Reason.FAILED:
            if not self._failing:
                logger.warning("prompts go by their text, tokenizing fails: %s", why.detail)
            self._failing = True

    async def _tokens(self, request: Request, adapter: Adapter | None) -> TokenPrompt:
        if request.endpoint.name not in ENDPOINTS:
            raise Inexact(Reason.ENDPOINT, request.endpoint.name)
        source = self._sources.get(adapter.base if adapter else request.model or "", self._other)
        if source is None and request.fields.messages:
            raise Inexact(Reason.NO_TOKENIZER)
        if len(request.incoming.body) > self._limit_bytes:
            raise Inexact(Reason.TOO_LONG)
        if max(self.pending, len(self._flights)) >= self._limit:
            raise Inexact(Reason.BUSY)
        extras = extras_of(request, adapter)
        self.pending += 1
        try:
            async with asyncio.timeout(self._deadline_s):
                prompt, key = await self.run(lambda: _keyed(read(request)))
                ids = await self._ids(prompt, key, source)
        except TimeoutError:
            raise Inexact(Reason.DEADLINE) from None
        finally:
            self.pending -= 1
        return TokenPrompt(ids, extras, isinstance(prompt, ChatPrompt))

    async def _ids(self, prompt: Prompt, key: bytes, source: Source | None) -> TokenIds:
        if isinstance(prompt, IdsPrompt):
            return prompt.ids
        if source is None:
            raise Inexact(Reason.NO_TOKENIZER)
        flight = self._flights.get(key)
        if flight is None:
            loop = asyncio.get_running_loop()
            flight = self._flights[key] = loop.create_task(self._find(prompt, source))
            flight.add_done_callback(lambda _: self._flights.pop(key))
        else:
            self.shared += 1
        # Who leaves does not end it for the others, nor for the cache.
        result = await asyncio.shield(flight)
        if isinstance(result, Inexact):
            raise Inexact(result.reason, result.detail)
        return result

    async def _find(self, prompt: ChatPrompt | TextPrompt, source: Source) -> TokenIds | Inexact:
        """The ids for everyone who asks for this prompt meanwhile; never raises, as perhaps nobody waits any more."""
        try:
            return await source.ids(prompt, self.run)
        except Inexact as why:
            return why
        except Exception as error:  # noqa: BLE001 - told to who waits
            return Inexact(Reason.FAILED, repr(error))

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run `work` beside the event loop. When who waits goes, work not yet begun is dropped; what runs goes on."""
        return asyncio.get_running_loop().run_in_executor(self._executor, _guarded, work)


def _is_leaving() -> bool:
    """Who asks was cancelled, and not only the work that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _keyed(prompt: Prompt) -> tuple[Prompt, bytes]:
    """Equal prompts have equal keys."""
    return prompt, b"" if isinstance(prompt, IdsPrompt) else text_key(msgspec.json.encode(prompt))


def _guarded(work: Callable[[], T]) -> T:
    try:
        return work()
    except Inexact:
        raise
    except BaseException as error:  # a panic of the tokenizer's Rust is no Exception
        raise Inexact(Reason.FAILED, repr(error)) from error
