"""The router's own parts, put together for virtual time: what decides in a simulation is what is shipped."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from router.engines.base import WorkerReport
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.index.base import Index
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, EngineModel, Rates
from router.routing.options import QueueOptions
from router.routing.policies import Tools
from router.routing.policy import Admission
from router.routing.registry import admission
from router.simulate.merged import Merged
from router.telemetry.metrics import Histogram

MODEL = "model"


@dataclass(slots=True)
class Brain:
    """What a router knows and decides with."""

    fleet: Fleet
    workers: Sequence[Worker]
    index: Index
    rates: Rates
    cost: CostModel
    chooser: Chooser
    admission: Admission

    @property
    def union(self) -> UnionIndex | None:
        """The index, if it goes by events."""
        return self.index if isinstance(self.index, UnionIndex) else None

    @property
    def predicted(self) -> PredictedIndex | None:
        """The index, if it goes by predictions alone."""
        return self.index if isinstance(self.index, PredictedIndex) else None


@dataclass(frozen=True, slots=True)
class BrainOptions:
    """`knowledge`: what the index goes by, one of `both`, `events`, `predictions`, `none`. `cost_factor`: what the
    cost model's constants are off by.
    """

    policy: str = "prefix"
    knowledge: str = "both"
    cost_factor: float = 1.0
    queue: QueueOptions = field(default_factory=QueueOptions)
    engine: EngineModel = field(default_factory=EngineModel)
    seed: int = 1


def make_brain(count: int, kv_tokens: int, options: BrainOptions) -> Brain:
    """A router before `count` workers, all up."""
    fleet = Fleet(None, connect_s=1.0, idle_s=1.0)
    fleet.set_workers([f"http://worker-{number}:1" for number in range(count)])
    workers = tuple(fleet)
    for worker in workers:
        fleet.set_report(worker, WorkerReport({MODEL: {}}, kv_tokens=kv_tokens))
        fleet.mark_up(worker)
    index = _index(workers, kv_tokens, options.knowledge)
    rates = Rates()
    cost = CostModel(rates, _scaled(options.engine, options.cost_factor))
    chooser = Chooser(Merged(index), cost, Histogram((1.0,)))
    tools = Tools(cost, lambda request: request.session or None, options.seed)
    waiting = admission(options.policy, tools, chooser, fleet.candidates, options.queue)
    return Brain(fleet, workers, index, rates, cost, chooser, waiting)


def _index(workers: Sequence[Worker], kv_tokens: int, knowledge: str) -> Index:
    if knowledge == "predictions":
        memory = MemoryIndex(capacity_tokens=kv_tokens, max_blocks=100_000_000)
        predicted = PredictedIndex(memory, default_kv_tokens=kv_tokens)
        for worker in workers:
            predicted.state_cache(worker.id, kv_tokens, 1)
        return predicted
    return UnionIndex(expect=knowledge == "both")


def _scaled(engine: EngineModel, factor: float) -> EngineModel:
    return EngineModel(
        engine.token_s * factor,
        engine.attention_s * factor,
        engine.step_s * factor,
        engine.kv_s * factor,
    )
