"""Starts simulated workers as processes of their own and stops them."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.errors import RouterError
from router.upstream.fetch import fetch
from router.upstream.pool import Address, Pool

_START_S = 20.0
MODEL = "demo-model"


@asynccontextmanager
async def simulated_workers(count: int) -> AsyncIterator[list[str]]:
    """`count` workers with small caches on free ports, up while the block runs; yields their URLs."""
    ports = _free_ports(count)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    processes: list[asyncio.subprocess.Process] = []
    try:
        for port in ports:
            processes.append(await _start(port))  # noqa: PERF401 - those started before a failure are stopped
        async with asyncio.timeout(_START_S):
            await asyncio.gather(*(_wait(url) for url in urls))
        yield urls
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in processes))


async def _start(port: int) -> asyncio.subprocess.Process:
    """A worker that ends with this process, however that ends: its standard input is a pipe from here."""
    options = ("--port", str(port), "--model", MODEL, "--kv-tokens", "20000", "--exit-with-parent")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router.simworker", *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )


async def _wait(url: str) -> None:
    pool = Pool(Address.parse(url), None, connect_s=1.0, idle_s=1.0)
    while True:
        try:
            if (await fetch(pool, "/health", api_key=None, timeout_s=1.0)).status == 200:
                return
        except (RouterError, TimeoutError):
            await asyncio.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
