"""Tells the store what this router learns of workers' caches: from their events, and from what it sends."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from time import perf_counter

from router.events.tier import BlockSink
from router.ids import BlockKey, WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.segments import by_place
from router.shared.base import GPU, KINDS, TEXT, Holder
from router.shared.board import BoardKeeper
from router.shared.facts import FactsKeeper
from router.shared.leases import Leases
from router.shared.writer import Writer

logger = logging.getLogger(__name__)

_STEP_S = 0.002
_IDLE_S = 0.1
"""Between two parts of what is told anew."""
_BACKLOG_BLOCKS = 50_000
"""While so many wait to be written, nothing is told anew."""
_RENEW_S = 600.0
_STAMPS_ALIKE = 4
_TOLD_AGAIN_S = 60.0
_MOST_TOLD = 100_000
"""What was told of text lately is remembered, so that the start that prompts share is not told with each of them."""

_DONE = object()


class Teller:
    """`block_of`: tokens in the blocks of a worker whose events somebody follows. Each worker is told anew every
    `renew_s`, which must be less than what blocks are remembered for.
    """

    def __init__(
        self,
        writer: Writer,
        board: BoardKeeper,
        leases: Leases,
        facts: FactsKeeper,
        *,
        renew_s: float = _RENEW_S,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        self.block_of: Callable[[WorkerId], int | None] = lambda _: None
        self._writer = writer
        self._board = board
        self._leases = leases
        self._facts = facts
        self._indexes: dict[int, UnionIndex] = {}
        self._walks: dict[WorkerId, Iterator[None]] = {}
        self._renewed_at: dict[WorkerId, float] = {}
        self._told: dict[tuple[Holder, BlockKey], tuple[int, float]] = {}
        self._renew_s = renew_s
        self._now = now

    def sink(self, kind: int, index: UnionIndex) -> BlockSink:
        """Passes on to `index` what events say, and tells it."""
        self._indexes[kind] = index
        return _Sink(self, self._leases.owns, kind, index)

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """A prompt is on its way to `worker`."""
        self._board.nudge()
        holder = self._holder(worker, TEXT)
        if holder is None:
            return
        stamp = self._board.stamp(worker)
        self._writer.hold(holder, stamp, self._news(holder, stamp, by_place(identity.text.keys)))
        if isinstance(identity, TokenIdentity) and self.block_of(worker) == identity.block:
            self.stored(worker, GPU, identity.keys[identity.elsewhere.get(worker, 0) :])

    def _news(self, holder: Holder, stamp: int, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """Those that were not told with about this stamp, or too long ago: a prompt begins as many others do."""
        told, now, news = self._told, self._now(), []
        for key in keys:
            before = told.get((holder, key))
            if (
                before is None
                or (stamp - before[0]) & 0xFFFF > _STAMPS_ALIKE
                or now - before[1] > _TOLD_AGAIN_S
            ):
                told[holder, key] = stamp, now
                news.append(key)
        while len(told) > _MOST_TOLD:
            del told[next(iter(told))]
        return news

    def forget_all(self) -> None:
        """The store was emptied."""
        self._told.clear()

    def give_up(self, workers: Iterable[WorkerId]) -> None:
        """They are another router's: what waits to be told of their tokens is not this one's to tell."""
        numbers = {self._board.numbers.get(worker) for worker in workers} - {None}
        kinds = range(TEXT + 1, KINDS)
        self._writer.forget({n * KINDS + kind for n in numbers if n is not None for kind in kinds})

    def stored(self, worker: WorkerId, kind: int, keys: Collection[BlockKey]) -> None:
        """The worker holds these blocks of tokens."""
        life, holder = self._facts.next_life(worker), self._holder(worker, kind)
        if life and holder is not None:
            self._writer.hold(holder, life & 0xFFFF, list(keys))

    def removed(self, worker: WorkerId, kind: int, keys: Collection[BlockKey]) -> None:
        """The worker does not."""
        holder = self._holder(worker, kind)
        if holder is not None:
            self._writer.drop(holder, list(keys))

    def begin_anew(self, workers: Iterable[WorkerId]) -> None:
        """Tell all that is known of them once more; when that is done what was told before does not count."""
        for worker in workers:
            self._facts.begin_anew(worker)
            self._walks[worker] = self._walk(worker)
            self._renewed_at[worker] = self._now()

    async def run(self) -> None:
        """Do so, a part at a time, for ever; now and then with every worker, so that no mistake lasts."""
        while True:
            await asyncio.sleep(_STEP_S if self._walks else _IDLE_S)
            try:
                self.step()
            except Exception:  # nothing here is worth stopping the router for
                logger.exception("telling other routers anew failed")

    def step(self) -> None:
        """Tell a part of what is to be told anew."""
        if not self._walks:
            self._renew()
        elif len(self._writer) < _BACKLOG_BLOCKS:
            worker, walk = next(iter(self._walks.items()))
            if next(walk, _DONE) is _DONE:
                del self._walks[worker]
                self._facts.anew(worker)

    def _renew(self) -> None:
        """Whose turn it is."""
        now = self._now()
        self._renewed_at = {
            worker: at for worker, at in self._renewed_at.items() if self._leases.owns(worker)
        }
        for worker, at in self._renewed_at.items():
            if now - at > self._renew_s:
                self.begin_anew([worker])
                return

    def _walk(self, worker: WorkerId) -> Iterator[None]:
        for kind, index in self._indexes.items():
            for keys in index.walk(worker):
                if not self._leases.owns(worker):
                    return
                self.stored(worker, kind, keys)
                yield

    def _holder(self, worker: WorkerId, kind: int) -> Holder | None:
        number = self._board.numbers.get(worker)
        return None if number is None else number * KINDS + kind


class _Sink:
    """See `Teller.sink`. What is heard of a worker that is another router's is for that one to tell."""

    def __init__(
        self, teller: Teller, owns: Callable[[WorkerId], bool], kind: int, index: UnionIndex
    ) -> None:
        self._teller = teller
        self._owns = owns
        self._kind = kind
        self._index = index

    def stored(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        self._index.stored(worker, keys)
        if self._owns(worker):
            self._teller.stored(worker, self._kind, keys)

    def removed(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        self._index.removed(worker, keys)
        if self._owns(worker):
            self._teller.removed(worker, self._kind, keys)
