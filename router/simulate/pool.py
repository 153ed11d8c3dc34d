"""The KV blocks of a simulated worker: shared by id, counted, kept until their place is needed.

As in vLLM's block pool, a block that nobody uses stays in the table until it is evicted, least recently freed
first and the tail of a request before its head. Blocks that nobody else can find (not full yet, without an id,
or a copy of one in the table) are only counted.
"""

from collections import deque


class Pool:
    """`capacity` blocks.

    The free list is kept as runs: what one request gave back at once, in the order of its prompt. Eviction eats
    the oldest run from its end. A block that was taken up again leaves a stale entry behind: only the run that
    the table names is right. Thus neither taking up nor giving back costs more than one write per block.
    """

    __slots__ = (
        "_oldest",
        "_private",
        "_queued",
        "_runs",
        "_table",
        "capacity",
        "changes",
        "free",
        "now",
        "record_changes",
    )

    def __init__(self, capacity: int, *, record_changes: bool = False) -> None:
        self.capacity = capacity
        self.record_changes = record_changes
        self.now = 0.0
        """When the changes happen; for the owner to set."""
        self.changes: list[tuple[float, int, bool]] = []
        """Time, id, and whether it was stored or removed; whoever reads it clears it."""
        self.clear()

    def clear(self) -> None:
        """Everything is lost; changes not yet read too."""
        self.free = self.capacity
        """Blocks that can be taken: empty ones and cached ones that nobody uses."""
        self._table: dict[int, int] = {}
        """Id -> number of users, or minus the number of the run it was given back with."""
        self._private = 0
        self._runs: deque[list[int]] = deque()
        self._oldest = 1
        """The number of the first run."""
        self._queued = 0
        """Entries in all runs, stale ones too."""
        self.changes.clear()

    def match(self, ids: list[int], limit: int) -> int:
        """How many leading blocks of `ids` are here, at most `limit`."""
        table = self._table
        found = 0
        for block in ids:
            if block not in table or found == limit:
                break
            found += 1
        return found

    def idle(self, ids: list[int]) -> int:
        """How many of these blocks, all in the table, nobody uses: they are part of `free`."""
        table = self._table
        return sum([table[block] < 0 for block in ids])

    def hold(self, ids: list[int]) -> None:
        """One more request uses these blocks, all in the table."""
        table = self._table
        woken = 0
        for block in ids:
            users = table[block]
            if users > 0:
                table[block] = users + 1
            else:
                table[block] = 1
                woken += 1
        self.free -= woken

    def take(self, count: int) -> None:
        """Take `count` private blocks, at most `free`; evicts what has to go."""
        self.free -= count
        self._private += count
        short = self._private + len(self._table) - self.capacity
        if short > 0:
            self._evict(short)

    def publish(self, ids: list[int]) -> list[int]:
        """Private blocks are full and can be found by these ids from now on; returns those of which that is true.

        A block whose id is in the table already stays private.
        """
        table = self._table
        fresh = [block for block in ids if block not in table]
        table.update(dict.fromkeys(fresh, 1))
        self._private -= len(fresh)
        if self.record_changes:
            self.changes += [(self.now, block, True) for block in fresh]
        return fresh

    def release(self, held: list[int], private: int) -> None:
        """A request gives back all it has: the blocks it holds in the table and its private ones.

        `held` is in the order of the prompt and becomes the pool's own.
        """
        table, run = self._table, -(self._oldest + len(self._runs))
        shared = 0
        for block in held:
            users = table[block]
            if users == 1:
                table[block] = run
            else:
                table[block] = users - 1
                shared += 1
        self._private -= private
        self.free += private + len(held) - shared
        self._runs.append(held)
        self._queued += len(held)
        if self._queued > 4 * self.capacity:
            self._compact()

    def _evict(self, count: int) -> None:
        table, runs = self._table, self._runs
        while count:
            run, name = runs[0], -self._oldest
            tail = run[-count:]
            del run[-count:]
            self._queued -= len(tail)
            gone = [block for block in reversed(tail) if table.get(block) == name]
            for block in gone:
                del table[block]
            if self.record_changes:
                self.changes += [(self.now, block, False) for block in gone]
            count -= len(gone)
            if not run:
                runs.popleft()
                self._oldest += 1

    def _compact(self) -> None:
        """Drop stale entries."""
        old, table = self._runs, self._table
        self._runs = deque()
        self._queued = 0
        for number, run in enumerate(old, self._oldest):
            kept = [block for block in run if table.get(block) == -number]
            if kept:  # its new number is at most its old one: no run still to come has it
                table.update(dict.fromkeys(kept, -(self._oldest + len(self._runs))))
                self._runs.append(kept)
                self._queued += len(kept)
