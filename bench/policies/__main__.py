"""Runs policies by turns before the same vLLM workers and prints the tables.

python -m bench.policies --policy prefix --policy round_robin --policy least_load
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.dataplane.harness import ROOT, prepare, require_free
from bench.policies import fleet
from bench.policies.client import ChatClient
from bench.policies.load import Outcome, Plan, drive
from bench.policies.report import Slice, as_json, cells, report, summarize
from bench.policies.workload import Shape, sessions
from router.routing.registry import POLICIES

DEFAULT = ("prefix", "round_robin", "least_load")
SETTINGS = ("room_tokens=512", "max_inflight=16")
"""What a router should know of the workers that are started here."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m bench.policies", description=__doc__)
    out.add_argument(
        "--policy", action="append", choices=POLICIES, metavar="NAME",
        help=f"repeat for each; the first is compared with the others (default: {', '.join(DEFAULT)})",
    )  # fmt: skip
    out.add_argument("--rounds", type=int, default=3)
    out.add_argument(
        "--slice", type=float, default=60, help="measured seconds per policy and round"
    )
    out.add_argument("--warmup", type=float, default=15, help="seconds of load before each of them")
    out.add_argument("--sessions", type=int, default=32, help="how many are held at a time")
    out.add_argument("--think", type=float, default=1.0, help="mean pause before a question, s")
    out.add_argument("--seed", type=int, default=1, help="of the sessions' texts")
    out.add_argument(
        "--worker", action="append", metavar="URL",
        help="a running worker that nobody else uses; repeat for each (default: start two)",
    )  # fmt: skip
    out.add_argument(
        "--router", default=f"{sys.executable} -m router", help="command of our router"
    )
    out.add_argument(
        "--setting", action="append", metavar="NAME=VALUE",
        help=f"of every router; repeat for each (default: {' '.join(SETTINGS)})",
    )  # fmt: skip
    out.add_argument("--kv-mb", type=int, default=256, help="prefix cache of a started worker, MiB")
    out.add_argument(
        "--patience", type=float, default=10, help="seconds to wait for quiet cores before a slice"
    )
    out.add_argument("--base-port", type=int, default=18500, help="routers' and workers' ports")
    out.add_argument("--json", type=Path, metavar="FILE", help="write every measured request here")
    out.add_argument("--logs", type=Path, default=ROOT / "build/policies", help="routers' logs")
    return out


def turns(policies: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Round and policy of each slice: ABC, CAB, BCA …, so that every policy has every place."""
    for number in range(rounds):
        shift = -number % len(policies)
        for policy in [*policies[shift:], *policies[:shift]]:
            yield number + 1, policy


class Bench:
    """Slices of load on running workers."""

    def __init__(self, args: argparse.Namespace, workers: Sequence[str]) -> None:
        self._workers, self._seed, self._patience_s = workers, args.seed, args.patience
        self._shape = Shape(think_s=args.think)
        self._plan = Plan(args.sessions, args.warmup, args.slice)
        self._model = fleet.model_of(workers[0])
        self._stamp = f"{time.time_ns():x}"

    def slice(self, number: int, policy: str, url: str) -> Slice:
        """One policy's part of one round, on workers that hold nothing of use."""
        fleet.empty(self._workers)
        others = fleet.quiet(self._patience_s)
        outcome = asyncio.run(self._load(number, policy, url))
        return Slice(number, policy, self._plan.measured_s, others, outcome)

    async def _load(self, number: int, policy: str, url: str) -> Outcome:
        """All policies meet the sessions of the round, under a label of their own."""
        made = sessions(self._shape, self._seed + number, f"{self._stamp} {number} {policy}")
        client = ChatClient(url, self._model, self._shape.answer_tokens)
        try:
            return await drive(client.ask, made, self._plan)
        finally:
            await client.close()


def run(args: argparse.Namespace, policies: Sequence[str], workers: Sequence[str]) -> None:
    """All rounds before `workers`, a line for each slice, then the tables."""
    slices: list[Slice] = []
    bench = Bench(args, workers)
    if not fleet.empty(workers):
        print(
            "caches cannot be emptied (VLLM_SERVER_DEV_MODE=1): only the texts are new in a slice"
        )
    router = fleet.Router(args.router, tuple(args.setting or SETTINGS), tuple(workers))
    with fleet.routers(router, policies, args.base_port + 10, args.logs) as urls:
        for number, policy in turns(policies, args.rounds):
            slices.append(bench.slice(number, policy, urls[policy]))
            print("  ".join(cells(f"{number} {policy}", summarize(slices[-1:]))), flush=True)
    print(f"\n{report(slices)}")
    if args.json:
        args.json.write_text(json.dumps(as_json(_settings(args), slices)))


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, Path) else v for name, v in vars(args).items()}


def main() -> None:
    """Start what is missing, run, stop what was started."""
    args = parser().parse_args()
    policies = list(dict.fromkeys(args.policy or DEFAULT))
    prepare()
    args.logs.mkdir(parents=True, exist_ok=True)
    ports = [args.base_port, args.base_port + 1]
    routers = [args.base_port + 10 + place for place in range(len(policies))]
    require_free([*routers, *([] if args.worker else ports)])
    given = contextlib.nullcontext(args.worker)
    try:
        with given if args.worker else fleet.vllm_workers(ports, args.kv_mb) as workers:
            print(f"workers: {' '.join(workers)}   load average {os.getloadavg()[0]:.1f}")
            run(args, policies, workers)
    except fleet.FleetError as error:
        sys.exit(f"bench.policies: {error}")


if __name__ == "__main__":
    main()
