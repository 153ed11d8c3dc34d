"""What sharing costs the Redis or Valkey that several routers share, and the router that asks it.

python -m bench.shared
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import NamedTuple

import uvloop

from bench.dataplane.harness import prepare
from bench.dataplane.report import table
from bench.shared.costs import HEAD
from bench.shared.server import Probe, load, running
from bench.shared.tables import LOOKUPS, MEMORY, PUBLISH, RATES, REQUESTS, WRITES, Bench, Sizes


class _Table(NamedTuple):
    title: str
    head: list[str]


TABLES = {
    "lookups": _Table(LOOKUPS, ["blocks", "workers", "held by", *HEAD, "found"]),
    "writes": _Table(WRITES, ["blocks", "told", *HEAD, "server µs each", "blocks/s"]),
    "rates": _Table(RATES, ["batches", "sent/s", "server's core", "at a full core/s"]),
    "memory": _Table(MEMORY, ["blocks", "holders", "told", "MB", "bytes each"]),
    "requests": _Table(REQUESTS, ["step", "commands", *HEAD]),
    "publish": _Table(PUBLISH, ["workers", "routers", "changes", *HEAD]),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m bench.shared", description=__doc__)
    out.add_argument("--server", choices=("redis", "valkey"), default="redis", help="to start")
    out.add_argument("--url", help="of an empty one that runs, instead")
    out.add_argument("--port", type=int, default=18899, help="of the started server")
    out.add_argument("--only", default=",".join(TABLES), help="tables, with commas between them")
    out.add_argument("--passes", type=int, default=5, help="of which the medians are printed")
    out.add_argument("--steps", type=int, default=300, help="questions of a pass")
    out.add_argument("--blocks", type=int, default=1_000_000, help="that memory is measured with")
    out.add_argument("--seconds", type=float, default=5.0, help="of load at full speed")
    out.add_argument("--processes", type=int, default=3, help="that make this load")
    out.add_argument("--quick", action="store_true", help="a little of everything: no figures")
    return out


def sizes(args: argparse.Namespace) -> Sizes:
    """How much of everything."""
    if args.quick:
        return Sizes(1, 3, 8192, 0.0, 1, lengths=(80,), fleets=(64,), replicas=(3,))
    return Sizes(args.passes, args.steps, args.blocks, args.seconds, args.processes)


async def main(args: argparse.Namespace) -> None:
    """The tables that are asked for."""
    with ExitStack() as stack:
        url = args.url or stack.enter_context(running(args.server, args.port))
        probe = Probe(url)
        stack.callback(probe.close)
        probe.require_empty()
        bench = Bench(url, probe, sizes(args))
        for name in args.only.split(","):
            probe.empty()
            each = TABLES[name]
            print(f"{each.title}\n{probe.name()}, {load()}\n", flush=True)
            rows: AsyncIterator[list[str]] = getattr(bench, name)()
            print(table(each.head, [row async for row in rows]), "\n", flush=True)
        probe.empty()


if __name__ == "__main__":
    prepare()
    uvloop.run(main(parser().parse_args()))
