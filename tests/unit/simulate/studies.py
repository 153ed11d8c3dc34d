"""Small things to simulate, and results made by hand."""

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from router.simulate.generators import GENERATORS
from router.simulate.hardware import PRESETS
from router.simulate.outcome import Outcome, simulate
from router.simulate.records import Record
from router.simulate.scenario import Scenario, Task, carry_out
from router.simulate.study import Plan, Study
from router.simulate.workload import Workload

HARDWARE = PRESETS["h100-8b"]
EVEN = Scenario(HARDWARE, 2)
POLICIES = ["prefix", "round_robin"]


def workload(name: str = "rag", requests: int = 300) -> Workload:
    return GENERATORS[name](1, requests)


def record(arrived_at: float = 0.0, **fields: float) -> Record:
    values = {
        "worker": 0,
        "prompt_tokens": 100,
        "cached_tokens": 50,
        "ttft_s": 1.0,
        "tpot_s": 0.01,
        "duration_s": 2.0,
        "queued_s": 0.0,
    } | fields
    return Record(arrived_at, "", **values)  # type: ignore[arg-type]


def study_of(
    work: Workload,
    policies: Sequence[str] = POLICIES,
    levels: Sequence[float] = (0.5, 2.0),
    *,
    capacity: float | None = 1.5,
    scenario: Scenario = EVEN,
) -> Study:
    plan = Plan(scenario, policies, levels, capacity)
    return Study(work, plan, [simulate(work, task) for task in plan.tasks()])


def mean_ttft(work: Workload, task: Task) -> float:
    return carry_out(work, task).mean_ttft


def fails(work: Workload, task: Task) -> Outcome:
    raise LookupError(f"{work.name} {task.policy}")


def holds_interrupts(work: Workload, task: Task) -> bool:
    """Whether Ctrl-C would not end this process."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def sleeps(work: Workload, task: Task) -> None:
    time.sleep(100)


def trace_file(path: Path, requests: int = 60, tokens: int = 3000, documents: int = 5) -> Path:
    """A trace in Mooncake's format: documents, asked about in turn, ten requests a second."""
    rows = []
    for number in range(requests):
        document = 1000 * (number % documents)
        blocks = [*range(document, document + tokens // 512), 100_000 + number]
        rows.append(
            {
                "timestamp": 100 * number,
                "input_length": tokens,
                "output_length": 20,
                "hash_ids": blocks[: -(-tokens // 512)],
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
