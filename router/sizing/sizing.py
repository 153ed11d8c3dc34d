"""All figures of one question (pure)."""

from dataclasses import dataclass, replace

from router.sizing.fleet import Load, capacity, load, needed
from router.sizing.layers import Mixer
from router.sizing.model import Model
from router.sizing.plan import Hardware, Plan, plan
from router.sizing.tiers import Disaggregation, Tier, disaggregation, tier
from router.sizing.worker import Worker
from router.sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class Around:
    """What is around the GPUs."""

    cpu_gib: float
    """Memory for a cache tier, over all workers."""
    network_gbit: float
    """Per GPU."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A rate under two ways to route. `None`: no number of workers is enough."""

    by_prefix: Load | None
    round_robin: Load | None
    capacity: float
    """Requests/s of the workers that there are, routed by prefix."""
    capacity_round_robin: float


@dataclass(frozen=True, slots=True)
class Sizing:
    """The answer. Without a fitting worker there is no `fleet`, `tier` and `disaggregation`."""

    model: Model
    hardware: Hardware
    wanted: Workload
    plan: Plan
    fleet: Fleet | None
    tier: Tier | None
    disaggregation: Disaggregation | None

    @property
    def worker(self) -> Worker:
        """The chosen one."""
        return self.plan.chosen


def answer(
    model: Model, hardware: Hardware, wanted: Workload, around: Around, tp: int | None
) -> Sizing:
    """Answer. Raises ValueError where the model cannot be cut into `tp`."""
    if model.count(Mixer.ENCODER):  # one step per prompt, of which nothing is kept
        wanted = replace(wanted, output=0, shared=0.0)
    made = plan(model, hardware, wanted, tp)
    if not made.fits:
        return Sizing(model, hardware, wanted, made, None, None, None)
    fleet, worker = _fleet(made.chosen), made.chosen
    now = fleet.by_prefix or load(worker, worker.workers, fleet.capacity, by_prefix=True)
    return Sizing(
        model,
        hardware,
        wanted,
        made,
        fleet,
        tier(worker, around.cpu_gib),
        disaggregation(worker, now, around.network_gbit),
    )


def _fleet(worker: Worker) -> Fleet:
    rate = worker.wanted.rate
    return Fleet(
        by_prefix=needed(worker, rate, by_prefix=True) if rate else None,
        round_robin=needed(worker, rate, by_prefix=False) if rate else None,
        capacity=capacity(worker, worker.workers, by_prefix=True),
        capacity_round_robin=capacity(worker, worker.workers, by_prefix=False),
    )
