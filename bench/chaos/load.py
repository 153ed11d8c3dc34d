"""An open load: requests come at their times, whatever became of the others."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from time import perf_counter

from bench.chaos.balancer import Balancer
from bench.chaos.oracle import Oracle
from bench.chaos.reply import Reply
from bench.chaos.timeline import Timeline
from bench.chaos.traffic import Question, Traffic
from bench.chaos.verdict import Judged, judge


@dataclass(frozen=True, slots=True)
class Record:
    """A request that is over. `calm`: nothing was wrong between its sending and its first text; seconds."""

    path: str
    stream: bool
    judged: Judged
    ttft_s: float | None
    calm: bool
    moved: tuple[str, ...]
    router: str
    worker: str
    at_s: float


class Load:
    """Sends `rate` requests a second, at random moments."""

    def __init__(
        self, balancer: Balancer, traffic: Traffic, oracle: Oracle, timeline: Timeline
    ) -> None:
        self._balancer, self._traffic = balancer, traffic
        self._oracle, self._timeline = oracle, timeline
        self.records: list[Record] = []
        self.start = perf_counter()

    async def run(self, seconds: float, rate: float, seed: int) -> None:
        """For `seconds`, and until the last answer has come."""
        rng = random.Random(seed)
        self.start = due = perf_counter()
        async with asyncio.TaskGroup() as group:
            while (due := due + rng.expovariate(rate)) < self.start + seconds:
                await asyncio.sleep(max(0.0, due - perf_counter()))
                group.create_task(self._one(self._traffic.next()))

    async def _one(self, question: Question) -> None:
        reply = await self._balancer.ask(question)
        judged = judge(reply, self._oracle.answer(question), self._timeline)
        self.records.append(self._record(question, reply, judged))

    def _record(self, question: Question, reply: Reply, judged: Judged) -> Record:
        first = reply.text_at
        calm = not self._timeline.any(reply.sent_at, first or reply.ended_at)
        ttft_s = None if first is None else first - reply.sent_at
        moved = tuple(
            str(self._timeline.leaving(name, reply.sent_at) or "gone") for name in reply.moved_from
        )
        return Record(
            question.path,
            question.stream,
            judged,
            ttft_s,
            calm,
            moved,
            reply.router,
            reply.worker,
            reply.sent_at - self.start,
        )
