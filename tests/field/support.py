"""Scripts of workers and questions to the router that several field tests share."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from tests.component.harness import CHAT, RunningRouter
from tests.fakes.client import Response
from tests.fakes.wire import Request, Script, Wire
from tests.fakes.worker import FakeWorker, sse

SLOW_PROBES: dict[str, Any] = {"health_interval_s": 60, "models_interval_s": 60}
"""Settings under which only requests tell how a worker is."""


def delta(text: str = "x", **fields: Any) -> dict[str, Any]:
    """A chunk of a chat stream."""
    return {"choices": [{"index": 0, "delta": {"content": text, **fields}}]}


def answers(status: int = 200, value: Any = None, after_s: float = 0.0) -> Script:
    """A whole JSON answer, always the same."""

    async def script(request: Request, wire: Wire) -> None:
        await asyncio.sleep(after_s)
        await wire.json({} if value is None else value, status)

    return script


def streams(count: int, *, delay_s: float = 0.0) -> Script:
    """A stream of so many chunks, `delay_s` between them."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(sse(*(delta(f"{n} ") for n in range(count))), delay_s=delay_s)

    return script


async def hangs(request: Request, wire: Wire) -> None:
    """Take a request and never answer."""
    await wire.hang()


async def resets(request: Request, wire: Wire) -> None:
    """Close with a reset instead of an answer."""
    wire.reset()


def pinned(worker: FakeWorker) -> list[tuple[str, str]]:
    """Header fields that send a request to this worker."""
    return [("x-router-worker", worker.id)]


async def states(router: RunningRouter) -> dict[str, dict[str, Any]]:
    """What `/workers` says, by worker."""
    listing = (await router.get("/workers")).json()["workers"]
    return {each["id"]: each for each in listing}


async def explained(router: RunningRouter, body: Any, path: str = CHAT) -> dict[str, Any]:
    """What `/explain` says of a request."""
    answer = await router.post(body, f"/explain?endpoint={path}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


async def scraped(router: RunningRouter, name: str, **labels: str) -> float:
    """The sum of a metric's series with these labels, as Prometheus would scrape them."""
    router.app.reporter.settle()
    page = (await router.get("/metrics")).body.decode()
    series = re.findall(rf"^{re.escape(name)}(\{{.*\}})? (\S+)$", page, re.MULTILINE)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(value) for found, value in series if all(each in found for each in wanted))


async def asked(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Await what `condition` gives until it is true; its value."""
    async with asyncio.timeout(timeout_s):
        while True:
            if value := await condition():
                return value
            await asyncio.sleep(0.01)


def events(response: Response) -> list[Any]:
    """The JSON of a stream's events, without `[DONE]`."""
    lines = re.findall(rb"^data: (\{.*\})$", response.body, re.MULTILINE)
    return [json.loads(line) for line in lines]
