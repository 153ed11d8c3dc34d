"""A router whose configuration and workers change while it serves, as a process."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.component.conftest import StartWorker
from tests.component.harness import CHAT, chat
from tests.fakes.client import connect, request
from tests.fakes.ports import free_ports
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


class Serving:
    """A router in a process of its own, its configuration in `file`."""

    def __init__(self, process: Process, port: int, file: Path) -> None:
        self.process = process
        self.port = port
        self.file = file
        self.log = ""

    def write(self, *workers: FakeWorker, **settings: Any) -> None:
        """Write the configuration anew, as one step."""
        values = {"workers": [worker.url for worker in workers], "port": self.port, **settings}
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps({"host": "127.0.0.1", **values}))
        draft.rename(self.file)

    async def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
        async with connect("127.0.0.1", self.port) as client:
            await client.send(request(method, target, body, [("content-type", "application/json")]))
            answer = await client.response()
            return answer.status, answer.json()

    async def until_workers(self, *workers: FakeWorker) -> None:
        wanted = {worker.url for worker in workers}
        await self.until(lambda rows: {row["url"] for row in rows if row["up"]} == wanted)

    async def until(self, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    _, answer = await self.ask("GET", "/workers")
                    if condition(answer["workers"]):
                        return
                except OSError:
                    pass
                await asyncio.sleep(0.05)

    async def logged(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.log:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log += line.decode()


@asynccontextmanager
async def serving(folder: Path, *workers: FakeWorker, **settings: Any) -> AsyncIterator[Serving]:
    (port,) = free_ports(1)
    file = folder / "router.yaml"
    router = Serving(None, port, file)  # type: ignore[arg-type]
    router.write(*workers, **settings)
    router.process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "serve", "--config", str(file),
        cwd=ROOT, stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip
    reading = asyncio.ensure_future(router.read_log())
    try:
        await router.until(lambda rows: len(rows) >= len(workers))
        yield router
    finally:
        if router.process.returncode is None:
            router.process.kill()
        await router.process.wait()
        await reading


class Held:
    """A script that streams one event, and the rest when it is let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        await wire.chunk(b'data: {"n":0}\n\n')
        await self.go_on.wait()
        for piece in sse({"n": 1}):
            await wire.chunk(piece)
        await wire.end()


async def test_workers_change_under_a_stream_that_goes_on(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    held = Held()
    old, new = await start_worker(script=held), await start_worker()
    async with serving(tmp_path, old) as router, connect("127.0.0.1", router.port) as client:
        await router.until_workers(old)
        await client.post(CHAT, chat(stream=True))
        response = await client.head()
        chunks = client.chunks(response)
        first = await anext(chunks)
        router.write(new, retry_budget=0.5, policy="session")
        router.process.send_signal(signal.SIGHUP)
        await router.until_workers(new)
        await router.logged("the configuration was read anew: retry_budget, workers")
        await router.logged("these settings count after a restart: policy")
        status, _ = await router.ask("POST", CHAT, json.dumps(chat("other")).encode())
        assert status == 200
        await new.received_count(1)
        held.go_on.set()
        rest = b"".join([chunk async for chunk in chunks])
        assert b'{"n":0}' in first
        assert b'{"n": 1}' in rest or b'{"n":1}' in rest


async def test_a_file_that_changes_is_noticed_and_a_wrong_one_changes_nothing(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    a, b = await start_worker(), await start_worker()
    async with serving(tmp_path, a) as router:
        await router.until_workers(a)
        router.file.write_text("workers: {")
        await router.logged("not valid YAML")
        await router.logged("stays as it was")
        await router.until_workers(a)
        router.write(a, b)
        await router.until_workers(a, b)


async def test_workers_in_a_file_of_their_own(tmp_path: Path, start_worker: StartWorker) -> None:
    a, b = await start_worker(), await start_worker()
    file = tmp_path / "workers.yaml"
    file.write_text(f"- {a.url}\n")
    async with serving(tmp_path, workers_file=str(file)) as router:
        await router.until_workers(a)
        file.write_text(f"- {a.url}\n- url: {b.url}\n  drained: true\n  name: second\n")
        await router.until_workers(a, b)
        await router.until(
            lambda rows: (
                [(row["name"], row["state"]) for row in rows]
                == [("", "up"), ("second", "draining")]
            )
        )


async def test_workers_stay_while_the_place_where_they_are_found_from_now_on_cannot_tell(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    """A typo, or a file that is mounted a little later; those that it does not name go then."""
    a, b = await start_worker(), await start_worker()
    late = tmp_path / "workers.yaml"
    async with serving(tmp_path, a, b) as router:
        await router.until_workers(a, b)
        for number in range(2):
            router.write(workers_file=str(late) if number else str(tmp_path / "typo.yaml"))
            file = late.name if number else "typo.yaml"
            await router.logged("2 workers of before stay until this has told")
            await router.logged(f"{file} is")
            await asyncio.sleep(1.5)
            await router.until_workers(a, b)
            status, _ = await router.ask("POST", CHAT, json.dumps(chat()).encode())
            assert status == 200
        late.write_text(f"- {b.url}\n")
        await router.until_workers(b)


async def test_an_operator_adds_and_removes_workers_by_the_command_line(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    a, b = await start_worker(), await start_worker()
    async with serving(tmp_path, a) as router:

        async def workers(*arguments: str) -> str:
            url = f"http://127.0.0.1:{router.port}"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "router", "workers", "--router", url, *arguments,
                cwd=ROOT, stdout=PIPE, stderr=PIPE,
            )  # fmt: skip
            out, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
            return out.decode()

        assert "is in the fleet" in await workers("add", b.url)
        await router.until_workers(a, b)
        listed = await workers()
        assert "operator" in listed
        assert "configuration" in listed
        worker = a.url.removeprefix("http://")
        assert "is drained: 0 requests" in await workers("drain", worker)
        assert "is removed" in await workers("remove", worker)
        await router.until_workers(b)
        router.process.send_signal(signal.SIGHUP)
        await router.logged("nothing to change")
        await router.until_workers(b)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_still_stops(
    tmp_path: Path, start_worker: StartWorker, number: signal.Signals
) -> None:
    worker = await start_worker()
    async with serving(tmp_path, worker, drain_grace_s=0) as router:
        router.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            assert await router.process.wait() == 0
