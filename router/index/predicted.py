"""What workers must hold because of what we sent them, kept honest by what their answers report."""

import logging
from collections import OrderedDict
from collections.abc import Mapping

from router.ids import BlockKey, WorkerId
from router.index.memory import MemoryIndex
from router.prompt.identity import Identity

logger = logging.getLogger(__name__)

_PLAUSIBLE = (0.6, 1.7)
"""A count outside of these shares of the estimate tells of something else: an eviction, another tokenizer."""

_MAX_FOUND = 100_000
_SHRINK = 0.9
_GROW = 1.002
_ENOUGH_SHARE = 0.75
_LOST_SHARE = 0.1
_PROOF = 3
"""Answers in a row that must have found too little before anything is concluded."""

_MIN_AUDIT_TOKENS = 256.0


class PredictedIndex:
    """Assumes that a worker keeps what it was sent until its cache is full.

    Each answer audits: if several in a row found much less cached than predicted, the worker evicts earlier
    than thought (its capacity is taken to be smaller); if they found next to nothing, it lost its cache (all
    that was known of it is dropped). Capacity recovers slowly up to what the worker says of itself, or to this router's
    share of that.
    """

    def __init__(self, memory: MemoryIndex, *, default_kv_tokens: int) -> None:
        self._memory = memory
        self._default = float(default_kv_tokens)
        self._stated: dict[WorkerId, float] = {}
        self._shares: dict[WorkerId, float] = {}
        self._learned: dict[WorkerId, float] = {}
        self._block_tokens: dict[WorkerId, int] = {}
        self._short: dict[WorkerId, list[float]] = {}
        self._found: OrderedDict[BlockKey, int] = OrderedDict()

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """Leading blocks held, per worker."""
        return self._memory.lookup(identity)

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """The prompt is on its way to `worker`: the next one like it can count on that."""
        self._memory.sent(worker, identity)

    def refused(self, worker: WorkerId, identity: Identity, held: int) -> None:
        """`worker` did not read the prompt that it was sent when it held that many of its blocks."""
        self._memory.take_back(worker, identity, held)

    def cached_tokens(self, worker: WorkerId, identity: Identity, blocks: int) -> float:
        """How much of the prompt `worker` has cached, given that it holds the first `blocks` blocks.

        Engines share whole blocks of their own and always compute the last token.
        """
        if not blocks:
            return 0.0
        block = self._block_tokens.get(worker, 1)
        resumed = self._resumed(worker, identity, blocks)
        if resumed is None:
            found = self._found.get(identity.keys[blocks - 1])
            if found is not None:
                return float(found)
            return max(0.0, (identity.shared_tokens(blocks) - 1) // block * block)
        return max(0.0, (resumed - 1.0) // block * block)

    def _resumed(self, worker: WorkerId, identity: Identity, blocks: int) -> int | None:
        tail = self._memory.tail(worker, identity.keys[blocks - 1])
        return identity.resumed_tokens(blocks, tail) if tail else None

    def found(self, worker: WorkerId, identity: Identity, blocks: int, actual: int) -> None:
        """A prompt of which `worker` held `blocks` blocks found `actual` tokens cached there.

        The next one that parts from the known ones at this block will find as many: text only says roughly
        how many tokens the shared part has.
        """
        if not blocks or self._resumed(worker, identity, blocks) is not None:
            return
        here, there = identity.covered_tokens(blocks), identity.covered_tokens(blocks + 1)
        if _PLAUSIBLE[0] * here < actual < _PLAUSIBLE[1] * there:
            key = identity.keys[blocks - 1]
            self._found[key] = actual
            self._found.move_to_end(key)
            if len(self._found) > _MAX_FOUND:
                self._found.popitem(last=False)

    def answered(
        self, worker: WorkerId, identity: Identity, prompt_tokens: int, answer_tokens: int
    ) -> None:
        """The answer's tokens take room in the cache too, and its next turn will find them there."""
        if answer_tokens > 0:
            self._memory.occupy(worker, answer_tokens)
        if identity.keys:
            self._memory.end(worker, identity.keys[-1], identity.tail(prompt_tokens, answer_tokens))

    def audit(self, worker: WorkerId, identity: Identity, predicted: float, actual: int) -> None:
        """Compare what was predicted as cached with what the worker found; both in tokens.

        One answer that found less proves little: its prompt may have been sent and never computed. Several in
        a row do.
        """
        if predicted < _MIN_AUDIT_TOKENS:
            return
        if actual >= _ENOUGH_SHARE * predicted:
            self._short.pop(worker, None)
            self._learn(worker, self._capacity(worker) * _GROW)
            return
        short = self._short.setdefault(worker, [])
        short.append(actual / predicted)
        if len(short) < _PROOF:
            return
        self._short.pop(worker)
        if max(short) < _LOST_SHARE:
            logger.info("worker %s found nothing %d times: its cache was lost", worker, _PROOF)
            self._memory.clear(worker)
            self._memory.sent(worker, identity)
        else:
            self._learn(worker, self._memory.used_tokens(worker) * _SHRINK)

    def state_cache(
        self, worker: WorkerId, kv_tokens: int | None, block_tokens: int | None
    ) -> None:
        """What the worker says of its cache, in tokens: what it holds, and the size of a block; None: nothing."""
        self._block_tokens[worker] = block_tokens or 1
        stated = float(kv_tokens or self._default)
        if stated != self._stated.get(worker):
            self._stated[worker] = stated
            self._learned.pop(worker, None)
            self._memory.set_capacity(worker, self._limit(worker))

    def set_share(self, worker: WorkerId, share: float) -> None:
        """Of all that the worker's cache is given, this router gives that share: the rest pushes it out."""
        before = self._limit(worker)
        self._shares[worker] = share
        limit = self._limit(worker)
        if worker in self._learned:
            self._learned[worker] *= limit / before
        self._memory.set_capacity(worker, self._capacity(worker))

    def blocks(self, worker: WorkerId) -> int:
        """How many blocks are known of `worker`."""
        return self._memory.blocks(worker)

    def clear(self, worker: WorkerId) -> None:
        """The worker holds nothing: it was started anew."""
        self._memory.clear(worker)
        self._short.pop(worker, None)

    def remove(self, worker: WorkerId) -> None:
        """The worker left."""
        self._memory.remove(worker)
        self._stated.pop(worker, None)
        self._shares.pop(worker, None)
        self._learned.pop(worker, None)
        self._block_tokens.pop(worker, None)
        self._short.pop(worker, None)

    def _capacity(self, worker: WorkerId) -> float:
        return self._learned.get(worker, self._limit(worker))

    def _limit(self, worker: WorkerId) -> float:
        return self._stated.get(worker, self._default) * self._shares.get(worker, 1.0)

    def _learn(self, worker: WorkerId, tokens: float) -> None:
        limit = self._limit(worker)
        bounded = min(limit, max(tokens, 0.1 * limit))
        if bounded != self._capacity(worker):
            self._learned[worker] = bounded
            self._memory.set_capacity(worker, bounded)
