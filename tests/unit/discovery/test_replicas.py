"""What an operator tells one router is passed on to its replicas."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from router.discovery.base import Tell
from router.discovery.replicas import Replicas
from router.fleet.target import Target
from tests.fakes.ports import free_ports
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker


class Pods:
    """A source of replicas at these URLs."""

    name = "pods"
    problem: str | None = None

    def __init__(self, *urls: str) -> None:
        self.targets = [Target(url=url) for url in urls]

    async def run(self, tell: Tell) -> None:
        tell(self.targets)
        await asyncio.Event().wait()


async def refuse(request: Request, wire: Wire) -> None:
    await wire.json({"error": "no"}, 403)


async def hang(request: Request, wire: Wire) -> None:
    await wire.hang()


async def known(replicas: Replicas) -> "asyncio.Task[None]":
    task = asyncio.ensure_future(replicas.run())
    await asyncio.sleep(0)
    return task


async def test_all_are_told_at_once_with_the_key_and_the_mark() -> None:
    async with AsyncExitStack() as stack:
        pods = [await stack.enter_async_context(FakeWorker()) for _ in range(3)]
        replicas = Replicas(Pods(*(pod.url for pod in pods)), key="sesame", tls=None)
        task = await known(replicas)
        assert replicas.problem is None
        assert await replicas.pass_on("POST", "/workers/a:1%231/drain", b"") == []
        assert await replicas.pass_on("DELETE", "/workers/a:1", b"") == []
        assert await replicas.pass_on("POST", "/workers", b'{"url":"b:1"}') == []
        for pod in pods:
            assert [(asked.method, asked.target) for asked in pod.requests] == [
                ("POST", "/workers/a:1%231/drain"),
                ("DELETE", "/workers/a:1"),
                ("POST", "/workers"),
            ]
            for asked in pod.requests:
                assert asked.header("authorization") == "Bearer sesame"
                assert asked.header("x-router-relayed") == "1"
            assert pod.requests[2].body == b'{"url":"b:1"}'
        task.cancel()


async def test_those_that_could_not_be_told_are_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.discovery.replicas._TIMEOUT_S", 0.3)
    (nobody,) = free_ports(1)
    gone = f"http://127.0.0.1:{nobody}"
    async with (
        FakeWorker() as good,
        FakeWorker(script=refuse) as bad,
        FakeWorker(script=hang) as slow,
    ):
        replicas = Replicas(Pods(good.url, bad.url, slow.url, gone), key=None, tls=None)
        task = await known(replicas)
        untold = await replicas.pass_on("POST", "/workers/a:1/drain", b"")
        assert untold == [bad.url, slow.url, gone]
        assert "403" in caplog.text
        assert len(good.requests) == 1
        assert good.requests[0].header("authorization") is None
        task.cancel()


async def test_nobody_is_known_at_first() -> None:
    replicas = Replicas(Pods(), key=None, tls=None)
    assert await replicas.pass_on("POST", "/workers/a:1/drain", b"") == [
        "pods: no pod is known, not even this"
    ]


async def test_a_source_that_cannot_know_of_all_is_named() -> None:
    async with FakeWorker() as pod:
        pods = Pods(pod.url)
        replicas = Replicas(pods, key=None, tls=None)
        task = await known(replicas)
        pods.problem = "HTTP 403: no"
        assert await replicas.pass_on("POST", "/workers/a:1/drain", b"") == ["pods: HTTP 403: no"]
        assert len(pod.requests) == 1
        task.cancel()
