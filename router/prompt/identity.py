"""From a request to the block keys that the engine's cache is asked for, and its size in tokens."""

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from router.ids import BlockKey, WorkerId
from router.prompt.blocks import chain_seed, covered_bytes, text_keys
from router.prompt.request import Request
from router.prompt.stored import Loadable
from router.prompt.token_rates import TokenRates

_INLINE_DATA = re.compile(
    rb';base64,[A-Za-z0-9+/=_-]*|"data"\s*:\s*"[A-Za-z0-9+/=_-]{256,}'  # data URLs; Anthropic, audio
)
_MEDIA_TOKENS = 1000.0
"""What an inline image or clip is taken to cost; its base64 text says nothing about that."""

_ACCURATE = 0.005
"""An estimate this close is left as it is."""

_SAMPLES = 8
_SAMPLE_BYTES = 64
_NEXT_MESSAGE_BYTES = 64
"""Where a next message names its role, if it does so first."""


class Tail(msgspec.Struct, frozen=True, gc=False):
    """How an answered prompt ended behind its last full block, and the tokens that the engine counted."""

    size: int
    digest: BlockKey
    prompt_tokens: int
    answer_tokens: int


_NOTHING: Mapping[WorkerId, Loadable] = MappingProxyType({})
_NOBODY: Mapping[WorkerId, int] = MappingProxyType({})


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What the cache knows a prompt by.

    `tokens` is the prompt's estimated length; `tokens_per_byte` turns text positions into tokens. `stored`: what
    workers can load of it from tiers below their own memory. `elsewhere`: leading blocks that workers hold, as other
    routers know.
    """

    prompt: bytes
    keys: list[BlockKey]
    tokens: float
    tokens_per_byte: float
    stored: Mapping[WorkerId, Loadable] = _NOTHING
    elsewhere: Mapping[WorkerId, int] = _NOBODY

    @property
    def text(self) -> "Identity":
        """The prompt as known by its text."""
        return self

    def covered_tokens(self, blocks: int) -> float:
        """Tokens in the first `blocks` blocks."""
        return min(self.tokens, covered_bytes(blocks) * self.tokens_per_byte)

    def block_tokens(self, place: int) -> float:
        """Tokens in the block at `place`."""
        return (covered_bytes(place + 1) - covered_bytes(place)) * self.tokens_per_byte

    def shared_tokens(self, blocks: int) -> float:
        """Tokens that are likely shared when the first `blocks` blocks are and the next one is not: half of it."""
        here = covered_bytes(blocks)
        there = min(len(self.prompt), covered_bytes(blocks + 1))
        return min(self.tokens, (here + there) / 2 * self.tokens_per_byte)

    def tail(self, prompt_tokens: int, answer_tokens: int) -> Tail:
        """This prompt's end, now that it is answered. It must have a full block."""
        start = covered_bytes(len(self.keys))
        return Tail(
            len(self.prompt) - start,
            chain_seed(self.prompt[start:], start=self.keys[-1]),
            prompt_tokens,
            answer_tokens,
        )

    def resumed_tokens(self, blocks: int, tail: Tail) -> int | None:
        """Tokens known to be shared when this prompt goes on where an answered one ended; else None.

        A conversation's next turn brings the answer along: then its tokens are shared too.
        """
        start = covered_bytes(blocks)
        end = start + tail.size
        if chain_seed(self.prompt[start:end], start=self.keys[blocks - 1]) != tail.digest:
            return None
        answered = b'"assistant"' in self.prompt[end : end + _NEXT_MESSAGE_BYTES]
        return tail.prompt_tokens + (tail.answer_tokens if answered else 0)


class TokenIdentity(Identity, frozen=True, gc=False, kw_only=True):
    """A prompt known by its tokens: `block` of them are one block, as in the engine's cache.

    `prompt` is empty and `tokens` exact; where blocks part, nothing more is shared. `by_text`: the same prompt for
    workers of which only what they were sent is known.
    """

    block: int
    by_text: Identity | None = None

    @classmethod
    def of(
        cls, keys: list[BlockKey], tokens: int, block: int, by_text: Identity | None = None
    ) -> "TokenIdentity":
        """`keys` are those of the full blocks."""
        return cls(b"", keys, tokens, 0.0, block=block, by_text=by_text)

    def with_stored(self, stored: Mapping[WorkerId, Loadable]) -> "TokenIdentity":
        """The same, of which workers can load this much."""
        return msgspec.structs.replace(self, stored=stored)

    @property
    def text(self) -> Identity:
        return self.by_text or self

    def covered_tokens(self, blocks: int) -> float:
        return blocks * self.block

    def block_tokens(self, place: int) -> float:
        del place
        return self.block

    def shared_tokens(self, blocks: int) -> float:
        return blocks * self.block

    def tail(self, prompt_tokens: int, answer_tokens: int) -> Tail:
        return Tail(0, self.keys[-1], prompt_tokens, answer_tokens)

    def resumed_tokens(self, blocks: int, tail: Tail) -> int | None:
        del blocks, tail
        return None


class TextIdentity:
    """Identifies prompts by their text."""

    def __init__(self) -> None:
        self._rates = TokenRates()

    def identify(self, request: Request) -> Identity:
        """Keys and size of `request`'s prompt."""
        prompt, model = request.prompt, request.model or ""
        keys = text_keys(prompt, chain_seed(model.encode(), *request.separators))
        rate = self._rates.rate(model, keys)
        tokens = len(prompt) * rate
        if tokens > _MEDIA_TOKENS and _has_media(prompt):
            tokens, rate = _with_media(prompt, rate)
        return Identity(prompt, keys, tokens, rate)

    def learn(self, request: Request, identity: Identity, prompt_tokens: int) -> None:
        """An answer said how long the prompt really was."""
        model, size = request.model or "", len(request.prompt)
        accurate = abs(prompt_tokens - identity.tokens) <= _ACCURATE * prompt_tokens
        if accurate and self._rates.knows(model):
            return
        if size and prompt_tokens and not _has_media(request.prompt):
            self._rates.learn(model, identity.keys, size, prompt_tokens)


def _has_media(prompt: bytes) -> bool:
    """Inline data are long runs without a space: only where a few samples show one is all of it searched."""
    step = len(prompt) // _SAMPLES or 1
    samples = (prompt[at : at + _SAMPLE_BYTES] for at in range(step // 2, len(prompt), step))
    return any(b" " not in sample for sample in samples) and bool(_INLINE_DATA.search(prompt))


def _with_media(prompt: bytes, rate: float) -> tuple[float, float]:
    inline = [match.end() - match.start() for match in _INLINE_DATA.finditer(prompt)]
    tokens = (len(prompt) - sum(inline)) * rate + len(inline) * _MEDIA_TOKENS
    return tokens, tokens / len(prompt)
