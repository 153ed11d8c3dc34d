"""The prefix cache: a pool of blocks, a table of hashes, a queue of blocks to reuse (pure)."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol


class CacheLog(Protocol):
    """Who is told what leaves the cache."""

    def removed(self, digest: bytes) -> None:
        """One copy of a block is gone."""

    def cleared(self) -> None:
        """Every block is gone."""


class BlockPool:
    """Blocks by number. A block is in use (references > 0), or in the reuse queue, hashed or not.

    As in vLLM a hash may have several copies, and a block that is in use can be in the table already.
    """

    def __init__(self, blocks: int, block_size: int, log: CacheLog | None = None) -> None:
        self.blocks = blocks
        self.block_size = block_size
        self._log = log
        self._references = [0] * blocks
        self._hashes: list[bytes | None] = [None] * blocks
        self._table: dict[bytes, dict[int, None]] = {}
        self._reuse: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))

    def __repr__(self) -> str:
        return f"<BlockPool {self.in_use} in use, {self.cached} hashes, {self.blocks} blocks>"

    @property
    def free(self) -> int:
        """Blocks that can be taken now, evicting cached ones where needed."""
        return len(self._reuse)

    @property
    def in_use(self) -> int:
        """Blocks that some sequence refers to."""
        return self.blocks - len(self._reuse)

    @property
    def cached(self) -> int:
        """Different hashes in the table."""
        return len(self._table)

    def match(self, hashes: Sequence[bytes]) -> list[int]:
        """Blocks that hold the leading `hashes`, up to the first one that is absent."""
        found = []
        for digest in hashes:
            copies = self._table.get(digest)
            if not copies:
                break
            found.append(next(iter(copies)))
        return found

    def idle(self, blocks: Sequence[int]) -> int:
        """How many of these are in the reuse queue (they count as free)."""
        return sum(not self._references[block] for block in blocks)

    def share(self, blocks: Iterable[int]) -> None:
        """Refer once more to cached blocks."""
        for block in blocks:
            if not self._references[block]:
                del self._reuse[block]
            self._references[block] += 1

    def take(self, count: int) -> list[int]:
        """Blocks for new content, evicting what is first in the queue; `count` must not exceed `free`."""
        taken = [self._reuse.popitem(last=False)[0] for _ in range(count)]
        for block in taken:
            self._evict(block)
            self._references[block] = 1
        return taken

    def publish(self, block: int, digest: bytes) -> None:
        """Make a block's (coming) content findable."""
        self._hashes[block] = digest
        self._table.setdefault(digest, {})[block] = None

    def release(self, blocks: Sequence[int]) -> None:
        """Drop one reference each. Give the blocks in the order in which they shall be evicted."""
        empty = []
        for block in blocks:
            self._references[block] -= 1
            if self._references[block]:
                continue
            self._reuse[block] = None
            if self._hashes[block] is None:
                empty.append(block)
        for block in reversed(empty):
            self._reuse.move_to_end(block, last=False)

    def clear(self) -> bool:
        """Forget all content; refused (False) while a block is in use."""
        if self.in_use:
            return False
        self._table.clear()
        self._hashes = [None] * self.blocks
        if self._log:
            self._log.cleared()
        return True

    def _evict(self, block: int) -> None:
        digest = self._hashes[block]
        if digest is None:
            return
        self._hashes[block] = None
        copies = self._table[digest]
        del copies[block]
        if not copies:
            del self._table[digest]
        if self._log:
            self._log.removed(digest)
