"""Takes writes to the store off the path of requests: they are gathered, and sent a batch at a time."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container, Sequence

from router.ids import BlockKey
from router.shared.base import Drop, Hold, Holder, Store, StoreError, Write, as_store_error
from router.shared.bond import Bond

logger = logging.getLogger(__name__)

_BATCH_BLOCKS = 2048
_LIMIT_BLOCKS = 500_000
"""What may wait while the store is away; beyond that the oldest is lost."""

_TIMEOUT_S = 2.0
_PAUSE_S = (0.1, 2.0)


class Writer:
    """`epoch` is that of the store now. Writes arrive in the order in which they are given. `on_lost` is called when the
    store takes writes in again after some were lost: what it was told before may be wrong. `lost`: how many blocks.
    """

    def __init__(
        self,
        store: Store,
        bond: Bond,
        epoch: Callable[[], bytes],
        *,
        limit_blocks: int = _LIMIT_BLOCKS,
    ) -> None:
        self.lost = 0
        self.written = 0
        self.on_lost: Callable[[], None] = _nothing
        self._store = store
        self._bond = bond
        self._epoch = epoch
        self._limit_blocks = limit_blocks
        self._waiting: deque[Write] = deque()
        self._blocks = 0
        self._work = asyncio.Event()
        self._pause_s = _PAUSE_S[0]
        self._losing = False

    def __len__(self) -> int:
        """How many blocks wait."""
        return self._blocks

    def hold(self, holder: Holder, stamp: int, keys: Sequence[BlockKey]) -> None:
        """A holder has these blocks."""
        self._add(Hold(holder, stamp, keys))

    def drop(self, holder: Holder, keys: Sequence[BlockKey]) -> None:
        """A holder has these blocks no more."""
        self._add(Drop(holder, keys))

    def forget(self, holders: Container[Holder] | None = None) -> None:
        """What waits is of the past: that of these holders, or all, as the store is another one."""
        kept = [w for w in self._waiting if holders is not None and w.holder not in holders]
        self._waiting = deque(kept)
        self._blocks = sum(len(write.keys) for write in kept)

    async def run(self) -> None:
        """Send what comes, for ever."""
        while True:
            await self._work.wait()
            if not self._waiting:
                self._work.clear()
            elif not await self._flush():
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, _PAUSE_S[1])

    def _add(self, write: Write) -> None:
        if not write.keys:
            return
        self._waiting.append(write)
        self._blocks += len(write.keys)
        if self._blocks > self._limit_blocks:
            self._lose(self._blocks - self._limit_blocks // 2)
        self._work.set()

    async def _flush(self) -> bool:
        """Send some; False: that failed."""
        epoch, batch = self._epoch(), self._batch()
        if not epoch:
            return False
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._store.write(epoch, batch)
        except (StoreError, TimeoutError) as error:
            self._bond.failed(as_store_error(error))
            return False
        except Exception:  # nothing here is worth stopping the router for, or trying again
            logger.exception("writing to the shared store failed")
            self._lose(sum(len(write.keys) for write in batch))
            return False
        self._pause_s = _PAUSE_S[0]
        if epoch == self._epoch():
            self._done(batch)
        if self._losing:
            self._losing = False
            self.on_lost()
        return True

    def _batch(self) -> list[Write]:
        batch, blocks = [], 0
        for write in self._waiting:
            batch.append(write)
            blocks += len(write.keys)
            if blocks >= _BATCH_BLOCKS:
                break
        return batch

    def _done(self, batch: Sequence[Write]) -> None:
        """What was added or lost meanwhile is none of this."""
        for write in batch:
            if self._waiting and self._waiting[0] is write:
                self._waiting.popleft()
                self._blocks -= len(write.keys)
                self.written += len(write.keys)

    def _lose(self, blocks: int) -> None:
        while self._waiting and blocks > 0:
            lost = len(self._waiting.popleft().keys)
            blocks -= lost
            self._blocks -= lost
            self.lost += lost
        self._losing = True


def _nothing() -> None:
    pass
