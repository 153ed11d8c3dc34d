"""The load balancer before the routers: sends requests to those that say they are ready."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from bench.chaos.client import ask
from bench.chaos.processes import Program
from bench.chaos.reply import Reply
from bench.chaos.timeline import Timeline
from bench.chaos.traffic import Question

CHECK_S = 1.0


class Balancer:
    """Knows which routers are in rotation. `moved`: requests that it took elsewhere, by what became of their router."""

    def __init__(self, routers: Mapping[str, Program], timeline: Timeline, seed: int) -> None:
        self._routers, self._timeline = routers, timeline
        self._rng = random.Random(seed)
        self._ready: list[str] = list(routers)

    async def watch(self) -> None:
        """Ask all routers whether they are ready, for ever."""
        while True:
            names = list(self._routers)
            answers = await asyncio.gather(*(self._routers[name].is_ready() for name in names))
            self._ready = [name for name, ready in zip(names, answers, strict=True) if ready]
            await asyncio.sleep(CHECK_S)

    async def ask(self, question: Question) -> Reply:
        """Send a request. A router that is going away and has answered nothing is left for another one, once each."""
        moved: list[str] = []
        while True:
            name = self._pick(moved)
            reply = await ask(question, self._routers[name].address)
            reply.router, reply.moved_from = name, moved
            leaving = self._timeline.leaving(name, reply.ended_at)
            untouched = reply.begun_at is None and reply.failure not in ("", "timeout")
            if not (untouched and leaving) or len(moved) + 1 >= len(self._routers):
                return reply
            moved = [*moved, name]

    def _pick(self, without: Sequence[str]) -> str:
        others = [name for name in self._routers if name not in without]
        ready = [name for name in others if name in self._ready]
        return self._rng.choice(ready or others)
