"""The embedded index: one table of holders, one least-recently-used list per worker.

A worker's list is bounded in tokens; a prompt's blocks enter it last block first, so that what is evicted
first is the tail of the longest unused prompt.
"""

from collections import OrderedDict
from collections.abc import Mapping

from router.ids import BlockKey, WorkerId
from router.index.holders import SHIFT, Holders
from router.prompt.identity import Identity, Tail


class _Shelf:
    """One worker's blocks, least recently used first, with the tokens each stands for."""

    __slots__ = ("bit", "blocks", "capacity", "tails", "tokens")

    def __init__(self, bit: int, capacity: float) -> None:
        self.bit = bit
        self.blocks: OrderedDict[BlockKey, float] = OrderedDict()
        self.tails: dict[BlockKey, Tail] = {}
        self.tokens = 0.0
        self.capacity = capacity


class MemoryIndex:
    """Which worker holds which block, in this process; what `index.predicted` keeps its knowledge in.

    `capacity_tokens` is what a worker's cache is taken to hold until `set_capacity` says otherwise;
    `max_blocks` bounds all workers' blocks together.
    """

    def __init__(self, *, capacity_tokens: float, max_blocks: int) -> None:
        self._capacity_tokens = capacity_tokens
        self._max_blocks = max_blocks
        self._holders = Holders()
        self._shelves: dict[WorkerId, _Shelf] = {}
        self._count = 0
        self._private = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<MemoryIndex {self._count} blocks, {len(self._shelves)} workers>"

    # -- questions -----------------------------------------------------------------------------

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """Leading blocks held, per worker."""
        return self._holders.lookup(identity.keys)

    def blocks(self, worker: WorkerId) -> int:
        """How many blocks are known of `worker`."""
        shelf = self._shelves.get(worker)
        return len(shelf.blocks) if shelf else 0

    def used_tokens(self, worker: WorkerId) -> float:
        """Tokens that `worker`'s known blocks stand for."""
        shelf = self._shelves.get(worker)
        return shelf.tokens if shelf else 0.0

    def tail(self, worker: WorkerId, key: BlockKey) -> Tail | None:
        """How the prompt that was last answered with `key` as its last full block ended."""
        shelf = self._shelves.get(worker)
        return shelf.tails.get(key) if shelf else None

    # -- changes -------------------------------------------------------------------------------

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """`worker` holds the whole prompt."""
        shelf = self._shelf(worker)
        blocks, parts, bit = shelf.blocks, self._holders.parts, shelf.bit
        keys, tokens_of = identity.keys, identity.block_tokens
        for place in range(len(keys) - 1, -1, -1):
            key = keys[place]
            if key in blocks:
                blocks.move_to_end(key)
            else:
                tokens = tokens_of(place)
                blocks[key] = tokens
                shelf.tokens += tokens
                part = parts[key >> SHIFT]
                held = part.get(key)
                part[key] = bit if held is None else held | bit
                self._count += 1
        self._shrink(shelf)

    def take_back(self, worker: WorkerId, identity: Identity, held: int) -> None:
        """The prompt was not computed there after all: what it added to the `held` leading blocks is not held. Another prompt
        that shares some of that and was sent since says so again when it is sent next.
        """
        shelf = self._shelves.get(worker)
        if shelf is None:
            return
        for key in identity.keys[held:]:
            tokens = shelf.blocks.pop(key, None)
            if tokens is not None:
                self._drop(shelf, key, tokens)

    def end(self, worker: WorkerId, key: BlockKey, tail: Tail) -> None:
        """Note how a prompt ended behind `key`; forgotten with the block."""
        shelf = self._shelves.get(worker)
        if shelf is not None and key in shelf.blocks:
            shelf.tails[key] = tail

    def occupy(self, worker: WorkerId, tokens: float) -> None:
        """`worker` holds `tokens` more that nobody can ask for (an answer's): they push others out.

        A worker that nothing is known of stays unknown: it was removed while it answered.
        """
        shelf = self._shelves.get(worker)
        if shelf is None:
            return
        self._private -= 1  # block keys are unsigned, so these never meet
        shelf.blocks[self._private] = tokens
        shelf.tokens += tokens
        self._count += 1
        self._shrink(shelf)

    def set_capacity(self, worker: WorkerId, tokens: float) -> None:
        """How many tokens `worker`'s cache holds."""
        shelf = self._shelf(worker)
        shelf.capacity = tokens
        self._shrink(shelf)

    def clear(self, worker: WorkerId) -> None:
        """`worker` holds nothing."""
        shelf = self._shelves.get(worker)
        while shelf is not None and shelf.blocks:
            self._evict(shelf)

    def remove(self, worker: WorkerId) -> None:
        """`worker` is gone; its place can be taken by another."""
        self.clear(worker)
        self._shelves.pop(worker, None)
        self._holders.free(worker)

    # ------------------------------------------------------------------------------------------

    def _shelf(self, worker: WorkerId) -> _Shelf:
        shelf = self._shelves.get(worker)
        if shelf is None:
            bit = self._holders.bit_of(worker)
            shelf = self._shelves[worker] = _Shelf(bit, self._capacity_tokens)
        return shelf

    def _shrink(self, shelf: _Shelf) -> None:
        while shelf.tokens > shelf.capacity and shelf.blocks:
            self._evict(shelf)
        while self._count > self._max_blocks:
            fullest = max(self._shelves.values(), key=lambda each: len(each.blocks))
            for _ in range(min(self._count - self._max_blocks, len(fullest.blocks))):
                self._evict(fullest)

    def _evict(self, shelf: _Shelf) -> None:
        self._drop(shelf, *shelf.blocks.popitem(last=False))

    def _drop(self, shelf: _Shelf, key: BlockKey, tokens: float) -> None:
        shelf.tails.pop(key, None)
        shelf.tokens = shelf.tokens - tokens if shelf.blocks else 0.0
        self._count -= 1
        self._holders.drop(key, shelf.bit)
