"""Measure routers side by side.

    python -m bench.dataplane [--only ours,nginx] [--workloads r1k,s500] [--rounds 3] --peers-venv DIR

One router at a time runs on one core; mock workers and load generator share another. Rounds are
interleaved, so a slow minute of the machine hits every router. `bench/README.md` explains the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.dataplane import harness
from bench.dataplane.report import Run, collect, number, pace, report, us_per_unit
from bench.dataplane.routers import DIRECT, ROUTERS, Setting
from bench.dataplane.workloads import WORKLOADS

LOADGEN_LIMIT_S = 120


def names_in(listed: str, known: list[str]) -> list[str]:
    """Split a comma-separated flag; exits on a name that is not known."""
    names = [name for name in listed.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown: {', '.join(unknown)} (there are: {', '.join(known)})")
    return names


def parser() -> argparse.ArgumentParser:
    """The flags."""
    out = argparse.ArgumentParser(
        "python -m bench.dataplane",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument(
        "--only", default=",".join(ROUTERS), help="routers, or 'direct' for none (default: all)"
    )
    out.add_argument("--workloads", default=",".join(WORKLOADS), help="(default: all)")
    out.add_argument("--rounds", type=int, default=3)
    out.add_argument("--seconds", type=float, default=4, help="length of one measured window")
    out.add_argument(
        "--patience", type=float, default=10, help="seconds to wait for quiet cores before a window"
    )
    out.add_argument("--ours", default=f"{sys.executable} -m router", help="command of our router")
    out.add_argument("--ours-flags", default="", help="more flags for `serve`")
    out.add_argument(
        "--peers-venv",
        type=Path,
        default=harness.ROOT / "build/peers",
        help="folder that setup_peers.sh made",
    )
    out.add_argument(
        "--out", type=Path, default=harness.ROOT / "build/dataplane", help="results and logs"
    )
    out.add_argument(
        "--base-port", type=int, default=18300, help="the router's; workers and metrics above it"
    )
    out.add_argument("--router-core", type=int, default=0)
    out.add_argument("--load-core", type=int, default=1)
    return out


def measure(
    args: argparse.Namespace, workload: str, port: int, router_pid: int, backend_pid: int
) -> Run:
    """One window of one workload, once the cores are free."""
    harness.await_quiet((args.router_core, args.load_core), args.patience)
    flags = [
        "--port",
        port,
        "--seconds",
        args.seconds,
        "--router-pid",
        router_pid,
        "--backend-pid",
        backend_pid,
    ]
    flags += ["--router-core", args.router_core, *WORKLOADS[workload].flags()]
    workers = harness.worker_ports(args.base_port)
    before = harness.fetch_stats(workers)
    out, _ = harness.loadgen([str(f) for f in flags], args.load_core).communicate(
        timeout=LOADGEN_LIMIT_S
    )
    run: Run = json.loads(out)
    after = harness.fetch_stats(workers)
    run |= {f"workers_{name}": after[name] - before[name] for name in after if name != "running"}
    run |= {"workload": workload, "load_average": os.getloadavg()[0]}
    return run


def show(run: Run) -> None:
    """One line about a run while the rest goes on."""
    workload = WORKLOADS[str(run["workload"])]
    cost = us_per_unit(run, workload) or 0
    print(
        f"{run['router']:25} {run['workload']:6} {cost:8.1f} us/{workload.unit}  pace {pace(run, workload):.3f}"
        f"  {number(run, 'requests') / number(run, 'seconds'):7.0f} req/s  router {number(run, 'router_util'):.2f}"
        f"  load core {number(run, 'backend_util') + number(run, 'loadgen_util'):.2f}"
        f"  others {number(run, 'others_on_router_core'):.2f}  rss {number(run, 'rss_mb'):.0f} MB"
        f"  errors {run['errors']} {run['first_error']}",
        flush=True,
    )


def one_router(
    args: argparse.Namespace, name: str, setting: Setting, backend_pid: int
) -> list[Run]:
    """All workloads of one router in one round; empty when it cannot be started."""
    workloads = names_in(args.workloads, list(WORKLOADS))
    if name == DIRECT:
        return [measure(args, w, setting.workers[0], 0, backend_pid) for w in workloads]
    command = ROUTERS[name](setting)
    if command is None:
        print(f"{name}: not installed (see setup_peers.sh)", file=sys.stderr)
        return []
    log = args.out / f"{name.replace('/', '_')}.log"
    with harness.started(command, args.router_core, log) as router:
        try:
            harness.await_ready(setting.port, router)
        except harness.NotReadyError as error:
            print(f"{name}: not ready: {error}; see {log}", file=sys.stderr)
            return []
        time.sleep(0.5)
        return [measure(args, w, setting.port, router.pid, backend_pid) for w in workloads]


def rotated(names: list[str], by: int) -> list[str]:
    """Start each round with another router."""
    by %= len(names)
    return names[by:] + names[:by]


def main() -> None:
    """Run the rounds, write results.jsonl, print the report."""
    args = parser().parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    names = names_in(args.only, [DIRECT, *ROUTERS])
    workers = harness.worker_ports(args.base_port)
    harness.prepare()
    harness.require_free([args.base_port, *workers])
    results = args.out / "results.jsonl"
    backend = harness.started(
        harness.backend_command(workers), args.load_core, args.out / "backend.log"
    )
    with tempfile.TemporaryDirectory() as scratch, results.open("w") as out, backend as mock:
        setting = Setting(
            args.base_port,
            workers,
            Path(scratch),
            args.ours,
            args.ours_flags,
            args.peers_venv.resolve(),
        )
        harness.await_ready(workers[0], mock)
        for number_of_round in range(args.rounds):
            for name in rotated(names, number_of_round):
                for run in one_router(args, name, setting, mock.pid):
                    run |= {"router": name, "round": number_of_round}
                    show(run)
                    out.write(json.dumps(run) + "\n")
                    out.flush()
    print(f"\n{report(collect(results.read_text().splitlines()))}\n\nresults: {results}")


if __name__ == "__main__":
    main()
