"""What one run is made of, and carrying it out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from router.routing.options import QueueOptions
from router.simulate.brain import BrainOptions
from router.simulate.hardware import Hardware
from router.simulate.records import Result
from router.simulate.run import LARGEST, Run
from router.simulate.run_options import Outage, RunOptions
from router.simulate.workload import Workload

KNOWLEDGE = {
    "both": "index by KV events and predictions",
    "events": "index by KV events only",
    "predictions": "index by predictions only",
    "none": "no index",
}
"""What the index can go by, in words."""
SHARING = {
    "all": "share what they know",
    "nothing": "share nothing",
}
"""What several routers tell each other, in words."""
METRICS_S = 0.05
_NO_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run depends on beside the workload, the policy and the speed.

    `knowledge` and `metrics_s` are those of `BrainOptions` and `RunOptions`; `slow` has the speeds of workers that
    are not as fast as the hardware says, by number from 0. `routers`, `sharing` and `sharing_s` are those of
    `RunOptions`.
    """

    hardware: Hardware
    workers: int
    seed: int = 1
    knowledge: str = "both"
    metrics_s: float = METRICS_S
    slow: Mapping[int, float] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    routers: int = 1
    sharing: str = "all"
    sharing_s: float = 0.005

    def even(self) -> "Scenario":
        """The same fleet with nothing wrong, and one router that knows all."""
        return replace(self, knowledge="both", metrics_s=METRICS_S, slow={}, outages=(), routers=1)

    def before(self) -> str:
        """Who is before the fleet: `3 routers that share what they know after 5 ms`; empty for one router."""
        if self.routers == 1:
            return ""
        after = f" after {1000 * self.sharing_s:g} ms" if self.sharing == "all" else ""
        return f"{self.routers} routers that {SHARING[self.sharing]}{after}"


@dataclass(frozen=True, slots=True)
class Task:
    """One run: `policy` at `speed` times the workload's own speed. `load` is what that is called, None: nothing.

    `patience_s` is that of `RunOptions`.
    """

    scenario: Scenario
    policy: str
    speed: float
    load: float | None = None
    patience_s: float = math.inf


def carry_out(workload: Workload, task: Task) -> Result:
    """Simulate. In the router nobody is turned away, and a worker is sent a step's prefill at a time."""
    scenario, hardware = task.scenario, task.scenario.hardware
    options = RunOptions(
        hardware,
        scenario.workers,
        speed=task.speed,
        load=task.load or 0.0,
        metrics_s=scenario.metrics_s,
        speeds=dict(scenario.slow),
        outages=scenario.outages,
        patience_s=task.patience_s,
        routers=scenario.routers,
        sharing=scenario.sharing,
        sharing_s=scenario.sharing_s,
    )
    queue = QueueOptions(
        room_tokens=hardware.budget,
        max_inflight=hardware.max_seqs,
        limit=_NO_LIMIT,
        timeout_s=math.inf,
    )
    brain = BrainOptions(task.policy, scenario.knowledge, queue=queue, seed=scenario.seed)
    return Run(workload, options, brain).go()


def left_out(workload: Workload, hardware: Hardware) -> int:
    """How many calls are never sent: those that do not fit the hardware, and what would come after a step of none
    but those.
    """
    limit = LARGEST * hardware.kv_tokens
    count = 0
    for session in workload.sessions:
        over = False
        for step in session.steps:
            fit = sum(call.prompt_tokens + call.output_tokens <= limit for call in step.calls)
            over = over or not fit
            count += len(step.calls) - (0 if over else fit)
    return count
