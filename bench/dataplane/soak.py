"""Does a router's memory stay flat? RSS of its process tree, sampled under a fixed number of requests.

    python -m bench.dataplane.soak [--router ours] [--phases 4k:100000,100k:10000] [--repeat 2]

A bounded index grows until it is full, so growth in the first pass is expected; what must be flat
is the second half of each phase of the last pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.dataplane import harness, usage
from bench.dataplane.report import table
from bench.dataplane.routers import ROUTERS, Setting

SAMPLE_S = 0.25
FLAT_MB = 4.0  # growth over half a phase that still counts as flat: allocators move in such steps
HEADER = "pass | phase | req/s | before | half | after | max | MB per 1k requests in 2nd half | flat | errors"


@dataclass(frozen=True, slots=True)
class Phase:
    """`requests` prompts of `prompt_bytes`."""

    prompt_bytes: int
    requests: int

    @property
    def title(self) -> str:
        """For the table."""
        return f"{self.requests} x {self.prompt_bytes / 1000:g} KB"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the memory did in one phase."""

    phase: Phase
    samples_mb: list[float]
    seconds: float
    errors: int

    @property
    def slope_mb_per_1k(self) -> float:
        """Growth per thousand requests in the second half of the phase, by least squares."""
        half = self.samples_mb[len(self.samples_mb) // 2 :]
        return slope(half) * len(self.samples_mb) / self.phase.requests * 1000

    @property
    def flat(self) -> bool:
        """Whether the growth over the second half is within what allocators do anyway."""
        return self.slope_mb_per_1k * self.phase.requests / 2000 <= FLAT_MB


def slope(values: list[float]) -> float:
    """Least-squares growth per sample; 0 with fewer than two."""
    if len(values) < 2:
        return 0.0
    return statistics.linear_regression(range(len(values)), values).slope


def parse_phases(listed: str) -> list[Phase]:
    """`4k:100000,100k:10000` as phases. Raises ValueError."""
    out = []
    for part in listed.split(","):
        size, _, requests = part.partition(":")
        scale = 1000 if size.endswith("k") else 1
        out.append(Phase(int(size.removesuffix("k")) * scale, int(requests)))
    return out


def rss_mb(pid: int) -> float:
    """Resident memory of a process tree."""
    return usage.read(usage.tree(pid)).rss_mb


def run_phase(args: argparse.Namespace, phase: Phase, port: int, router_pid: int) -> Outcome:
    """Send the phase's requests and sample until they are done."""
    flags = ["--port", port, "--requests", phase.requests, "--prompt-bytes", phase.prompt_bytes]
    flags += ["--connections", args.connections]
    samples = [rss_mb(router_pid)]
    generator = harness.loadgen([str(flag) for flag in flags], args.load_core)
    while generator.poll() is None:
        time.sleep(SAMPLE_S)
        samples.append(rss_mb(router_pid))
        if not samples[-1]:
            generator.terminate()
            sys.exit("the router ended")
    out, _ = generator.communicate()
    result = json.loads(out)
    return Outcome(phase, samples, result["seconds"], result["errors"])


def row(number: int, outcome: Outcome) -> list[str]:
    """One line of the table."""
    samples = outcome.samples_mb
    return [
        str(number),
        outcome.phase.title,
        f"{outcome.phase.requests / outcome.seconds:.0f}",
        f"{samples[0]:.1f}",
        f"{samples[len(samples) // 2]:.1f}",
        f"{samples[-1]:.1f}",
        f"{max(samples):.1f}",
        f"{outcome.slope_mb_per_1k:+.3f}",
        "yes" if outcome.flat else "NO",
        str(outcome.errors),
    ]


def parser() -> argparse.ArgumentParser:
    """The flags."""
    out = argparse.ArgumentParser(
        "python -m bench.dataplane.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--router", default="ours", choices=ROUTERS)
    out.add_argument(
        "--phases", type=parse_phases, default="4k:100000,100k:10000", help="size:requests, …"
    )
    out.add_argument("--repeat", type=int, default=2, help="passes over all phases")
    out.add_argument("--connections", type=int, default=32)
    out.add_argument("--ours", default=f"{sys.executable} -m router", help="command of our router")
    out.add_argument("--ours-flags", default="", help="more flags for `serve`")
    out.add_argument("--peers-venv", type=Path, default=harness.ROOT / "build/peers")
    out.add_argument("--out", type=Path, default=harness.ROOT / "build/dataplane", help="logs")
    out.add_argument("--base-port", type=int, default=18300)
    out.add_argument("--router-core", type=int, default=0)
    out.add_argument("--load-core", type=int, default=1)
    return out


def soak(args: argparse.Namespace, setting: Setting, log: Path) -> list[Outcome]:
    """All phases, `repeat` times, against one router process."""
    command = ROUTERS[args.router](setting)
    if command is None:
        sys.exit(f"{args.router} is not installed (see setup_peers.sh)")
    outcomes: list[Outcome] = []
    with harness.started(command, args.router_core, log) as router:
        harness.await_ready(setting.port, router)
        for phase in args.phases * args.repeat:
            outcomes.append(run_phase(args, phase, setting.port, router.pid))
            print(
                f"{phase.title}: RSS {outcomes[-1].samples_mb[-1]:.1f} MB",
                file=sys.stderr,
                flush=True,
            )
    return outcomes


def main() -> None:
    """Run, print the table; exit 1 when the last pass is not flat."""
    args = parser().parse_args()
    harness.prepare()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    workers = harness.worker_ports(args.base_port)
    harness.require_free([args.base_port, *workers])
    backend = harness.started(harness.backend_command(workers), args.load_core, out / "backend.log")
    with tempfile.TemporaryDirectory() as scratch, backend as mock:
        setting = Setting(
            args.base_port,
            workers,
            Path(scratch),
            args.ours,
            args.ours_flags,
            args.peers_venv.resolve(),
        )
        harness.await_ready(workers[0], mock)
        outcomes = soak(args, setting, out / "soak.log")
    rows = [row(i // len(args.phases) + 1, outcome) for i, outcome in enumerate(outcomes)]
    print(f"RSS of {args.router} in MB:\n\n{table(HEADER.split(' | '), rows)}")
    sys.exit(0 if all(outcome.flat for outcome in outcomes[-len(args.phases) :]) else 1)


if __name__ == "__main__":
    main()
