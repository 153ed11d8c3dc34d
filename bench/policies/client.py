"""Asks one streamed chat question over HTTP and measures the answer as its reader sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx2

TIMEOUT_S = 120.0
Message = dict[str, str]


class FailedError(Exception):
    """No whole answer came; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; times from the sending of the request, in seconds."""

    text: str
    ttft_s: float
    total_s: float
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    worker: str  # which the router chose


class ChatClient:
    """Talks to one base URL; keeps connections alive, one per request at a time."""

    def __init__(self, base_url: str, model: str, answer_tokens: int) -> None:
        self._http = httpx2.AsyncClient(
            base_url=base_url,
            timeout=None,
            limits=httpx2.Limits(max_connections=None),
            trust_env=False,
        )
        self._fixed = {
            "model": model,
            "max_tokens": answer_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    async def ask(self, messages: Sequence[Message], session: str) -> Answer:
        """Send the conversation so far; raises `FailedError` unless the whole answer comes in time."""
        body = json.dumps({"messages": messages, **self._fixed}).encode()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._exchange(body, session)
        except TimeoutError:
            raise FailedError(f"no end after {TIMEOUT_S:.0f} s") from None
        except httpx2.HTTPError as error:
            raise FailedError(f"{type(error).__name__}: {error}") from None

    async def _exchange(self, body: bytes, session: str) -> Answer:
        parts: list[bytes] = []
        sent, first_at = perf_counter(), 0.0
        headers = {"content-type": "application/json", "x-session-id": session}
        async with self._http.stream(
            "POST", "/v1/chat/completions", content=body, headers=headers
        ) as response:
            async for part in response.aiter_raw():
                first_at = first_at or perf_counter()
                parts.append(part)
            ended = perf_counter()
        raw = b"".join(parts)
        if response.status_code != 200:
            raise FailedError(f"status {response.status_code}: {raw[:200]!r}")
        worker = response.headers.get("x-router-worker", "")
        return _answer(raw, first_at - sent, ended - sent, worker)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


def _answer(raw: bytes, ttft_s: float, total_s: float, worker: str) -> Answer:
    pieces, usage, done = _read_stream(raw)
    if not done or usage is None:
        raise FailedError(f"the stream broke off: …{raw[-100:]!r}")
    details = usage.get("prompt_tokens_details") or {}
    return Answer(
        "".join(pieces),
        ttft_s,
        total_s,
        usage["prompt_tokens"],
        details.get("cached_tokens") or 0,
        usage["completion_tokens"],
        worker,
    )


def _read_stream(raw: bytes) -> tuple[list[str], dict[str, Any] | None, bool]:
    """The pieces of the answer's text, its usage, and whether it came to its end."""
    pieces: list[str] = []
    usage: dict[str, Any] | None = None
    done = False
    for line in raw.splitlines():
        if line == b"data: [DONE]":
            done = True
        elif line.startswith(b"data: "):
            event = json.loads(line[6:])
            pieces += [choice["delta"].get("content") or "" for choice in event.get("choices", ())]
            usage = event.get("usage") or usage
    return pieces, usage, done
