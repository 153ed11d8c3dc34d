"""The same store in this process: what the shared one is measured by, and what a simulated fleet of routers shares."""

from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from router.ids import BlockKey, WorkerId
from router.shared.base import (
    IGNORED,
    Answer,
    Board,
    Change,
    Hold,
    Holder,
    Replica,
    Row,
    Share,
    Write,
    pack_rows,
    stamp_of,
)

_U32 = 1 << 32
_U16 = 1 << 16


class Shelf:
    """Who holds which block, and the board, for all routers at once; nothing is ever forgotten but silent routers."""

    def __init__(self, *, expiry_s: float = 3.0, now: Callable[[], float] = monotonic) -> None:
        self._blocks: dict[BlockKey, dict[Holder, int]] = {}
        self._rows: list[Row] = []
        self._numbers: dict[WorkerId, int] = {}
        self._shares: dict[Replica, dict[int, Share]] = {}
        self._seen: dict[Replica, float] = {}
        self._expiry_s = expiry_s
        self._now = now

    def runs(self, keys: Sequence[BlockKey], valid: bytes) -> dict[Holder, int]:
        """Leading keys that are held, by holder."""
        found: dict[Holder, int] = {}
        for place, key in enumerate(keys):
            held = [h for h in self._holders(key, valid) if found.get(h, 0) == place]
            if not held:
                break
            found.update(dict.fromkeys(held, place + 1))
        return found

    def _holders(self, key: BlockKey, valid: bytes) -> Iterator[Holder]:
        for holder, stamp in self._blocks.get(key, {}).items():
            now, window = stamp_of(valid, holder)
            age = (now - stamp) % _U16
            if (now, window) != IGNORED and (age <= window or age >= _U16 // 2):
                yield holder

    def write(self, write: Write) -> None:
        """Take it in."""
        for key in write.keys:
            holders = self._blocks.setdefault(key, {})
            if not isinstance(write, Hold):
                holders.pop(write.holder, None)
            elif (write.stamp - holders.get(write.holder, write.stamp)) % _U16 < _U16 // 2:
                holders[write.holder] = write.stamp
            if not holders:
                del self._blocks[key]

    def rows(self) -> bytes:
        """The board's, packed."""
        return pack_rows(self._rows or [Row()])

    def publish(self, replica: Replica, changes: Sequence[Change]) -> Board:
        """Put news on the board, and read it."""
        now = self._now()
        for silent in [r for r, at in self._seen.items() if now - at > self._expiry_s]:
            self._forget(silent)
        known = replica in self._seen
        self._seen[replica] = now
        for change in changes:
            self._share(replica, change)
        leaders = sum(each.leads for each in self._seen)
        return Board(b"memo", known, self.rows(), leaders, len(self._seen) - leaders, 0)

    def numbers(self, workers: Sequence[WorkerId]) -> list[int]:
        """The workers' numbers."""
        return [self._numbers.setdefault(worker, len(self._numbers)) for worker in workers]

    def _forget(self, replica: Replica) -> None:
        for number in [*self._shares.get(replica, {})]:
            self._share(replica, Change(number, Share()))
        self._shares.pop(replica, None)
        del self._seen[replica]

    def _share(self, replica: Replica, change: Change) -> None:
        self._rows += [Row()] * (change.number + 1 - len(self._rows))
        shares = self._shares.setdefault(replica, {})
        before, row = shares.get(change.number, Share()), self._rows[change.number]
        shares[change.number] = change.share
        row = row._replace(
            inflight=max(0, row.inflight + change.share.inflight - before.inflight),
            pending=max(0, row.pending + change.share.pending - before.pending),
            tokens=max(0, row.tokens + change.share.tokens - before.tokens),
            pending_ms=max(0, row.pending_ms + change.share.pending_ms - before.pending_ms),
            context=max(0, row.context + change.share.context - before.context),
            clock=(row.clock + change.sent) % _U32,
        )
        if change.told is not None:
            row = row._replace(**change.told._asdict(), told=1)
        self._rows[change.number] = row


class MemoryStore:
    """A `Shelf` as a `base.Store`."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.shelf = shelf or Shelf()

    async def look_up(
        self, epoch: bytes, questions: Sequence[Sequence[BlockKey]], valid: bytes, *, rows: bool
    ) -> Answer:
        """See `Store`."""
        del epoch
        found = [self.shelf.runs(keys, valid) for keys in questions]
        return Answer(found, self.shelf.rows() if rows else None)

    async def write(self, epoch: bytes, writes: Sequence[Write]) -> None:
        """See `Store`."""
        del epoch
        for write in writes:
            self.shelf.write(write)

    async def publish(
        self,
        replica: Replica,
        changes: Sequence[Change],
        *,
        epoch: bytes = b"",
        rows: bool = True,
    ) -> Board:
        """See `Store`."""
        del epoch, rows
        return self.shelf.publish(replica, changes)

    async def enrol(self, workers: Sequence[WorkerId]) -> list[int]:
        """See `Store`."""
        return self.shelf.numbers(workers)
