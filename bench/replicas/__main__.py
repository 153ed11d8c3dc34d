"""What sharing a Redis is worth: one router, several that share it, several that share nothing, by turns.

python -m bench.replicas --routers 1,3,8

Users hold chat sessions; each of their requests goes to any router, as through a load balancer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.dataplane.harness import ROOT
from bench.dataplane.report import table
from bench.policies.client import Answer, ChatClient, Message
from bench.policies.fleet import quiet
from bench.policies.load import Outcome, Plan, drive
from bench.policies.report import Slice, summarize
from bench.policies.workload import Shape, sessions
from bench.replicas.rig import Fleet, fetched, running
from bench.shared import server

MODEL = "sim-model"
HEADER = (
    "routers | share | requests | req/s | TTFT mean ms | p50 | p99 | hit rate | errors | others"
)


class Case(NamedTuple):
    """So many routers, which share the Redis or nothing."""

    routers: int
    shares: bool


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m bench.replicas", description=__doc__)
    out.add_argument("--routers", default="1,3,8", help="how many, several with commas")
    out.add_argument("--workers", type=int, default=8)
    out.add_argument("--kv-tokens", type=int, default=24_000, help="of a worker's cache")
    out.add_argument("--prefill", type=float, default=4000, help="tokens per second of a worker")
    out.add_argument("--itl", type=float, default=10, help="milliseconds between tokens")
    out.add_argument("--sessions", type=int, default=64, help="how many are held at a time")
    out.add_argument("--rounds", type=int, default=3)
    out.add_argument("--slice", type=float, default=40, help="measured seconds")
    out.add_argument("--warmup", type=float, default=20, help="seconds of load before")
    out.add_argument("--redis-url", help="of a running one (default: start one)")
    out.add_argument("--server", default="redis", help="`redis` or `valkey`, to start")
    out.add_argument("--base-port", type=int, default=18800)
    out.add_argument("--logs", type=Path, default=ROOT / "build/replicas")
    return out


def cases(routers: str) -> list[Case]:
    """One router shares nothing; more of them do, and then do not."""
    counts = [int(count) for count in routers.split(",")]
    return [
        Case(count, shares)
        for count in counts
        for shares in ((True, False) if count > 1 else (False,))
    ]


async def measure(urls: Sequence[str], options: argparse.Namespace, seed: int) -> Outcome:
    """One slice of load on these routers."""
    shape = Shape(context_bytes=6000, context_max_bytes=16000)
    clients = [ChatClient(url, MODEL, shape.answer_tokens) for url in urls]
    dice = random.Random(seed)

    def ask(messages: Sequence[Message], session: str) -> asyncio.Future[Answer]:
        return asyncio.ensure_future(dice.choice(clients).ask(messages, session))

    try:
        plan = Plan(options.sessions, options.warmup, options.slice)
        return await drive(ask, sessions(shape, seed, "bench"), plan)
    finally:
        for client in clients:
            await client.close()


def run(
    case: Case, options: argparse.Namespace, redis_url: str, number: int
) -> tuple[Slice, float]:
    """One slice, with fresh processes; how many requests the Redis missed, of all."""
    fleet = Fleet(options.workers, options.kv_tokens, options.prefill, options.itl)
    others = quiet(10)
    url = redis_url if case.shares else None
    with running(fleet, case.routers, url, options.base_port, options.logs) as urls:
        outcome = asyncio.run(measure(urls, options, number))
        metrics = "".join(fetched(f"{url}/metrics") for url in urls)
    missed = _total(metrics, r'router_degraded_total\{reason="shared_\w+"\}')
    asked = missed + _total(metrics, "router_shared_lookup_seconds_count")
    return Slice(number, _name(case), options.slice, others, outcome), missed / max(1.0, asked)


def _total(metrics: str, series: str) -> float:
    return sum(map(float, re.findall(rf"^{series} (\S+)$", metrics, re.MULTILINE)))


def _name(case: Case) -> str:
    return f"{case.routers} {'Redis' if case.shares else 'nothing'}"


def rows(wanted: Sequence[Case], runs: Sequence[tuple[Slice, float]]) -> Iterator[list[str]]:
    """A line per case, over all its slices."""
    for case in wanted:
        of_case = [(each, missed) for each, missed in runs if each.policy == _name(case)]
        found = summarize([each for each, _ in of_case])
        missed = sum(missed for _, missed in of_case) / len(of_case)
        yield [
            str(case.routers),
            "Redis" if case.shares else "nothing",
            str(found.requests),
            f"{found.per_s:.1f}",
            f"{found.ttft_mean:.0f}",
            f"{found.ttft_p50:.0f}",
            f"{found.ttft_p99:.0f}",
            f"{found.hit_rate:.1%}",
            f"{missed:.1%}",
            str(found.errors),
            f"{found.others:.1f}",
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser().parse_args(arguments)
    wanted = cases(options.routers)
    runs: list[tuple[Slice, float]] = []
    with contextlib.ExitStack() as stack:
        redis_url = options.redis_url or stack.enter_context(
            server.running(options.server, options.base_port + 99)
        )
        for number in range(1, options.rounds + 1):
            shift = number % len(wanted)
            for case in [*wanted[shift:], *wanted[:shift]]:
                runs.append(run(case, options, redis_url, number))
                print(" ".join(next(rows([case], runs[-1:]))), flush=True)
    print(table(HEADER.split(" | "), list(rows(wanted, runs))))


if __name__ == "__main__":
    main()
