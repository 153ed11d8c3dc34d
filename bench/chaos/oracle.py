"""Knows what each question's answer has to be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bench.chaos.client import ask
from bench.chaos.reply import said
from bench.chaos.traffic import Question
from bench.chaos.verdict import Expected
from router.simworker.model import Model, natural_length
from router.simworker.tokens import decode, encode, render_chat


class OracleError(RuntimeError):
    """The worker that should know did not answer."""


class Oracle(Protocol):
    """Whoever knows."""

    def answer(self, question: Question) -> Expected:
        """The answer that is due."""
        ...


class SimulatedOracle:
    """Works out what a simulated worker says: it follows from the prompt."""

    def answer(self, question: Question) -> Expected:
        """The answer that is due."""
        body = question.body
        text = body["prompt"] if "prompt" in body else render_chat(body["messages"])
        prompt, name = encode(text), body["model"]
        limit = body.get("max_tokens")
        length = natural_length(prompt, name) if limit is None else limit
        model = Model.reading(prompt, name)
        answer = decode([model.next_token() for _ in range(length)])
        return Expected(answer, "stop" if limit is None else "length", len(prompt), length)


class AskedOracle:
    """Has asked a worker that nobody else uses, one question after the other."""

    def __init__(self) -> None:
        self._answers: dict[str, Expected] = {}

    async def learn(self, questions: Iterable[Question], worker: str) -> None:
        """Ask all of them (`worker` is `host:port`). Raises OracleError."""
        for question in questions:
            reply = await ask(question, worker)
            found = said(reply)
            usage = found.usage
            if reply.status != 200 or usage is None or len(found.reasons) != 1:
                raise OracleError(f"{worker}: {reply.status} {reply.failure} {found.error}")
            counts = usage["prompt_tokens"], usage["completion_tokens"]
            self._answers[question.key] = Expected(found.text, found.reasons[0], *counts)

    def answer(self, question: Question) -> Expected:
        """The answer that is due."""
        return self._answers[question.key]
