"""Finds out what a prompt is to the engine's cache: its tokens, and what lower tiers hold of them.

That takes time, so it is done only where it is worth it: for workers that say what they hold. Whatever goes wrong,
the prompt's text will do.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import partial
from math import inf
from time import perf_counter
from typing import Protocol

from router.fleet.worker import Worker
from router.ids import Tier, WorkerId
from router.index.knowledge import Knowledge
from router.index.union import UnionIndex
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.request import Request
from router.prompt.stored import Loadable, Stored
from router.prompt.token_blocks import token_keys
from router.routing.policy import Decision
from router.tokens.audit import Counted, TokenAudit
from router.tokens.body import ENDPOINTS
from router.tokens.extras import Adapter
from router.tokens.prompt import Reason, TokenIds
from router.tokens.service import TokenPrompt, TokenService

logger = logging.getLogger(__name__)

_DISTRUST_S = 60.0
"""For so long a model's prompts are not tokenized after its workers counted other tokens."""

_CHAT = "chat_completions"
"""The endpoint whose prompts come from a chat template."""

_USUAL_BLOCK = 16

_INLINE_TOKENS = 4096
"""Fewer are hashed at once: 0.2 ms."""


class Deep(Protocol):
    """Knows what tiers below the workers hold (`tiers.service.TierService`)."""

    async def stored(self, ids: TokenIds, root: str, salt: str | None) -> Sequence[Stored]:
        """What is held of the prompt of a model that was loaded from `root`. Never raises."""


class TierEvents:
    """What workers' own events tell of a lower tier. `sizes`: tokens per block there, as far as any was told of."""

    def __init__(self, tier: Tier, index: UnionIndex, sizes: Callable[[], Set[int]]) -> None:
        self.sizes = sizes
        self._tier = tier
        self._index = index

    def holders(self, prompts: Iterable[TokenIdentity]) -> Iterator[tuple[WorkerId, Loadable]]:
        """Who can load how much of a prompt, that is given in each of the block sizes."""
        for prompt in prompts:
            for worker, blocks in self._index.lookup(prompt).items():
                yield worker, Loadable(self._tier, blocks * prompt.block)

    def remove(self, worker: WorkerId) -> None:
        """The worker left."""
        self._index.remove(worker)


class ExactPrompts:
    """Identifies prompts by their tokens, and judges by the answers whether that was right."""

    def __init__(
        self,
        knowledge: Knowledge,
        tokens: TokenService,
        *,
        events: Sequence[TierEvents] = (),
        deep: Deep | None = None,
        deadline_s: float = 1.0,
    ) -> None:
        self.tokens = tokens
        self.audit = TokenAudit()
        self._knowledge = knowledge
        self._events = events
        self._deep = deep
        self._deadline_s = deadline_s
        self._distrusted: dict[str, float] = {}

    def wanted(self, request: Request, candidates: Sequence[Worker]) -> bool:
        """Whether the request's tokens are worth knowing."""
        if self._deep is None and not self._knowledge.listens:
            return False
        if not request.endpoint.generates or not request.prompt or request.model is None:
            return False
        block_of = self._knowledge.block_of
        if self._deep is None and not any(block_of(w.id) for w in candidates):
            return False
        if request.endpoint.name not in ENDPOINTS:
            self.tokens.inexact[Reason.ENDPOINT] += 1
            return False
        until = self._distrusted.get(request.model)
        return until is None or until < perf_counter()

    async def if_wanted(
        self, request: Request, text: Identity, candidates: Sequence[Worker]
    ) -> Identity:
        """The prompt's identity for `candidates`, by tokens where they are worth knowing."""
        wanted = self.wanted(request, candidates)
        return await self.identity(request, text, candidates) if wanted else text

    async def identity(
        self, request: Request, text: Identity, candidates: Sequence[Worker]
    ) -> Identity:
        """The prompt's identity for `candidates`: `text` where its tokens cannot be told. Never raises."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._identity(request, text, candidates)
        except TimeoutError:
            self.tokens.inexact[Reason.DEADLINE] += 1
            return text
        except Exception:  # no mishap here is worth the request
            logger.exception("finding out a prompt's tokens failed")
            return text

    async def _identity(
        self, request: Request, text: Identity, candidates: Sequence[Worker]
    ) -> Identity:
        models = candidates[0].report.models
        card = models.get(request.model or "")
        adapter = Adapter.of(card)
        found = await self.tokens.tokens(request, adapter)
        if found is None:
            return text
        step = partial(_named, found, self._block(candidates), text, self._sizes())
        inline = len(found.ids) < _INLINE_TOKENS
        identity, chunked = step() if inline else await self.tokens.run(step)
        base = models.get(adapter.base) if adapter else card
        root = str((base or {}).get("root") or "")
        stored = await self._stored(found, chunked, candidates, root)
        return identity.with_stored(stored) if stored else identity

    def _block(self, candidates: Sequence[Worker]) -> int:
        """The block size of most of those that say what they hold: the others are known by text."""
        told = Counter(filter(None, (self._knowledge.block_of(w.id) for w in candidates)))
        if told:
            return told.most_common(1)[0][0]
        return candidates[0].report.block_tokens or _USUAL_BLOCK

    def _sizes(self) -> Set[int]:
        """The block sizes of lower tiers."""
        return {size for events in self._events for size in events.sizes()}

    async def _stored(
        self,
        found: TokenPrompt,
        chunked: Sequence[TokenIdentity],
        candidates: Sequence[Worker],
        root: str,
    ) -> dict[WorkerId, Loadable]:
        """The most that each candidate can load, for a model that is loaded from `root`. LMCache 0.5.6 does not keep
        adapters apart, and its events tell no salts.
        """
        best: dict[WorkerId, Loadable] = {}
        if found.extras.salt is None:
            for events in self._events:
                for worker, loadable in events.holders(chunked):
                    _better(best, worker, loadable)
        if self._deep is not None:
            for stored in await self._deep.stored(found.ids, root, found.extras.salt):
                for each in candidates:
                    if stored.hosts is None or each.pool.hosts & stored.hosts:
                        _better(best, each.id, Loadable(stored.tier, stored.tokens))
        return best

    def remove(self, worker: WorkerId) -> None:
        """The worker left: what it said of lower tiers went with it."""
        for events in self._events:
            events.remove(worker)

    # -- after the fact ------------------------------------------------------------------------

    def learn(
        self,
        request: Request,
        identity: TokenIdentity,
        decision: Decision,
        counted: tuple[int, int | None],
        sent_at: float = inf,
    ) -> None:
        """An answer to what was sent at `sent_at` said how many tokens its prompt has, and how many of them were cached
        (None: it did not).
        """
        tokens, cached = counted
        worker, model = decision.worker.id, request.model or ""
        told = self._knowledge.is_exact(worker, identity, sent_at)
        told = told and worker not in identity.stored
        before = self.audit.disagreements
        verdict = self.audit.observe(
            Counted(
                model,
                request.endpoint.name == _CHAT,
                int(identity.tokens),
                tokens,
                round(decision.cached_tokens) if told else None,
                cached if told else None,
            )
        )
        if verdict is not None:
            logger.warning("%s. Its prompts go by their text for %.0f s", verdict, _DISTRUST_S)
        if self.audit.disagreements > before and model in self.audit.verdicts:
            self._distrusted[model] = perf_counter() + _DISTRUST_S


def _named(
    found: TokenPrompt, block: int, text: Identity, sizes: Set[int]
) -> tuple[TokenIdentity, list[TokenIdentity]]:
    """The prompt in the workers' block size, and in those of lower tiers, which know no extras."""
    ids = found.ids
    chunked = [TokenIdentity.of(token_keys(ids, size), len(ids), size) for size in sizes]
    return found.identity(block, text), chunked


def _better(best: dict[WorkerId, Loadable], worker: WorkerId, loadable: Loadable) -> None:
    known = best.get(worker)
    if loadable.tokens and (known is None or loadable.tokens > known.tokens):
        best[worker] = loadable
