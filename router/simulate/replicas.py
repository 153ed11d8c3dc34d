"""Several routers before one simulated fleet: each knows what it sent itself, and what the others tell."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from random import Random

import msgspec

from router.engines.base import Gauges
from router.prompt.identity import Identity
from router.shared.board import TICK_S
from router.shared.shares import Shares
from router.simulate.blocks import Blocks
from router.simulate.brain import Brain, BrainOptions, make_brain
from router.simulate.engine import Engine
from router.simulate.loads import Loads, Schedule
from router.simulate.run_options import RunOptions

_SEEDS = 1_000_003
"""Between the seeds of two routers, so that those of two runs do not meet."""


class Replicas:
    """Routers by number, `brains`, and what goes to and fro between them. One alone is as if there were none of this."""

    def __init__(self, options: RunOptions, brain: BrainOptions, schedule: Schedule) -> None:
        kv_tokens = options.hardware.kv_tokens
        self.brains: list[Brain] = [
            make_brain(
                options.workers, kv_tokens, replace(brain, seed=brain.seed + number * _SEEDS)
            )
            for number in range(options.routers)
        ]
        self.settle_s = 2 * TICK_S + options.sharing_s
        """So long after the last answer all of them have heard of it."""
        self._random = Random(brain.seed)  # noqa: S311 - which router a client finds
        self._loads: Loads | None = None
        self._blocks: Blocks | None = None
        if self.several and options.sharing == "all":
            loads = [[worker.load for worker in each.workers] for each in self.brains]
            self._loads = Loads(loads, options.sharing_s, schedule)
            if self.brains[0].predicted is not None:
                self._bound_predictions(self._loads)
            self._blocks = Blocks(
                [worker.id for worker in self.brains[0].workers],
                kv_tokens,
                brain.knowledge,
                self._loads.clocks,
                options.sharing_s,
                schedule,
            )

    @property
    def several(self) -> bool:
        """There are others to hear of."""
        return len(self.brains) > 1

    def pick(self) -> int:
        """Whom the next request goes to, by lot: as with one connection per request, and a balancer that knows nothing."""
        return self._random.randrange(len(self.brains)) if self.several else 0

    # -- requests ------------------------------------------------------------------------------

    def known(self, router: int, identity: Identity, now: float) -> Identity:
        """The prompt, with what others know of it, and their loads as they are known now."""
        if self._loads is None or self._blocks is None:
            return identity
        self._loads.refresh(router, now)
        found = self._blocks.runs(identity.keys, now, own=lambda w: self._owner(w) == router)
        return msgspec.structs.replace(identity, elsewhere=found)

    def sent(self, router: int, worker: int, identity: Identity, now: float) -> None:
        """A prompt is on its way to the worker."""
        brain = self.brains[router]
        brain.index.sent(brain.workers[worker].id, identity)
        if self._blocks is not None:
            self._blocks.sent(worker, identity.keys, now)
        if self._loads is not None:
            self._loads.publish(router, now)

    # -- time ----------------------------------------------------------------------------------

    def looks(self, now: float, looking: Collection[int]) -> Iterator[tuple[float, int]]:
        """When each of several routers is to `look` first, but for those that do: not all at once."""
        count = len(self.brains)
        if count > 1 and len(looking) < count:
            for number in range(count):
                if number not in looking:
                    yield now + TICK_S * (number + 1) / count, number

    def look(self, router: int, now: float) -> float:
        """Tell what is new, read what is new, and see who can be sent now; returns when to do so again."""
        if self._loads is not None:
            self._loads.publish(router, now)
            self._loads.read(router, now)
        self.brains[router].admission.drain(now)
        return now + TICK_S

    def pass_time(self, elapsed_s: float, now: float) -> None:
        """Something may have changed on workers."""
        for brain in self.brains:
            brain.rates.relax(elapsed_s)
            brain.admission.drain(now)

    # -- what workers say ----------------------------------------------------------------------

    def measured(self, worker: int, engine: Engine, now: float) -> None:
        """The worker's metrics were read, by every router."""
        if self.several:
            gauges = Gauges(engine.running, engine.waiting, engine.kv_usage)
            for brain in self.brains:
                load = brain.workers[worker].load
                load.report(gauges, load.counts(), now)
            return
        load = self.brains[0].workers[worker].load  # nobody else sends anything
        load.kv_usage = engine.kv_usage
        load.reported_waiting = engine.waiting
        load.reported_running = engine.running

    def told(self, worker: int, changes: Sequence[tuple[float, int, bool]], now: float) -> None:
        """The worker's events came: to the router that follows them and tells the others, or to each."""
        name = self.brains[0].workers[worker].id
        hearers = self.brains if self._blocks is None else [self.brains[self._owner(worker)]]
        for stored, some in groupby(changes, itemgetter(2)):
            keys = [block for _, block, _ in some]
            for brain in hearers:
                assert brain.union is not None
                (brain.union.stored if stored else brain.union.removed)(name, keys)
            if self._blocks is not None:
                self._blocks.told(worker, keys, now, stored=stored)

    def fell(self, worker: int) -> None:
        """The worker is down, and what it held is lost."""
        for brain in self.brains:
            brain.fleet.mark_down(brain.workers[worker], "outage")
            brain.index.clear(brain.workers[worker].id)
        if self._blocks is not None:
            self._blocks.lost(worker)

    def rose(self, worker: int, now: float) -> None:
        """It is up again."""
        for brain in self.brains:
            brain.fleet.mark_up(brain.workers[worker])
        for brain in self.brains:
            brain.admission.drain(now)

    def _bound_predictions(self, loads: Loads) -> None:
        """No router counts on more of a cache than its share of what the worker is sent."""
        shares = [Shares() for _ in self.brains]
        names = [worker.id for worker in self.brains[0].workers]
        for brain, each in zip(self.brains, shares, strict=True):
            assert brain.predicted is not None
            each.on_share = brain.predicted.set_share

        def read(router: int, worker: int, spent: int) -> None:
            shares[router].observe(names[worker], spent, loads.clocks[worker])

        loads.on_read = read

    def _owner(self, worker: int) -> int:
        """The router that looks after the worker."""
        return worker % len(self.brains)
