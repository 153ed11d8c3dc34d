"""Which workers this router looks after for all others: follows their events, and tells what they say."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from math import ceil

from router.fleet.fleet import Fleet
from router.ids import WorkerId
from router.prompt.blocks import chain_seed
from router.shared.base import Registry, Replica, StoreError
from router.shared.board import BoardKeeper
from router.shared.bond import Bond

_TICK_S = 1.0
_FOLLOWERS_TICKS = 5
"""Routers that only follow look at the leases that rarely, while others lead."""

_ORPHANED = 5
"""Ticks after which anybody takes a worker that nobody has."""

_TIMEOUT_S = 1.0


class Leases:
    """Shares workers out between the routers that lead; to those that follow only if nobody leads. `on_change` is called
    with what was won and lost. While the store is away all stays as it is, until this router has to do without.
    """

    def __init__(
        self,
        registry: Registry,
        fleet: Fleet,
        board: BoardKeeper,
        bond: Bond,
        replica: Replica,
    ) -> None:
        self.mine: frozenset[WorkerId] = frozenset()
        self.on_change: Callable[[Iterable[WorkerId], Iterable[WorkerId]], None] = _ignore
        self._registry = registry
        self._fleet = fleet
        self._board = board
        self._bond = bond
        self._replica = replica
        self._free: dict[WorkerId, int] = {}
        self._offered: set[WorkerId] = set()
        self._peers = 0
        self._ticks = 0

    def owns(self, worker: WorkerId) -> bool:
        """The worker, or the server whose rank it is, is this router's."""
        return worker.partition("#")[0] in self.mine

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._bond.carry(self.tick, _TIMEOUT_S, "sharing the workers out")
            await asyncio.sleep(_TICK_S)

    async def tick(self) -> None:
        """Renew, take, give back. Raises `StoreError`."""
        workers = [worker.id for worker in self._fleet.processes()]
        if self._bond.alone:
            self._set(workers if self._replica.leads else self.mine & set(workers))
        if not self._bond.up or self._rests():
            return
        wanted, returned = self._plan(workers)
        holders = await self._registry.lease(self._replica, wanted, returned)
        self._free = {w: self._free.get(w, 0) + 1 for w in workers if w not in holders}
        self._set(w for w in workers if holders.get(w) == self._replica.name)

    async def close(self) -> None:
        """Give all back, so that others need not wait."""
        if self._bond.up and self.mine:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._registry.lease(self._replica, (), sorted(self.mine))
            except (StoreError, TimeoutError):
                return

    def _rests(self) -> bool:
        self._ticks += 1
        follows = not self._replica.leads and self._board.leaders > 0 and not self.mine
        return follows and self._ticks % _FOLLOWERS_TICKS != 0

    def _plan(self, workers: Sequence[WorkerId]) -> tuple[list[WorkerId], list[WorkerId]]:
        """Which to have, and which to give back: one at a time, as each has to be learned anew by somebody, and no more
        once one came back because nobody took it.
        """
        board, mine = self._board, [worker for worker in workers if worker in self.mine]
        gone = sorted(self.mine.difference(workers))
        peers = board.leaders if self._replica.leads else 0 if board.leaders else board.followers
        fair = ceil(len(workers) / max(1, peers)) if peers else 0
        if peers != self._peers:
            self._peers, self._offered = peers, set()
        if len(mine) > fair and self._offered.isdisjoint(mine):
            self._offered.add(mine[-1])
            return mine[:-1], [*gone, mine[-1]]
        orphans = [w for w in workers if self._free.get(w, 0) >= _ORPHANED]
        free = sorted((w for w in workers if w in self._free), key=self._order)
        return [*mine, *dict.fromkeys([*free[: max(0, fair - len(mine))], *orphans])], gone

    def _order(self, worker: WorkerId) -> int:
        """Another one for each router, so that they do not all ask for the same worker."""
        return chain_seed(worker.encode(), self._replica.name.encode())

    def _set(self, workers: Iterable[WorkerId]) -> None:
        before, self.mine = self.mine, frozenset(workers)
        won, lost = self.mine - before, before - self.mine
        if won or lost:
            self.on_change(won, lost)


def _ignore(won: Iterable[WorkerId], lost: Iterable[WorkerId]) -> None:
    del won, lost
