"""What a decision costs, and the queue while many wait: CPU of our own Python, no sockets, no event loop.

python -m bench.choosing
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from time import process_time

from bench.choosing.line import Line
from bench.choosing.rig import Rig
from bench.dataplane.report import table
from router.prompt.identity import Identity

LENGTHS = (128_000, 1000)
"""Tokens."""

PROMPTS = 16
"""Of a kind, asked for in turn."""

OPERATIONS = ("wait", "withdraw", "expire", "drain", "drain, looked up anew")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m bench.choosing", description=__doc__)
    out.add_argument("--workers", default="8,64,512", help="sizes of the fleet for decisions")
    out.add_argument("--queue-workers", default="8,64", help="sizes of the fleet for the queue")
    out.add_argument("--blocks", type=int, default=200_000, help="blocks that the index holds")
    out.add_argument("--waiting", type=int, default=10_000, help="requests in the queue")
    out.add_argument("--tenants", type=int, default=100, help="in the queue that tenants share")
    out.add_argument("--repeats", type=int, default=50, help="of which the median is printed")
    return out


def micros(seconds: Sequence[float]) -> str:
    """The median."""
    return f"{statistics.median(seconds) * 1e6:.1f}"


def decide(rig: Rig, prompts: Sequence[Identity]) -> tuple[float, float]:
    """CPU seconds of looking a prompt up and of choosing, the mean over `prompts`."""
    started = process_time()
    questions = [rig.question(prompt, 1.0) for prompt in prompts]
    looked_up = process_time()
    decisions = [rig.queue.offer(question) for question in questions]
    ended = process_time()
    assert None not in decisions, "there is room on every worker"
    return (looked_up - started) / len(prompts), (ended - looked_up) / len(prompts)


def decisions(sizes: Sequence[int], blocks: int, repeats: int) -> Iterator[list[str]]:
    """A row for each fleet and kind of prompt."""
    for size in sizes:
        rig = Rig(size, blocks)
        for tokens in LENGTHS:
            for held in (True, False):
                prompts = [rig.prompt(tokens) for _ in range(PROMPTS)]
                for prompt in prompts if held else ():
                    rig.hold(prompt, rig.workers)
                costs = [decide(rig, prompts) for _ in range(repeats)]
                looking, choosing = zip(*costs, strict=True)
                whole = [sum(cost) for cost in costs]
                holders = "all" if held else "none"
                yield [f"{size}", f"{tokens:,}", holders, *map(micros, (looking, choosing, whole))]


def operations(
    sizes: Sequence[int], waiting: int, tenants: int, blocks: int, repeats: int
) -> Iterator[list[str]]:
    """A row for each fleet, with one tenant and with many."""
    for size in sizes:
        for count in (1, tenants):
            line = Line(Rig(size, blocks), waiting, count)
            for _ in range(repeats):
                for step in (line.drain, line.withdraw, line.wait, line.expire):
                    step()
            for _ in range(repeats):
                line.drain_stale()
            costs = [micros(line.costs[name]) for name in OPERATIONS]
            yield [f"{size}", f"{count}", *costs, f"{line.idle()}"]


def main(args: argparse.Namespace) -> None:
    """Both tables."""
    fleets = [
        [int(size) for size in text.split(",")] for text in (args.workers, args.queue_workers)
    ]
    print("A decision, µs of CPU\n")
    header = "workers | tokens | held by | look up | choose | both"
    print(table(header.split(" | "), list(decisions(fleets[0], args.blocks, args.repeats))))
    print(f"\nThe queue with {args.waiting:,} waiting, µs of CPU\n")
    columns = ["workers", "tenants", *OPERATIONS, "left idle"]
    rows = operations(fleets[1], args.waiting, args.tenants, args.blocks, args.repeats)
    print(table(columns, list(rows)))


if __name__ == "__main__":
    main(parser().parse_args())
