"""Conversations with a fleet, and between them what goes wrong in life."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.deploy.workers import CHAT, OTHER, Workers
from tests.e2e.harness import Router, ask
from tests.fakes.client import Client, Fields, connect
from tests.fakes.redis_server import Server

LOAD_S = 22.0
KEY, METERED_KEY = "acme-" + "k" * 20, "beta-" + "k" * 20


class Traffic:
    """Conversations all the time, and between them what goes wrong in life."""

    def __init__(self, routers: list[Router], workers: Workers, redis: Server) -> None:
        self.routers, self.workers, self.redis = routers, workers, redis
        self.dice = random.Random(1)
        self.turn = itertools.cycle(routers)
        self.over = False

    async def go(self) -> None:
        """For `LOAD_S` seconds."""
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(self._talk(number))
            group.create_task(self._leave())
            group.create_task(self._err())
            group.create_task(self._events())

    async def _events(self) -> None:
        events: dict[float, Callable[[], Any]] = {
            4.0: self._crowd,
            7.0: self._long_streams,
            8.0: lambda: self.workers.kill(1),
            11.0: lambda: self._drain(0, "drain"),
            13.0: self.redis.stop,
            14.0: self.redis.go_on,
            16.0: lambda: self._drain(0, "undrain"),
            LOAD_S: lambda: setattr(self, "over", True),
        }
        began = time.monotonic()
        tasks = set()
        for at, event in events.items():
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            done = event()
            if asyncio.iscoroutine(done):
                tasks.add(asyncio.ensure_future(done))
        await asyncio.gather(*tasks)

    async def _talk(self, number: int) -> None:
        """A conversation grows; a new one begins from one of a few system prompts."""
        system = words(random.Random(number % 3), 300)
        while not self.over:
            said = system
            for _ in range(4):
                said += "\n" + words(self.dice, 30)
                model = OTHER if number == 9 else CHAT
                status = await self._ask(said, model=model, max_tokens=self.dice.randint(5, 25))
                if self.over:
                    return
                if status == 503:
                    await asyncio.sleep(0.5)

    async def _crowd(self) -> None:
        """More than there is room for, and more than may wait."""
        prompts = [words(self.dice, 900) for _ in range(150)]
        await asyncio.gather(*(self._ask(each, max_tokens=4) for each in prompts))

    async def _long_streams(self) -> None:
        """These run while a worker dies; some may go on nowhere else."""
        doomed = [("x-router-worker", self.workers.id(self.workers.urls[1]))]
        texts = [words(self.dice, 50) for _ in range(12)]
        await asyncio.gather(
            *(self._ask(each, max_tokens=150) for each in texts),
            *(self._ask(each, max_tokens=150, fields=doomed) for each in texts[:4]),
        )

    async def _leave(self) -> None:
        """Clients that do not wait for their answers."""
        while not self.over:
            async with self._client() as client:
                await client.post(*_request(words(self.dice, 20), CHAT, 100), _key(KEY))
                await client.head()
            await asyncio.sleep(0.4)

    async def _err(self) -> None:
        """Mistakes of clients, and a tenant that asks for too much."""
        while not self.over:
            await self._ask("hi", model="nobody-serves-this")
            await self._ask("hi", key=METERED_KEY, max_tokens=3)
            await asyncio.sleep(0.3)

    async def _drain(self, place: int, what: str) -> None:
        worker = self.workers.id(self.workers.urls[place])
        for router in self.routers:
            await asyncio.to_thread(ask, router.url, f"/workers/{worker}/{what}")

    async def _ask(
        self,
        said: str,
        *,
        key: str = KEY,
        model: str = CHAT,
        max_tokens: int = 10,
        fields: Fields = (),
    ) -> int:
        """The status; 0 where there was none in time."""
        wanted = _request(said, model, max_tokens)
        async with self._client() as client:
            try:
                return (await client.call(*wanted, [*_key(key), *fields])).status
            except (asyncio.IncompleteReadError, TimeoutError):
                return 0

    def _client(self) -> contextlib.AbstractAsyncContextManager[Client]:
        target = urlsplit(next(self.turn).url)
        assert target.hostname
        assert target.port
        return connect(target.hostname, target.port)


def _key(key: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {key}")]


def _request(said: str, model: str, max_tokens: int) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", {
        "model": model,
        "prompt": said,
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def words(dice: random.Random, count: int) -> str:
    """Text of so many short words."""
    return " ".join(f"{dice.randrange(16**4):04x}" for _ in range(count))
