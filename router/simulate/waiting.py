"""The queue before a simulated worker's batch: first come, first served, and the first must fit as a whole."""

from collections import deque
from math import inf

from router.simulate.pool import Pool
from router.simulate.sequence import Sequence


class Waiting:
    """Sequences that have no blocks. Whether the first fits is looked into again only if it may have changed."""

    __slots__ = ("_block_tokens", "_gate", "_pool", "_queue", "_wanted", "tokens")

    def __init__(self, pool: Pool, block_tokens: int) -> None:
        self._pool = pool
        self._block_tokens = block_tokens
        self._queue: deque[Sequence] = deque()
        self.tokens = 0
        """What they have to compute before their next tokens come, cached or not."""
        self._gate = inf  # while more blocks are in use, the first does not fit ...
        self._wanted: set[int] = set()  # ... unless one of these is stored

    def __len__(self) -> int:
        return len(self._queue)

    def append(self, sequence: Sequence) -> None:
        """It arrived."""
        self._queue.append(sequence)
        self.tokens += sequence.length

    def push(self, sequence: Sequence) -> None:
        """It was preempted and goes before all others."""
        self._queue.appendleft(sequence)
        self.tokens += sequence.length
        self._gate = inf

    def remove(self, sequence: Sequence) -> None:
        """It does not wait any longer."""
        self._queue.remove(sequence)
        self.tokens -= sequence.length
        self._gate = inf

    def stored(self, ids: list[int]) -> None:
        """Blocks by these ids can be found from now on."""
        if not self._wanted.isdisjoint(ids):
            self._gate = inf

    def pop(self) -> Sequence | None:
        """The first, now holding the blocks of it that are cached; None if nobody waits or the rest does not fit."""
        if not self._queue:
            return None
        sequence = self._queue[0]
        hits = self._hits(sequence)
        if hits is None:
            return None
        self.remove(sequence)
        sequence.held = sequence.ids[:hits]
        self._pool.hold(sequence.held)
        job, found = sequence.job, hits * self._block_tokens
        if job.preemptions:
            job.recomputed += max(0, sequence.computed - found)
        else:
            job.cached_tokens = found
        sequence.computed = found
        return sequence

    def _hits(self, sequence: Sequence) -> int | None:
        """Its leading blocks that are cached, None if the rest does not fit."""
        pool = self._pool
        used = pool.capacity - pool.free
        if used > self._gate:
            return None
        # The last token is always computed, and with it its block.
        limit = (sequence.length - 1) // self._block_tokens
        hits = pool.match(sequence.ids, limit)
        short = -(-sequence.length // self._block_tokens) - hits - pool.free
        if short + hits > 0:
            short += pool.idle(sequence.ids[:hits])  # what it holds is not free for the rest
        if short <= 0:
            return hits
        self._gate = used - short
        self._wanted = set(sequence.ids[:limit])
        return None
