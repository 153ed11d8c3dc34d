"""This router's part of the board: says what it has under way, and gives its workers' loads what others have."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import perf_counter

from router.engines.base import Gauges
from router.fleet.fleet import Fleet
from router.fleet.load import Part
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.shared import stamps
from router.shared.base import (
    ROW_BYTES,
    Change,
    Replica,
    Row,
    Share,
    Store,
    Told,
    row_at,
)
from router.shared.bond import Bond
from router.shared.shares import Shares

TICK_S = 0.05
_HEARTBEAT_S = 0.5
_GAP_S = 0.005
_CROWD = 40
"""So many routers are heard of as often as that."""

FRESH_S, FRESH_PER_WORKER_S = 0.02, 20e-6
"""A board as old as that is read again with the next question."""

_VALIDATE_S = 0.1
"""Stamps move slowly, and who is late with them only takes a little more for valid."""

_FORGET_S = 3.0
"""What others have under way is forgotten when they could not be heard of for so long."""

_ENROL_S = 60.0
_AFTER_FAILURE_S = 0.25
_TIMEOUT_S = 2.0

_NO_SHARE = Share()
_U32 = (1 << 32) - 1


class BoardKeeper:
    """Publishes every `TICK_S` where something has changed, and soon after each `nudge`. `kv_tokens`: how many a worker's cache holds; `life`: which
    blocks of its tokens count. `on_epoch`: the store was emptied, or is another one.
    """

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        replica: Replica,
        bond: Bond,
        *,
        kv_tokens: Callable[[Worker], int],
    ) -> None:
        self.epoch = b""
        self.valid = b""
        """Stamps and windows, for `Store.look_up`."""
        self.numbers: dict[WorkerId, int] = {}
        self.names: dict[int, WorkerId] = {}
        self.leaders = self.followers = self.facts = 0
        self.life: Callable[[WorkerId], int] = lambda _: 0
        self.on_epoch: Callable[[], None] = _nothing
        self.told: Callable[[Worker], Told | None] = lambda _: None
        """What the worker's metrics say, if that is for this router to tell."""
        self.owns: Callable[[WorkerId], bool] = lambda _: False
        """Workers whose metrics this router reads itself, although it only follows."""
        self.shares = Shares()
        self._store = store
        self._fleet = fleet
        self._replica = replica
        self._bond = bond
        self.kv_tokens = kv_tokens
        self._news = asyncio.Event()
        self._enrolled: frozenset[WorkerId] = frozenset()
        self._gauges: dict[WorkerId, Told] = {}
        self._shares: dict[WorkerId, Share] = {}
        self._spent: dict[WorkerId, int] = {}
        self._rows = b""
        self._all_is_news = True
        self._epoch_is_news = False
        self._forgotten = True
        self._read_at = self._published_at = self._enrolled_at = self._validated_at = -_ENROL_S

    async def run(self) -> None:
        """Keep the board, for ever."""
        while True:
            pace = self.pace
            pause_s = TICK_S * pace
            if not await self._bond.carry(self.tick, _TIMEOUT_S, "keeping the shared board"):
                pause_s += _AFTER_FAILURE_S
            self._forget_the_past()
            await self._pause(pause_s, _GAP_S * pace)

    @property
    def pace(self) -> float:
        """How much slower than alone it goes, where many share the board."""
        return max(1.0, (self.leaders + self.followers) / _CROWD)

    async def _pause(self, pause_s: float, gap_s: float) -> None:
        """Until it is time again, or there is news, but that not at once."""
        await asyncio.sleep(gap_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s - gap_s):
                await self._news.wait()
        self._news.clear()

    def nudge(self) -> None:
        """A request was sent: others that see it late send theirs to the same worker."""
        if self._bond.up:
            self._news.set()

    async def tick(self) -> None:
        """Publish what is new; now and then, that this router is there. Raises `StoreError`."""
        now = perf_counter()
        changes = self._changes(now)
        if changes or now - self._published_at >= _HEARTBEAT_S or not self._bond.up:
            await self._publish(changes)
        missing = any(worker.id not in self._enrolled for worker in self._fleet)
        if missing or self._epoch_is_news or now - self._enrolled_at >= _ENROL_S:
            await self._enrol()

    def asks_rows(self) -> bool:
        """The board that this router knows is old; a large one is not read each time."""
        fresh_s = min(FRESH_S, FRESH_PER_WORKER_S * len(self.numbers))
        return perf_counter() - self._read_at > fresh_s

    def read(self, rows: bytes) -> None:
        """Take in the board's rows."""
        now = self._read_at = perf_counter()
        if (
            now - self._published_at > _FORGET_S
        ):  # nor can others publish: what it says is of the past
            return
        before, self._rows = self._rows, rows
        for worker in self._fleet:
            number = self.numbers.get(worker.id)
            if number is None:
                continue
            part = slice(number * ROW_BYTES, (number + 1) * ROW_BYTES)
            if self._all_is_news or rows[part] != before[part] or worker.id in self._shares:
                self._take_in(worker, row_at(rows, number), now)
        self._all_is_news = False
        if now - self._validated_at >= _VALIDATE_S:
            self._validate()

    def row(self, worker: WorkerId) -> Row:
        """What the board last said of the worker."""
        number = self.numbers.get(worker)
        return Row() if number is None else row_at(self._rows, number)

    def stamp(self, worker: WorkerId) -> int:
        """The stamp of blocks of text that the worker is sent now."""
        return stamps.of_clock(self.row(worker).clock)

    # ------------------------------------------------------------------------------------------

    def _changes(self, now: float) -> dict[WorkerId, Change]:
        changes = {}
        for worker in self._fleet:
            number, load = self.numbers.get(worker.id), worker.load
            if number is None:
                continue
            share = _share(load.part(now)) if load.own else _NO_SHARE
            if load.spent < self._spent.get(worker.id, 0):  # it left and came back
                self._spent[worker.id] = 0
            sent = load.spent - self._spent.get(worker.id, 0)
            told = self.told(worker)
            if told == self._gauges.get(worker.id):
                told = None
            if share != self._shares.get(worker.id, _NO_SHARE) or sent or told:
                changes[worker.id] = Change(number, share, min(sent, _U32), told)
        for gone, share in self._shares.items():
            if share != _NO_SHARE and self._fleet.get(gone) is None and gone in self.numbers:
                changes[gone] = Change(self.numbers[gone], _NO_SHARE)
        return changes

    async def _publish(self, changes: Mapping[WorkerId, Change]) -> None:
        news = list(changes.values())
        rows = self._forgotten or perf_counter() - self._read_at > TICK_S / 2
        board = await self._store.publish(self._replica, news, epoch=self.epoch, rows=rows)
        self._published_at, self._forgotten = perf_counter(), False
        self.leaders, self.followers, self.facts = board.leaders, board.followers, board.facts
        if board.epoch == self.epoch:
            self._told(changes, forgotten=not board.known)
            if board.rows:
                self.read(board.rows)
        else:  # of the changes nothing was taken in
            self.epoch, self._epoch_is_news = board.epoch, True
            self.numbers, self.names, self._shares, self._gauges = {}, {}, {}, {}
            await self._enrol()
        self._bond.worked()

    def _told(self, changes: Mapping[WorkerId, Change], *, forgotten: bool) -> None:
        """The board has these now; `forgotten`: and nothing else of this router's."""
        shares = {} if forgotten else self._shares
        self._shares = shares | {worker: change.share for worker, change in changes.items()}
        for worker, change in changes.items():
            self._spent[worker] = self._spent.get(worker, 0) + change.sent
            if change.told is not None:
                self._gauges[worker] = change.told

    async def _enrol(self) -> None:
        workers = [worker.id for worker in self._fleet]
        numbers = await self._store.enrol(workers)
        self.numbers = {w: n for w, n in zip(workers, numbers, strict=True) if n >= 0}
        self.names = {n: w for w, n in self.numbers.items()}
        self._enrolled = frozenset(workers)
        self._enrolled_at = perf_counter()
        for worker in self._spent.keys() - self.numbers.keys():
            del self._spent[worker]
        self._all_is_news = True
        self._validate()
        if self._epoch_is_news:
            self._epoch_is_news = False
            self.on_epoch()

    def _take_in(self, worker: Worker, row: Row, now: float) -> None:
        mine = self._shares.get(worker.id, _NO_SHARE)
        a, b, c, d, e = (max(0, sum_ - own) for sum_, own in zip(row, mine, strict=False))
        worker.load.share(Part(a, b, c, d / 1000, e), now)
        self.shares.observe(worker.id, self._spent.get(worker.id, 0), row.clock)
        if row.told and not self._probes(worker.id):
            gauges = Gauges(row.running, row.waiting, row.kv_permille / 1000)
            worker.load.report(gauges, worker.load.counts(), now)

    def _probes(self, worker: WorkerId) -> bool:
        """This router reads the worker's metrics itself."""
        return self._replica.leads or self.owns(worker)

    def _validate(self) -> None:
        self._validated_at = perf_counter()
        self.valid = stamps.packed(
            {
                self.numbers[w.id]: stamps.of_worker(
                    self.row(w.id).clock, self.kv_tokens(w), self.life(w.id)
                )
                for w in self._fleet
                if w.id in self.numbers
            }
        )

    def _forget_the_past(self) -> None:
        now = perf_counter()
        if not self._forgotten and now - self._published_at > _FORGET_S:
            self._forgotten = self._all_is_news = True
            self.shares.forget()
            for worker in self._fleet:
                worker.load.share(Part(), now)
                if not self._probes(worker.id):
                    worker.load.forget_report(now)


def _share(part: Part) -> Share:
    return Share(
        part.inflight,
        part.pending,
        min(round(part.tokens), _U32),
        min(round(part.seconds * 1000), _U32),
        min(round(part.context), _U32),
    )


def _nothing() -> None:
    pass
