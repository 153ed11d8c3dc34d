"""Steady requests through several routers, and what came of them."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import quantiles
from time import monotonic

from bench.policies.client import ChatClient, FailedError

PAUSE_S = 0.02
TOPICS = 12


@dataclass(frozen=True, slots=True)
class Request:
    """When a request was sent, what its first token took, and what part of its prompt was cached."""

    at: float
    ttft_s: float
    cached: float


@dataclass(slots=True)
class Traffic:
    """`routers` may be changed while it runs."""

    routers: dict[str, ChatClient]
    done: list[Request] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def since(self, start: float, end: float = float("inf")) -> list[Request]:
        return [request for request in self.done if start <= request.at < end]

    async def user(self, seed: int) -> None:
        """Goes on and on about some topics, to any of the routers."""
        dice = random.Random(seed)
        while True:
            topic = random.Random(dice.randrange(TOPICS))
            words = [
                topic.choice(["lorem", "ipsum", "dolor", "sit", "amet", "elit", "sed", "do"])
                for _ in range(600)
            ]
            text = " ".join([*words, str(dice.random())])
            url = dice.choice([*self.routers])
            at = monotonic()
            try:
                answer = await self.routers[url].ask([{"role": "user", "content": text}], str(seed))
            except FailedError as error:
                if url in self.routers:
                    self.failures.append(f"{url}: {error}")
                continue
            self.done.append(
                Request(at, answer.ttft_s, answer.cached_tokens / answer.prompt_tokens)
            )
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def traffic(routers: Sequence[str], model: str, users: int = 6) -> AsyncIterator[Traffic]:
    """Requests for as long as the context lasts."""
    running = Traffic({url: ChatClient(url, model, 4) for url in routers})
    clients = [*running.routers.values()]
    tasks = [asyncio.create_task(running.user(seed)) for seed in range(users)]
    try:
        yield running
        assert not any(task.done() for task in tasks), "a user gave up"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            await client.close()


def summary(requests: Sequence[Request]) -> str:
    """Count, first tokens and hits, in words."""
    if len(requests) < 2:
        return f"{len(requests)} requests"
    cuts = quantiles([request.ttft_s * 1e3 for request in requests], n=100)
    hits = sum(request.cached for request in requests) / len(requests)
    worst = max(request.ttft_s for request in requests) * 1e3
    return f"{len(requests)} requests, TTFT p50 {cuts[49]:.0f} p99 {cuts[98]:.0f} max {worst:.0f} ms, {hits:.0%} cached"
