"""Is any answer lost while parts of a fleet fail?

python -m bench.chaos --seconds 60 --redis --resume
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from bench.chaos import report
from bench.chaos.balancer import Balancer
from bench.chaos.injector import Injector
from bench.chaos.leaks import Held, Leak, held
from bench.chaos.load import Load
from bench.chaos.oracle import AskedOracle, Oracle, OracleError, SimulatedOracle
from bench.chaos.processes import StartError
from bench.chaos.rig import MOST, Plan, Rig, rig, running
from bench.chaos.schedule import Fault, Kind, plan
from bench.chaos.timeline import Timeline
from bench.chaos.traffic import Limits, Traffic
from bench.dataplane import harness
from bench.shared.server import ServerError

QUIET_S = 5.0
_PATIENCE_S = 10
_ASKED = 40


def parser() -> argparse.ArgumentParser:
    """The flags."""
    out = argparse.ArgumentParser(
        "python -m bench.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--engine", choices=("sim", "vllm"), default="sim")
    out.add_argument("--workers", type=int, help="(default: 8; of vllm 2)")
    out.add_argument("--routers", type=int, default=2)
    out.add_argument("--redis", action="store_true", help="the routers share one, which fails too")
    out.add_argument("--seconds", type=float, default=600)
    out.add_argument("--rate", type=float, help="requests per second (default: 8; of vllm 2)")
    out.add_argument("--seed", type=int, default=1)
    out.add_argument("--every", type=float, help="seconds between faults (default: 3; of vllm 15)")
    out.add_argument("--kinds", help="only these faults, with commas")
    out.add_argument("--all", action="store_true", help="all workers or routers may fail at once")
    out.add_argument("--resume", action="store_true", help="routers resume streams")
    out.add_argument(
        "--setting", action="append", default=[], help="name=value of every router; repeat for each"
    )
    out.add_argument("--base-port", type=int, default=18600)
    out.add_argument("--logs", type=Path, default=harness.ROOT / "build/chaos")
    out.add_argument("--json", type=Path, help="a file for the result")
    return out


def plan_of(args: argparse.Namespace) -> Plan:
    """What to start; defaults that depend on the engine are filled in."""
    real = args.engine == "vllm"
    for name, simulated, vllm in (("workers", 8, 2), ("rate", 8.0, 2.0), ("every", 3.0, 15.0)):
        if getattr(args, name) is None:
            setattr(args, name, vllm if real else simulated)
    if not 1 <= args.workers <= MOST or not 1 <= args.routers <= MOST:
        sys.exit(f"1 to {MOST} workers and routers")
    settings = dict(each.split("=", 1) for each in args.setting)
    if args.resume:
        settings["resume"] = "on"
    logs = args.logs.resolve()
    return Plan(args.engine, args.workers, args.routers, args.redis, args.base_port, logs, settings)


def faults_of(args: argparse.Namespace, made: Rig) -> list[Fault]:
    """What is to fail."""
    return plan(
        args.seed,
        args.seconds,
        made.parts,
        every_s=args.every,
        restart_s=made.start_s,
        spare=not args.all,
        kinds=[Kind(name) for name in args.kinds.split(",")] if args.kinds else tuple(Kind),
    )


async def _oracle(made: Rig, traffic: Traffic) -> Oracle:
    if made.oracle is None:
        return SimulatedOracle()
    asked = AskedOracle()
    await asked.learn(traffic.known, made.oracle.address)
    return asked


async def chaos(args: argparse.Namespace, made: Rig) -> report.Outcome:
    """Load and faults, then a look at what is left."""
    real = args.engine == "vllm"
    limits = Limits(300, 160, open_ended=False) if real else Limits()
    traffic = Traffic(args.seed, made.model, limits, _ASKED if real else None)
    timeline = Timeline()
    async with running(made):
        oracle = await _oracle(made, traffic)
        await asyncio.sleep(QUIET_S)  # probes have connections of their own, which come first
        before = {name: held(router) for name, router in made.routers.items()}
        balancer = Balancer(made.routers, timeline, args.seed)
        load = Load(balancer, traffic, oracle, timeline)
        injector = Injector(made, timeline, spare=not args.all)
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(balancer.watch())
            striking = group.create_task(injector.run(faults_of(args, made)))
            await load.run(args.seconds, args.rate, args.seed)
            await striking
            watch.cancel()
        leaks = await _leaks(before, made)
    options = {name: str(value) for name, value in vars(args).items()}
    return report.Outcome(load.records, timeline, leaks, args.seconds, options)


async def _leaks(before: dict[str, Held], made: Rig) -> list[Leak]:
    """After some seconds of quiet; what is only slow to go has a little longer."""
    await asyncio.sleep(QUIET_S)
    for waited in range(_PATIENCE_S + 1):
        leaks = [Leak(name, before[name], held(made.routers[name])) for name in made.routers]
        if waited == _PATIENCE_S or not any(leak.found for leak in leaks):
            return leaks
        await asyncio.sleep(1)
    return []


def main() -> None:
    """Run, print the tables; exit 1 when anything was lost or leaked."""
    args = parser().parse_args()
    planned = plan_of(args)
    harness.prepare()
    planned.logs.mkdir(parents=True, exist_ok=True)
    try:
        made = rig(planned)
        harness.require_free([program.port for program in made.all])
        outcome = asyncio.run(chaos(args, made))
    except (StartError, ServerError, OracleError) as error:
        sys.exit(f"bench.chaos: {error}")
    print(report.text(outcome))
    if args.json:
        args.json.write_text(json.dumps(report.as_json(outcome), indent=1))
    sys.exit(1 if outcome.failed else 0)


if __name__ == "__main__":
    main()
