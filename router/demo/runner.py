"""The demo's course: workers, the workload by turns, the same by prefix, a table, then stay and serve."""

import asyncio
import io
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import msgspec
import uvicorn
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from router.app import App, build, run, server_config
from router.demo.client import Asked, ChatClient
from router.demo.fleet import simulated_workers
from router.demo.workload import ANSWER_TOKENS, CONVERSATIONS, TURNS, Conversation, conversations
from router.servers import local_url
from router.settings import Settings
from router.telemetry.logs import RequestLog
from router.upstream.fetch import fetch
from router.upstream.pool import Address, Pool

_CONCURRENCY = 6
_REPORTS = 4
"""How often progress is told of a policy where there is no terminal to draw a bar on."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`workers`: URLs of workers that run already; empty: `simulated` ones are started."""

    workers: tuple[str, ...] = ()
    simulated: int = 3
    host: str = "127.0.0.1"
    port: int = 8080
    once: bool = False


@dataclass(slots=True)
class Result:
    """The workload under one policy."""

    policy: str
    asked: list[Asked] = field(default_factory=list)

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens that a worker had in its cache."""
        return sum(a.cached_tokens for a in self.asked) / max(
            1, sum(a.prompt_tokens for a in self.asked)
        )

    @property
    def ttft_ms(self) -> tuple[float, float, float]:
        """Mean, median and 95th percentile of the time to first token."""
        times = [a.ttft_s * 1e3 for a in self.asked]
        return sum(times) / len(times), median(times), quantiles(times, n=20)[-1]


class _Gate(io.RawIOBase):
    """Lets request lines through to standard output once it is open."""

    is_open = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.is_open:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        return len(data)


async def demo(options: DemoOptions) -> None:
    """Run the demo until cancelled, which SIGTERM does too, or until after the table with `once`."""
    console, task = Console(), asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    given = nullcontext(list(options.workers))
    async with given if options.workers else simulated_workers(options.simulated) as workers:
        console.print(f"{len(workers)} workers: {' '.join(workers)}")
        async with _routed(workers, "round_robin", options, port=0) as (url, _, _):
            baseline = await _measure("round_robin", url, console)
        async with _routed(workers, "prefix", options, port=options.port) as (url, gate, app):
            result = await _measure("prefix", url, console)
            console.print(_table(baseline, result))
            console.print(_invitation(url, await _model(url)), soft_wrap=True, highlight=False)
            app.reporter.settle()  # the workload's lines are not to be seen
            app.request_log.flush()
            gate.is_open = True
            if not options.once:
                await asyncio.Event().wait()


@asynccontextmanager
async def _routed(
    workers: list[str], policy: str, options: DemoOptions, *, port: int
) -> AsyncIterator[tuple[str, _Gate, App]]:
    """A router in this process while the block runs: its URL, its log's gate and itself."""
    gate = _Gate()
    settings = Settings(workers=workers, policy=policy, host=options.host, port=port)
    app = build(settings, RequestLog(gate, json=False))
    server = _Server(server_config(app))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(run(app, server))
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        try:
            actual = server.servers[0].sockets[0].getsockname()[1]
            yield local_url(options.host, actual), gate, app
        finally:
            server.should_exit = True


class _Server(uvicorn.Server):
    """Leaves signals to the demo, which has workers to stop as well."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


async def _model(url: str) -> str:
    """The first model served."""
    answer = await fetch(
        Pool(Address.parse(url), None, connect_s=5.0, idle_s=1.0),
        "/v1/models",
        api_key=None,
        timeout_s=5.0,
    )
    return str(msgspec.json.decode(answer.body)["data"][0]["id"])


async def _measure(policy: str, url: str, console: Console) -> Result:
    """Run the workload, a few conversations at a time."""
    result, client, model = Result(policy), ChatClient(url), await _model(url)
    # An own part of the workers' caches: neither run profits from the other.
    salt = secrets.token_hex(8)
    waiting = conversations()
    total = CONVERSATIONS * TURNS
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{policy:<12}", total=total)

        async def converse() -> None:
            while waiting:
                await _hold(waiting.pop(0), client, {"model": model, "cache_salt": salt}, note)

        def note(asked: Asked) -> None:
            result.asked.append(asked)
            progress.advance(task)
            if not console.is_terminal and len(result.asked) % (total // _REPORTS) == 0:
                console.print(f"{policy}: {len(result.asked)} of {total} requests")

        async with asyncio.TaskGroup() as group:
            for _ in range(_CONCURRENCY):
                group.create_task(converse())
    client.close()
    return result


async def _hold(
    conversation: Conversation,
    client: ChatClient,
    base: dict[str, Any],
    note: Callable[[Asked], None],
) -> None:
    messages = [{"role": "system", "content": conversation.system}]
    for question in conversation.questions:
        messages.append({"role": "user", "content": question})
        asked = await client.ask({**base, "messages": messages, "max_tokens": ANSWER_TOKENS})
        messages.append({"role": "assistant", "content": asked.answer})
        note(asked)


def _table(baseline: Result, result: Result) -> Table:
    requests = len(result.asked)
    table = Table(title=f"{requests} requests: {CONVERSATIONS} conversations of {TURNS} turns")
    table.add_column("policy")
    for name in ("prefix hit rate", "TTFT mean", "TTFT median", "TTFT p95"):
        table.add_column(name, justify="right")
    for each in (baseline, result):
        table.add_row(each.policy, f"{each.hit_rate:.0%}", *(f"{t:.0f} ms" for t in each.ttft_ms))
    factors = (b / max(r, 0.01) for b, r in zip(baseline.ttft_ms, result.ttft_ms, strict=True))
    table.add_row("gain", "", *(f"{factor:.1f}x" for factor in factors), style="bold")
    return table


def _invitation(url: str, model: str) -> str:
    return f"""
The router serves at {url}; stop it with Ctrl-C. Try:

  curl {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}], "max_tokens": 20}}'

  curl {url}/workers        curl {url}/metrics

console: {url}/
"""
