"""What a run depends on beside the workload and the router's brain."""

from dataclasses import dataclass, field
from math import inf

from router.simulate.hardware import Hardware


@dataclass(frozen=True, slots=True)
class Outage:
    """Worker number `worker` is down from `start_s` to `end_s`, and starts with nothing."""

    worker: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`speed`: how much faster sessions arrive than the workload says. `metrics_s`, `events_s`: how old what the
    router knows of the workers' state and caches is at least. `speeds`: of single workers, by number. `patience_s`:
    the run ends early once the times to first token add up to more. `routers`: how many there are before the fleet;
    `sharing`: what they share, `all` or `nothing`; `sharing_s`: after which time one sees what another tells.
    """

    hardware: Hardware
    workers: int
    speed: float = 1.0
    load: float = 0.0
    metrics_s: float = 0.05
    events_s: float = 0.05
    speeds: dict[int, float] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    patience_s: float = inf
    routers: int = 1
    sharing: str = "all"
    sharing_s: float = 0.005
