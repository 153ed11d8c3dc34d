"""What an index of millions of blocks costs: memory, CPU of lookups, and how long events hold the loop.

python -m bench.index
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from time import process_time

from bench.dataplane.report import table
from bench.events.load import Pool
from bench.events.timed import TimedIngest
from bench.index.memory import PROMPT, bytes_per_block, worker
from router.events.counters import Counters
from router.events.ledger import Ledger
from router.events.subscriber import INBOX_BATCHES, Subscriber
from router.ids import BlockKey
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity

BLOCK = 16
PROMPTS = 16
"""Of a kind, asked for in turn."""

HELD_BY = ("all", "one", "none")
CHUNK = min(1_000, INBOX_BATCHES)
"""Batches that come at a time."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m bench.index", description=__doc__)
    out.add_argument("--blocks", type=int, default=1_000_000, help="that are held, all in all")
    out.add_argument("--holders", default="1,8,64", help="workers that hold the same blocks")
    out.add_argument("--workers", default="8,64,512", help="sizes of the fleet for lookups")
    out.add_argument("--prompt", type=int, default=2048, help="blocks of a prompt")
    out.add_argument("--repeats", type=int, default=30, help="of which the median is printed")
    out.add_argument("--news", type=int, default=200_000, help="blocks that come while it is full")
    return out


def sizes(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(size) for size in text.split(",")]


def micros(seconds: Sequence[float]) -> str:
    """The median."""
    return f"{statistics.median(seconds) * 1e6:.1f}"


# -- lookups -------------------------------------------------------------------------------------


class Hall:
    """An index that holds `blocks` blocks nobody asks for, spread over `workers` workers."""

    def __init__(self, workers: int, blocks: int, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.workers = [worker(number) for number in range(workers)]
        self.index = UnionIndex()
        for place in range(0, blocks, PROMPT):
            keys = self.keys(min(PROMPT, blocks - place))
            self.index.stored(self.workers[place // PROMPT % workers], keys)

    def keys(self, count: int) -> list[BlockKey]:
        """New ones."""
        return [self.random.getrandbits(64) for _ in range(count)]

    def prompt(self, blocks: int, held_by: str) -> TokenIdentity:
        """A new one, of which those that hold any hold as much as they happen to."""
        keys = self.keys(blocks)
        holders = {"all": self.workers, "one": self.workers[:1], "none": []}[held_by]
        for each in holders:
            self.index.stored(each, keys[: self.random.randint(1, blocks)])
        return TokenIdentity.of(keys, blocks * BLOCK, BLOCK)


def timed(step: Callable[[], object]) -> float:
    """CPU seconds."""
    started = process_time()
    step()
    return process_time() - started


def lookups(fleets: Sequence[int], blocks: int, length: int, repeats: int) -> Iterator[list[str]]:
    """A row for each fleet and kind of prompt: looking it up, sending it and settling that."""
    for size in fleets:
        hall = Hall(size, blocks)
        for held_by in HELD_BY:
            prompts = [hall.prompt(length, held_by) for _ in range(PROMPTS)]
            costs: dict[str, list[float]] = {"look up": [], "send": [], "settle": []}
            for number in range(repeats):
                for prompt in prompts:
                    costs["look up"].append(timed(lambda: hall.index.lookup(prompt)))  # noqa: B023
                receiver, prompt = hall.workers[number % size], prompts[number % PROMPTS]
                costs["send"].append(timed(lambda: hall.index.sent(receiver, prompt)))  # noqa: B023
                costs["settle"].append(timed(lambda: hall.index.settled(receiver, prompt)))  # noqa: B023
            yield [f"{size}", held_by, *map(micros, costs.values())]


# -- events --------------------------------------------------------------------------------------


class Stream:
    """One worker's events on their way into an index, in slices of the loop."""

    def __init__(self, blocks: int) -> None:
        self.index, self.counters = UnionIndex(), Counters()
        self.ledger = Ledger(worker(0), {"GPU": self.index}, self.counters)
        self.ingest = TimedIngest()
        self.subscriber = Subscriber(self.ledger, self.counters, self.ingest.wake)
        self.subscriber.attach(None)
        self._pool, self._number = Pool(blocks, BLOCK), 0

    def take(self, blocks: int) -> tuple[int, float]:
        """So many new blocks come, at least; returns block events, and CPU seconds of reading and applying them."""
        before, seconds = self.counters.stored + self.counters.removed, 0.0
        until = self.counters.stored + blocks
        while self.counters.stored < until:
            ahead = min(CHUNK, -(-(until - self.counters.stored) // PROMPT))
            payloads = [self._pool.prefill(PROMPT) for _ in range(ahead)]
            for payload in payloads:
                self.subscriber.offer(self._number, payload)
                self._number += 1
            seconds += timed(self.work)
        return self.counters.stored + self.counters.removed - before, seconds

    def leave(self) -> tuple[int, float]:
        """The worker leaves."""
        blocks = self.ledger.blocks()
        self.subscriber.leave()
        return blocks, timed(self.work)

    def work(self) -> None:
        """All there is, slice by slice."""
        while self.ingest.slice():
            pass


def events(blocks: int, news: int) -> Iterator[list[str]]:
    """A row while the index grows, one while it is full, one when its worker leaves."""
    stream = Stream(blocks)
    gc.collect()
    steps: list[tuple[str, Callable[[], tuple[int, float]]]] = [
        (f"{blocks:,} come", lambda: stream.take(blocks)),
        ("each costs another", lambda: stream.take(news)),
        ("the worker leaves", stream.leave),
    ]
    for name, step in steps:
        stream.ingest.longest_cpu_s = 0.0
        count, seconds = step()
        slice_ms = stream.ingest.longest_cpu_s * 1e3
        yield [name, f"{count:,}", f"{count / seconds:,.0f}", f"{slice_ms:.2f}"]


def main(args: argparse.Namespace) -> None:
    """All tables."""
    print(f"Memory of {args.blocks:,} blocks, ledgers and index together\n")
    rows = []
    for holders in sizes(args.holders):
        held, each = bytes_per_block(args.blocks, holders)
        rows.append([f"{holders}", f"{held:,}", f"{each:.0f}", f"{held * each / 1e6:.0f}"])
    print(table(["holders", "held", "bytes each", "MB"], rows))
    print(f"\nA prompt of {args.prompt:,} blocks, µs of CPU\n")
    rows = list(lookups(sizes(args.workers), args.blocks, args.prompt, args.repeats))
    print(table(["workers", "held by", "look up", "send", "settle"], rows))
    print("\nEvents of one worker\n")
    rows = list(events(args.blocks, args.news))
    print(table(["while", "block events", "events/s", "slice ms"], rows))


if __name__ == "__main__":
    main(parser().parse_args())
