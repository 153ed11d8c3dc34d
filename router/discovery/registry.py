"""All that find workers, together: the fleet is always what they all know of, but for what an operator said."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from router.discovery.base import Source
from router.fleet.target import Target
from router.fleet.worker import worker_id
from router.ids import WorkerId
from router.upstream.pool import Address

logger = logging.getLogger(__name__)

CONFIGURED = "configuration"
"""The source of workers that are set."""
OPERATOR = "operator"
"""The source of workers that were added while the router runs."""
UNWANTED = "-"
"""The order for a worker that was removed."""
FORGET_S = 60.0


class SourceState(NamedTuple):
    """How a source does: how many workers it knows of, and what keeps it from knowing."""

    name: str
    workers: int
    problem: str | None


class Discovery:
    """Has `changed` told of the complete set whenever a source knows another one. What a source told last stands until it
    tells again or is taken away; of two that know the same worker the first counts; it is drained, or leaves, if one says so.
    """

    def __init__(self, changed: Callable[[Sequence[Target]], None]) -> None:
        self.orders: dict[WorkerId, str] = {}
        """What an operator said: the URL of a worker that is wanted, or `UNWANTED`."""
        self.drains: set[WorkerId] = set()
        """Workers that an operator wants to be given no more requests."""
        self.on_drain: Callable[[WorkerId, bool], None] = _ignore
        """Told when an operator says it here, whether or not that is news."""
        self.on_order: Callable[[WorkerId, str], None] = _ignore
        """The same for `add` and `remove`."""
        self.on_forget: Callable[[WorkerId], None] = _ignore
        self._changed = changed
        self._sources: tuple[Source, ...] = ()
        self._told: dict[str, Sequence[Target]] = {CONFIGURED: ()}
        self._before: dict[tuple[str, WorkerId], Target] = {}
        self._known: dict[WorkerId, str] = {}
        self._found: set[WorkerId] = set()
        self._missing: dict[WorkerId, float] = {}
        self._seen: dict[WorkerId, float] = {}
        self._again = asyncio.Event()

    # -- where workers are found ---------------------------------------------------------------

    def set_sources(self, configured: Iterable[Target], sources: Sequence[Source]) -> None:
        """From now on these. What one of the same name told before stands until it tells anew, and what others told until
        all have, however long that takes: workers may have moved from one to the other, and a failure takes none away.
        """
        self._sources = tuple(sources)
        names = {source.name for source in sources}
        self._before |= {
            (name, _id(target)): target for name, told in self._told.items() for target in told
        }
        self._told = {CONFIGURED: tuple(configured)} | {
            name: told for name, told in self._told.items() if name in names
        }
        self._again.set()
        self._tell()
        self._say_who_stays()

    def keep(self, now: float) -> None:
        """To be called every so often. What was said of a worker is forgotten (`on_forget`) once nobody has known it for
        `FORGET_S`: whoever is at its address then is another one.
        """
        self._seen = {w: at for w, at in self._seen.items() if now - at < FORGET_S}
        self._seen |= dict.fromkeys(self._found, now)
        said = {worker for worker, order in self.orders.items() if order == UNWANTED} | self.drains
        missing = said - self._found
        self._missing = {worker: self._missing.get(worker, now) for worker in missing}
        for worker in [each for each, since in self._missing.items() if now - since >= FORGET_S]:
            self.orders.pop(worker, None)
            self.drains.discard(worker)
            self.on_forget(worker)

    async def run(self) -> None:
        """Have all sources look for ever."""
        while True:
            self._again.clear()
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(source.run(partial(self._hear, source)), name=source.name)
                    for source in self._sources
                ]
                await self._again.wait()
                for task in running:
                    task.cancel()

    def remembers(self, worker: WorkerId) -> bool:
        """Somebody knows the worker, wanted or not, or did within `FORGET_S`."""
        return worker in self._found or worker in self._seen

    @property
    def heard(self) -> bool:
        """Every source has told what it knows, or why it cannot."""
        return all(each.name in self._told or each.problem for each in self._sources)

    def states(self) -> Iterator[SourceState]:
        """Every source that looks."""
        for source in self._sources:
            yield SourceState(source.name, len(self._told.get(source.name, ())), source.problem)

    def source_of(self, worker: WorkerId) -> str:
        """Who knows of the worker; of a rank its server counts."""
        return self._known.get(WorkerId(worker.partition("#")[0]), "")

    # -- what an operator says -----------------------------------------------------------------

    def add(self, url: str) -> WorkerId:
        """The worker is wanted until it is removed, whoever else knows of it. Raises ValueError: that is no URL of one."""
        worker = worker_id(Address.parse(url))
        self.order(worker, url)
        self.on_order(worker, url)
        return worker

    def remove(self, worker: WorkerId) -> bool:
        """The worker is not wanted until it is added, or long forgotten by all that know of it; False: it is not there."""
        if worker not in self._known:
            return False
        self.order(worker, UNWANTED)
        self.on_order(worker, UNWANTED)
        return True

    def drain(self, worker: WorkerId, *, drained: bool) -> None:
        """The worker is to be given no more requests, or some again."""
        self.order_drain(worker, drained=drained)
        self.on_drain(worker, drained)

    def drained_by(self, worker: WorkerId) -> list[str]:
        """Who wants the worker to be given no requests."""
        found = {name for name, each, target in self._all() if each == worker and target.drained}
        return sorted(found | ({OPERATOR} if worker in self.drains else set()))

    # -- what an operator said elsewhere -------------------------------------------------------

    def order_drain(self, worker: WorkerId, *, drained: bool) -> None:
        """As `drain`; nobody is told."""
        if drained:
            self.drains.add(worker)
        else:
            self.drains.discard(worker)
        self._tell()

    def order(self, worker: WorkerId, order: str) -> None:
        """The worker at this URL is wanted, or none (`UNWANTED`); an empty order takes back what was said before."""
        if order:
            self.orders[worker] = order
        else:
            self.orders.pop(worker, None)
        self._tell()

    # ------------------------------------------------------------------------------------------

    def _hear(self, source: Source, targets: Sequence[Target]) -> None:
        if source not in self._sources or self._told.get(source.name) == targets:
            return
        logger.info("%s: %d workers", source.name, len(targets))
        self._told[source.name] = targets
        try:
            self._tell()
        except Exception:  # the router is worth more than one change
            logger.exception("what %s says could not be taken in", source.name)

    @property
    def _untold(self) -> list[str]:
        return [source.name for source in self._sources if source.name not in self._told]

    def _say_who_stays(self) -> None:
        told = {_id(target) for targets in self._told.values() for target in targets}
        if stay := {worker for _, worker in self._before} - told:
            places = ", ".join(self._untold)
            logger.info("%d workers of before stay until this has told: %s", len(stay), places)

    def _all(self) -> Iterator[tuple[str, WorkerId, Target]]:
        for name in (CONFIGURED, *(source.name for source in self._sources)):
            for target in self._told.get(name, ()):
                yield name, _id(target), target
        for (name, worker), target in self._before.items():
            yield name, worker, target
        for worker, order in self.orders.items():
            if order != UNWANTED:
                yield OPERATOR, worker, Target(url=order)

    def _tell(self) -> None:
        """Unite what all say, and pass it on."""
        united: dict[WorkerId, Target] = {}
        if not self._untold:
            self._before.clear()
        self._known, self._found = {}, set()
        for name, worker, target in self._all():
            self._found.add(worker)
            if self.orders.get(worker) == UNWANTED:
                continue
            before = united.setdefault(worker, target)
            self._known.setdefault(worker, name)
            drained, leaving = target.drained or before.drained, target.leaving or before.leaving
            if (drained, leaving) != (before.drained, before.leaving):
                united[worker] = replace(before, drained=drained, leaving=leaving)
        for worker in self.drains & united.keys():
            united[worker] = replace(united[worker], drained=True)
        self._changed(list(united.values()))


def _ignore(worker: WorkerId, said: object = None) -> None:
    del worker, said


def _id(target: Target) -> WorkerId:
    return worker_id(Address.parse(target.url))
