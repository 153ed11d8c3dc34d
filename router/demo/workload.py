"""A small chat workload: applications with a system prompt each, conversations about a document (pure)."""

import random
from dataclasses import dataclass

_WORDS = [
    "router",
    "worker",
    "cache",
    "prefix",
    "token",
    "model",
    "prompt",
    "answer",
    "latency",
    "queue",
    "block",
    "memory",
    "request",
    "stream",
    "batch",
    "policy",
    "session",
    "context",
    "window",
    "system",
    "user",
    "message",
    "turn",
    "engine",
    "decode",
    "prefill",
    "tenant",
    "cluster",
    "node",
]

APPLICATIONS = 3
CONVERSATIONS = 18
TURNS = 4
SYSTEM_WORDS = 500
DOCUMENT_WORDS = 900
QUESTION_WORDS = 40
ANSWER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Conversation:
    """One user's questions to one application; the first brings a document along."""

    system: str
    questions: tuple[str, ...]


def conversations(seed: int = 1) -> list[Conversation]:
    """The workload; the same for the same seed."""
    draw = random.Random(seed)  # noqa: S311 - text, not secrets
    systems = [f"Application {n}. {_prose(draw, SYSTEM_WORDS)}" for n in range(APPLICATIONS)]
    return [
        Conversation(
            systems[n % APPLICATIONS], tuple(_question(draw, turn) for turn in range(TURNS))
        )
        for n in range(CONVERSATIONS)
    ]


def _question(draw: random.Random, turn: int) -> str:
    document = f"Document: {_prose(draw, DOCUMENT_WORDS)}. " if turn == 0 else ""
    return f"{document}Question {turn}: {_prose(draw, QUESTION_WORDS)}?"


def _prose(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words))
