"""Policies on a workload at several loads: what is to be simulated, and all that came of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from router.simulate.outcome import Outcome, simulate
from router.simulate.processes import Processes
from router.simulate.scenario import KNOWLEDGE, METRICS_S, Scenario, Task
from router.simulate.workload import Workload


@dataclass(frozen=True, slots=True)
class Plan:
    """Every one of `policies` at every one of `levels`.

    `capacity` is the speed of a load of 1, with which levels are loads; without it they are speeds.
    """

    scenario: Scenario
    policies: Sequence[str]
    levels: Sequence[float]
    capacity: float | None = None

    def tasks(self) -> list[Task]:
        """Level by level, policy by policy."""
        return [self._task(policy, level) for level in self.levels for policy in self.policies]

    def _task(self, policy: str, level: float) -> Task:
        if self.capacity is None:
            return Task(self.scenario, policy, level)
        return Task(self.scenario, policy, level * self.capacity, level)


@dataclass(frozen=True, slots=True)
class Study:
    """A plan and what came of it, in the order of its tasks."""

    workload: Workload
    plan: Plan
    outcomes: Sequence[Outcome]

    def levels(self) -> Iterator[list[Outcome]]:
        """The outcomes of each level together."""
        for _, outcomes in groupby(self.outcomes, key=lambda outcome: outcome.speed):
            yield list(outcomes)

    @property
    def requests(self) -> int:
        """Calls of the workload, those left out included."""
        return sum(1 for _ in self.workload.calls())


def pace(workload: Workload, speed: float) -> str:
    """How fast `speed` is: `7.2 requests/s`, or sessions where they have several requests."""
    sessions = workload.sessions
    span_s = sessions[-1].start_s if sessions else 0.0
    if not span_s:
        return "all at once"
    single = all(len(session.steps) == 1 for session in sessions)
    return f"{len(sessions) / span_s * speed:.3g} {'requests' if single else 'sessions'}/s"


def setting(workload: Workload, scenario: Scenario) -> str:
    """What is asked of whom: `300 requests of rag to 2 workers (h100-8b), seed 1`, and what is not as usual."""
    requests = sum(1 for _ in workload.calls())
    parts = [
        f"{requests:,} requests of {workload.name} to {scenario.workers} workers ({scenario.hardware.name})",
        f"seed {scenario.seed}",
    ]
    if scenario.routers > 1:
        parts.append(scenario.before())
    if scenario.knowledge != "both":
        parts.append(KNOWLEDGE[scenario.knowledge])
    if scenario.metrics_s != METRICS_S:
        parts.append(f"metrics {scenario.metrics_s:g} s old")
    parts += [f"worker {worker} at {speed:g}x" for worker, speed in scenario.slow.items()]
    parts += [f"worker {o.worker} down {o.start_s:g}-{o.end_s:g} s" for o in scenario.outages]
    return ", ".join(parts)


def study(
    workload: Workload, plan: Plan, processes: Processes, done: Callable[[Outcome], None]
) -> Study:
    """Carry out the plan; `done` is told of each run."""
    outcomes = []
    for outcome in processes.map(simulate, plan.tasks()):
        outcomes.append(outcome)
        done(outcome)
    return Study(workload, plan, outcomes)
