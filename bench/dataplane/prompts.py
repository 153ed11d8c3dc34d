"""Chat requests in families that share the start of their text, each with 16 unique bytes."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

_PROSE = (
    "the router keeps a map from prompt blocks to workers and asks which of them holds the longest "
    "run of cached tokens before it sends a request so that prefill is short and time to first "
    "token is low while load stays even across the fleet"
)
_UNIQUE = "0" * 16
_STEP = 0x9E3779B97F4A7C15  # odd, so that the products of 1, 2, 3 … are all different


@dataclass(frozen=True, slots=True)
class Shape:
    """What the requests look like; sizes in bytes, `share` is the part of a prompt its group has in common."""

    prompt_bytes: int
    stream: bool
    tokens: int
    groups: int = 16
    share: float = 0.75


@dataclass(frozen=True, slots=True)
class Template:
    """A whole request around its 16 unique bytes."""

    before: bytes
    after: bytes

    def request(self, number: int) -> bytes:
        """The bytes of the `number`-th request; no two numbers below 2**64 give the same text."""
        return b"%b%016x%b" % (self.before, number * _STEP & 0xFFFFFFFFFFFFFFFF, self.after)


def text(size: int, seed: int) -> str:
    """About real prose: words, full stops and escaped line ends; `size` bytes once in JSON."""
    rng, words = random.Random(seed), _PROSE.split()
    parts: list[str] = []
    length = column = 0
    while length < size:
        word = rng.choice(words)
        column += len(word) + 1
        word += " " if column < 80 else ".\n"
        length += len(word) + (column >= 80)  # a line end takes two bytes in JSON
        column = column if column < 80 else 0
        parts.append(word)
    out = "".join(parts)
    while len(json.dumps(out)) - 2 > size:
        out = out[:-1]
    return out.ljust(size - (len(json.dumps(out)) - 2) + len(out), "x")


def body(shape: Shape, group: int) -> dict[str, object]:
    """The JSON request of one group, members in the order the OpenAI client sends them."""
    common = max(16, int(shape.prompt_bytes * shape.share))
    own = max(0, shape.prompt_bytes - common - len(_UNIQUE))
    request: dict[str, object] = {
        "messages": [
            {"role": "system", "content": text(common, group)},
            {"role": "user", "content": _UNIQUE + text(own, 1000 + group)},
        ],
        "model": "mock",
        "max_tokens": shape.tokens,
        "temperature": 0.7,
    }
    if shape.stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return request


def templates(shape: Shape, host: str) -> list[Template]:
    """One request template per group, with the headers that the OpenAI client sends."""
    return [
        _template(json.dumps(body(shape, g), separators=(",", ":")).encode(), host)
        for g in range(shape.groups)
    ]


def _template(payload: bytes, host: str) -> Template:
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: {host}\r\n"
        "Accept: application/json\r\n"
        "Content-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 3.57.0\r\n"
        "X-Stainless-Lang: python\r\n"
        "X-Stainless-Async: false\r\n"
        "Authorization: Bearer sk-bench-0123456789\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    ).encode()
    at = payload.index(_UNIQUE.encode())
    return Template(head + payload[:at], payload[at + len(_UNIQUE) :])
