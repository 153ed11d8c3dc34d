"""What KV events cost: CPU per block event, the share of a core at a given rate, and how long the loop is held.

python -m bench.events
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, process_time, thread_time

import uvloop

from bench.dataplane.report import table
from bench.events.load import Pool, block_events
from bench.events.timed import TimedIngest
from bench.index.memory import apply
from router.events.counters import Counters
from router.events.feeds import EventFeeds
from router.events.ledger import Ledger
from router.events.sources import EventSource
from router.events.wire import decode
from router.ids import WorkerId
from router.index.union import UnionIndex

WORKER = WorkerId("worker:8000")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    out.add_argument("--rate", type=float, default=20_000, help="block events a second")
    out.add_argument("--seconds", type=float, default=5.0, help="for so long")
    out.add_argument("--batches", type=int, default=1_000, help="of a kind; the median is printed")
    out.add_argument("--pool", type=int, default=20_000, help="blocks that an engine holds")
    out.add_argument("--past", type=int, default=10_000, help="batches of a replay")
    return out


# -- the cost of a batch -------------------------------------------------------------------------


KINDS: dict[str, Callable[[Pool], bytes]] = {
    "a prompt of 64 blocks": lambda pool: pool.prefill(64),
    "8 requests fill a block": lambda pool: pool.decode(8),
}


def batch_costs(
    make: Callable[[Pool], bytes], pool: Pool, batches: int
) -> tuple[int, float, float]:
    """Block events of a batch, and CPU seconds of reading and of applying it (medians), once the pool is full."""
    ledger = Ledger(WORKER, {"GPU": UnionIndex()}, Counters())
    while ledger.blocks() < pool.blocks:
        apply(ledger, pool.prefill(64))
    reading, applying, size = [], [], 0
    for _ in range(batches):
        payload = make(pool)
        started = process_time()
        batch = decode(payload)
        read = process_time()
        assert batch is not None
        for _ in ledger.apply(batch.events):
            pass
        applying.append(process_time() - read)
        reading.append(read - started)
        size = block_events(payload)
    return size, statistics.median(reading), statistics.median(applying)


def costs(blocks: int, batches: int) -> list[list[str]]:
    """A row for each kind of batch, from a pool of so many blocks."""
    rows = []
    for block in (16, 32):
        for name, make in KINDS.items():
            events, reading, applying = batch_costs(make, Pool(blocks, block), batches)
            whole = reading + applying
            figures = [f"{seconds * 1e6:.0f}" for seconds in (reading, applying)]
            each = [f"{whole / events * 1e6:.2f}", f"{events / whole:,.0f}"]
            rows.append([name, f"{block}", f"{events}", *figures, *each])
    return rows


# -- through sockets -----------------------------------------------------------------------------


_GIVEN_UP_S = 30.0
"""A replay that has not come by then does not come any more."""


class Probe:
    """How late a timer of 1 ms is: what a request's next step would wait."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def run(self) -> None:
        while True:
            due = perf_counter() + 0.001
            await asyncio.sleep(0.001)
            self.late_ms.append((perf_counter() - due) * 1e3)

    def row(self) -> list[str]:
        """Median, 99th percentile and maximum."""
        cuts = statistics.quantiles(self.late_ms, n=100)
        return [f"{value:.2f}" for value in (cuts[49], cuts[98], max(self.late_ms))]


@contextmanager
def publisher(args: argparse.Namespace, seconds: float, past: int) -> Iterator[EventSource]:
    """A worker's process; gives its source."""
    command = [sys.executable, "-m", "bench.events.publisher"]
    numbers = [f"{number}" for number in (args.rate, seconds, past, args.pool)]
    process = subprocess.Popen([*command, *numbers], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().decode().split()
        if len(said) != 2:
            sys.exit("bench.events: its publisher does not start")
        events, replay = said
        yield EventSource(WORKER, 0, events, replay=replay)
    finally:
        process.kill()
        process.communicate()


async def measured(
    source: EventSource | None, until: Callable[[Counters, float], bool]
) -> list[str]:
    """Follow `source` until it is enough: block events a second, share of a core, the longest slice, lateness."""
    ingest, probe = TimedIngest(), Probe()
    feeds = EventFeeds({"GPU": UnionIndex()}, ingest=ingest)
    tasks = [asyncio.ensure_future(job) for job in (feeds.run(), probe.run())]
    started, loop, cpu = perf_counter(), thread_time(), process_time()
    if source:
        feeds.follow(WORKER, [source])
    while not until(feeds.counters().get(WORKER, Counters()), perf_counter() - started):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    wall = perf_counter() - started
    loop, cpu = thread_time() - loop, process_time() - cpu
    counters = feeds.counters().get(WORKER, Counters())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    events = counters.stored + counters.removed
    return [
        f"{events / wall:,.0f}",
        f"{counters.gaps}",
        f"{loop / wall:.0%}",
        f"{cpu / wall:.0%}",
        f"{ingest.longest_cpu_s * 1e3:.2f}",
        *probe.row(),
    ]


async def through_sockets(args: argparse.Namespace) -> list[list[str]]:
    """A row without events, one at the rate, one for a replay."""
    rate, seconds, past = args.rate, args.seconds, args.past
    rows = [["nothing", *await measured(None, lambda _, wall: wall > seconds)]]
    with publisher(args, seconds, 0) as source:
        row = await measured(source, lambda _, wall: wall > seconds)
        rows.append([f"{rate:,.0f} events/s", *row])
    with publisher(args, 0.0, past) as source:
        row = await measured(source, lambda seen, wall: seen.batches >= past or wall > _GIVEN_UP_S)
        rows.append([f"replay of {past:,} batches", *row])
    return rows


def main(args: argparse.Namespace) -> None:
    """All tables."""
    head = ["batch", "block", "events", "read µs", "apply µs", "µs/event", "events/s"]
    print(table(head, costs(args.pool, args.batches)), "\n")
    head = ["load", "events/s", "gaps", "loop", "core", "slice ms", "p50 ms", "p99 ms", "max ms"]
    print(table(head, uvloop.run(through_sockets(args))))


if __name__ == "__main__":
    main(parser().parse_args())
