"""What this router shares with others, all of it together."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, NamedTuple

from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.identity import Identity
from router.shared.base import Registry, Replica, Store, Told
from router.shared.board import BoardKeeper
from router.shared.bond import Bond
from router.shared.facts import FactsKeeper
from router.shared.homes import SharedHomes
from router.shared.leases import Leases
from router.shared.lookup import SharedLookup
from router.shared.quotas import QuotaStore
from router.shared.teller import Teller
from router.shared.writer import Writer
from router.telemetry.metrics import Histogram
from router.telemetry.sharing import SharedSample

_U16 = 0xFFFF


class Ends(NamedTuple):
    """The store's sides, how it is, and how to take leave of it."""

    store: Store
    registry: Registry
    bond: Bond
    disconnect: Callable[[], Awaitable[None]]
    quotas: QuotaStore | None = None


class Shared:
    """Builds the parts and ties them together (`prompts.Others`). `kv_tokens`: how many a worker's cache holds;
    `seconds`: where questions' times are counted.
    """

    def __init__(
        self,
        ends: Ends,
        fleet: Fleet,
        replica: Replica,
        seconds: Histogram,
        *,
        deadline_s: float,
        kv_tokens: Callable[[Worker], int],
    ) -> None:
        store, registry, bond, self._disconnect, self.quotas = ends
        board = BoardKeeper(store, fleet, replica, bond, kv_tokens=kv_tokens)
        leases = Leases(registry, fleet, board, bond, replica)
        self.replica, self.bond, self.board, self.leases = replica, bond, board, leases
        self.writer = Writer(store, bond, lambda: board.epoch)
        self.facts = FactsKeeper(registry, fleet, board, leases, bond, takes_over=not replica.leads)
        self.teller = Teller(self.writer, board, leases, self.facts)
        self.homes = SharedHomes(registry, bond, deadline_s=deadline_s)
        self._lookup = SharedLookup(
            store, board, bond, deadline_s=deadline_s, own=leases.owns, seconds=seconds
        )
        self._fleet = fleet
        board.life, board.told, board.owns = self.facts.life, self._gauges, leases.owns
        board.on_epoch = self._emptied
        leases.on_change = self._shared_out
        self.writer.on_lost = self._lost

    def tasks(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What is to run in the background, by name."""
        yield "shared-board", self.board.run()
        yield "shared-writes", self.writer.run()
        yield "shared-leases", self.leases.run()
        yield "shared-facts", self.facts.run()
        yield "shared-blocks", self.teller.run()

    async def close(self) -> None:
        """Leave no work behind that others would wait for."""
        await self.leases.close()
        await self.homes.close()
        await self._disconnect()

    def keep(self) -> None:
        """To be called every so often."""
        self.bond.keep()

    def sample(self) -> SharedSample:
        """How it goes."""
        return SharedSample(
            up=self.bond.up,
            failures=self.bond.failures,
            written=self.writer.written,
            lost=self.writer.lost,
            waiting=len(self.writer),
            leaders=self.board.leaders,
            followers=self.board.followers,
            leased=len(self.leases.mine),
        )

    async def known(self, identity: Identity) -> Identity:
        """The prompt, with what others know of it. Never raises."""
        return await self._lookup.known(identity)

    async def home(self, response_id: str) -> WorkerId | None:
        """Who stores the response, as others know. Never raises."""
        return await self.homes.find(response_id)

    def owns(self, worker: Worker) -> bool:
        """The worker's events are this router's to follow."""
        return self.leases.owns(worker.id)

    def looks_after(self, worker: Worker) -> bool:
        """Whether this router should probe the worker itself: if it leads, it does so with all of them. One that only
        follows has no others to ask when the store is away; then it looks whether those are back that it thinks are
        down.
        """
        if self.replica.leads or self.leases.owns(worker.id):
            return True
        return self.bond.alone and not worker.up

    def lost_cache(self, worker: Worker) -> None:
        """The worker was started anew: what it was sent before does not count."""
        if self.leases.owns(worker.id):
            worker.load.spent += 2 * self.board.kv_tokens(worker)

    # ------------------------------------------------------------------------------------------

    def _gauges(self, worker: Worker) -> Told | None:
        """What the worker's metrics say, if that is for this router to tell."""
        load = worker.load
        if load.reported_running is None or not self.leases.owns(worker.id):
            return None
        usage = round(1000 * (load.kv_usage or 0.0))
        waiting = min(load.reported_waiting or 0, _U16)
        return Told(min(load.reported_running, _U16), waiting, usage)

    def _emptied(self) -> None:
        self.writer.forget()
        self.teller.forget_all()
        self.facts.forget_all()
        self.teller.begin_anew(self._own())

    def _shared_out(self, won: Iterable[WorkerId], lost: Iterable[WorkerId]) -> None:
        won, lost = frozenset(won), frozenset(lost)
        self.teller.give_up(w.id for w in self._fleet if w.process in lost)
        self.teller.begin_anew(w.id for w in self._fleet if w.process in won)

    def _lost(self) -> None:
        self.teller.begin_anew(self._own())

    def _own(self) -> list[WorkerId]:
        """The workers that this router looks after, each rank for itself."""
        return [worker.id for worker in self._fleet if self.leases.owns(worker.id)]
