"""Closed-loop HTTP load: N connections, each sends its next request when the last answer ended, or at its turn with --rate.

    python -m bench.dataplane.loadgen --port 18300 --connections 500 --stream --tokens 128

Prints one JSON object: rates, latencies, errors, and the CPU time and memory of the process trees
`--router-pid` and `--backend-pid` over the measured window.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from typing import cast

import uvloop

from bench.dataplane.http1 import EVENT_END, MARK, AnswerReader
from bench.dataplane.meter import Meter, Totals
from bench.dataplane.prompts import Shape, Template, templates

RETRY_S = 0.02
TIMEOUT_S = 30.0


class Source:
    """Numbers the requests and deals them to the groups in turn."""

    def __init__(self, made: list[Template]) -> None:
        self._templates = made
        self._number = 0

    def next(self) -> bytes:
        """The next request."""
        self._number += 1
        return self._templates[self._number % len(self._templates)].request(self._number)


class Client(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, load: Load) -> None:
        self._load, self._totals = load, load.totals
        self._reader = AnswerReader()
        self._quick = False  # inside a stream, between whole events
        self._counted = 0  # chunks of this answer that are in the totals
        self._due = 0.0  # when the next request may go out
        self.sent_at: float | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        assert self.transport
        if self._load.stopping:
            self.transport.close()
            return
        self._reader.reset()
        self._counted = 0
        self.sent_at = time.perf_counter()
        self._due = max(self._due, self.sent_at - self._load.period_s) + self._load.period_s
        self.transport.write(self._load.source.next())

    def data_received(self, data: bytes) -> None:
        """Count events; follow the answer closely only where it may begin or end."""
        if self._quick and data.endswith(EVENT_END):
            self._counted += (n := data.count(MARK))
            self._totals.chunks += n
            return
        self._follow(data)

    def _follow(self, data: bytes) -> None:
        reader = self._reader
        before = reader.events
        try:
            complete = reader.feed(data)
        except ValueError:
            self._fail(f"not HTTP: {data[:60]!r}")
            return
        if reader.events > before:
            if not self._counted and self.sent_at:
                self._totals.ttft_s.append(time.perf_counter() - self.sent_at)
            self._counted += reader.events - before
            self._totals.chunks += reader.events - before
        self._quick = reader.clean and not complete
        if complete:
            self._complete()

    def _complete(self) -> None:
        reader, totals = self._reader, self._totals
        if reader.status != 200 or (self._load.stream and not reader.done):
            self._fail(f"status {reader.status}, whole stream: {reader.done}")
            return
        assert self.sent_at
        totals.latency_s.append(time.perf_counter() - self.sent_at)
        totals.requests += 1
        totals.chunks -= self._load.extra_events if self._load.stream else 0
        self.sent_at = None
        self._load.ended()
        if not reader.closes:
            self._send_when_due()
        elif self.transport:
            self.transport.close()

    def _send_when_due(self) -> None:
        wait_s = self._due - time.perf_counter()
        if wait_s <= 0:
            self._send()
        else:
            asyncio.get_running_loop().call_later(wait_s, self._send)

    def _fail(self, why: str) -> None:
        self._totals.errors += 1
        self._totals.first_error = self._totals.first_error or why
        self.sent_at = None
        self._load.ended()
        if self.transport:
            self.transport.abort()

    def expire(self, now: float) -> None:
        """Give up on a request that has been in flight too long."""
        if self.sent_at and now - self.sent_at > TIMEOUT_S:
            self._fail(f"no end after {TIMEOUT_S:.0f} s")

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish an answer that ends with its connection, or count an error; connect anew."""
        self._quick = False
        if self.sent_at and not exc and self._reader.status and self._reader.closes:
            self._complete()
        elif self.sent_at and not self._load.stopping:
            self._fail(f"connection lost: {exc or 'closed'}")
        self._load.lost(self)


class Load:
    """All connections of one run."""

    # the usage event and [DONE] come in the same write as the last token
    extra_events = 2

    def __init__(
        self, port: int, shape: Shape, limit: int | None = None, period_s: float = 0.0
    ) -> None:
        self.period_s = period_s
        self.stream = shape.stream
        self.totals = Totals()
        self.source = Source(templates(shape, f"127.0.0.1:{port}"))
        self.stopping = False
        self.limit_reached = asyncio.Event()
        self._port, self._limit = port, limit
        self._clients: set[Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, connections: int, ramp_s: float) -> None:
        """Open the connections at random moments of `ramp_s`: even gaps would put them in step."""
        rng = random.Random(connections)
        for _ in range(connections):
            self._spawn(ramp_s * rng.random())

    def _spawn(self, delay_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(delay_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while not self.stopping:
            try:
                _, client = await asyncio.get_running_loop().create_connection(
                    lambda: Client(self), "127.0.0.1", self._port
                )
            except OSError as error:
                self.totals.errors += 1
                self.totals.first_error = self.totals.first_error or str(error)
                self.ended()
                await asyncio.sleep(RETRY_S)
            else:
                self._clients.add(client)
                return

    def lost(self, client: Client) -> None:
        """Replace a connection."""
        self._clients.discard(client)
        if not self.stopping:
            self._spawn(RETRY_S)

    def ended(self) -> None:
        """A request ended, well or not; look whether it was the last one asked for."""
        if self._limit and self.totals.requests + self.totals.errors >= self._limit:
            self.stopping = True
            self.limit_reached.set()

    async def watch(self) -> None:
        """Give up on stuck requests, for ever."""
        while True:
            await asyncio.sleep(1)
            now = time.perf_counter()
            for client in list(self._clients):
                client.expire(now)

    def stop(self) -> None:
        """Drop all connections."""
        self.stopping = True
        for client in self._clients:
            if client.transport:
                client.transport.abort()


async def run(args: argparse.Namespace) -> dict[str, object]:
    """One run: ramp and warm-up, then the measured window."""
    shape = Shape(args.prompt_bytes, args.stream, args.tokens, args.groups, args.share)
    period_s = args.connections / args.rate if args.rate else 0.0
    load = Load(args.port, shape, args.requests, period_s)
    meter = Meter(load.totals, args.router_pid, args.backend_pid, args.router_core)
    load.start(args.connections, args.ramp)
    watch = asyncio.get_running_loop().create_task(load.watch())
    await asyncio.sleep(0 if args.requests else args.warmup)
    before = meter.mark()
    if args.requests:
        await load.limit_reached.wait()
    else:
        await asyncio.sleep(args.seconds)
    after = meter.mark()
    load.stop()
    watch.cancel()
    await asyncio.sleep(0.05)
    return meter.result(before, after)


def parser() -> argparse.ArgumentParser:
    """The flags."""
    out = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out.add_argument("--port", type=int, required=True)
    out.add_argument("--connections", type=int, default=16)
    out.add_argument("--prompt-bytes", type=int, default=1024)
    out.add_argument("--stream", action="store_true")
    out.add_argument("--tokens", type=int, default=16)
    out.add_argument("--groups", type=int, default=16, help="families of prompts")
    out.add_argument(
        "--share", type=float, default=0.75, help="part of a prompt that its family shares"
    )
    out.add_argument(
        "--ramp", type=float, default=0, help="seconds over which connections are opened"
    )
    out.add_argument(
        "--warmup", type=float, default=1, help="seconds before the window, ramp included"
    )
    out.add_argument("--seconds", type=float, default=4, help="length of the window")
    out.add_argument("--requests", type=int, help="end after so many requests, without a warm-up")
    out.add_argument("--rate", type=float, help="requests per second, at most (default: no pause)")
    out.add_argument("--router-pid", type=int, default=0)
    out.add_argument("--backend-pid", type=int, default=0)
    out.add_argument("--router-core", type=int, default=0)
    return out


def main() -> None:
    """Run and print the result."""
    print(json.dumps(uvloop.run(run(parser().parse_args()))))


if __name__ == "__main__":
    main()
