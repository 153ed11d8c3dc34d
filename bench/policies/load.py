"""Closed-loop load: a fixed number of users, each in one session after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.policies.client import Answer, FailedError, Message
from bench.policies.workload import Session

Ask = Callable[[Sequence[Message], str], Awaitable[Answer]]
"""Takes a conversation and its session's name; raises `FailedError`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long how many users ask; requests sent in the first `warmup_s` seconds are not measured."""

    users: int
    warmup_s: float
    measured_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured request: when it was sent, in seconds of the slice, and what came of it."""

    sent_s: float
    turn: int
    answer: Answer


@dataclass(slots=True)
class Outcome:
    """What came of the measured requests; `errors` are the reasons of those that failed."""

    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def drive(ask: Ask, sessions: Iterator[Session], plan: Plan) -> Outcome:
    """Ask for as long as `plan` says, then wait for the answers that are still on their way."""
    slice_ = _Slice(ask, sessions, plan)
    async with asyncio.TaskGroup() as group:
        for _ in range(plan.users):
            group.create_task(slice_.user())
    return slice_.outcome


class _Slice:
    """What the users of one slice share."""

    def __init__(self, ask: Ask, sessions: Iterator[Session], plan: Plan) -> None:
        self._ask, self._sessions, self._warmup_s = ask, sessions, plan.warmup_s
        self._end_s = plan.warmup_s + plan.measured_s
        self._clock = asyncio.get_running_loop().time
        self._start = self._clock()
        self.outcome = Outcome()

    async def user(self) -> None:
        """Hold sessions until the time is over."""
        for session in self._sessions:
            await self._hold(session)
            if self._now() >= self._end_s:
                return

    def _now(self) -> float:
        return self._clock() - self._start

    async def _hold(self, session: Session) -> None:
        """A session ends with its last question, its first failure or the slice."""
        messages: list[Message] = [{"role": "system", "content": session.system}]
        steps = zip(session.questions, session.thinks, strict=True)
        for turn, (question, think_s) in enumerate(steps):
            await asyncio.sleep(think_s)
            if self._now() >= self._end_s:
                return
            messages.append({"role": "user", "content": question})
            answer = await self._measured(messages, session.name, turn)
            if answer is None:
                return
            messages.append({"role": "assistant", "content": answer.text})

    async def _measured(self, messages: Sequence[Message], name: str, turn: int) -> Answer | None:
        """Ask once; None when that fails."""
        sent_s = self._now()
        counts = sent_s >= self._warmup_s
        try:
            answer = await self._ask(messages, name)
        except FailedError as error:
            if counts:
                self.outcome.errors.append(str(error))
            return None
        if counts:
            self.outcome.samples.append(Sample(sent_s, turn, answer))
        return answer
