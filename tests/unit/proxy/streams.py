"""What vLLM sends for a prompt: the events of a stream, with token ids or without, from its beginning or from within."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["chat", "completions"]
Token = tuple[int, str]
"""An id, and the text that comes with it: none where a character is not complete."""

DONE = b"data: [DONE]\n\n"
PROMPT = (11, 12, 13, 14, 15)
PLAIN: tuple[Token, ...] = (
    (21, "Once"),
    (22, " upon"),
    (23, ' a "time"'),
    (24, "\n\n"),
    (25, "ü."),
)
WITH_SILENT: tuple[Token, ...] = (
    (31, "a"),
    (32, ""),
    (33, ""),
    (34, "é"),
    (35, ""),
    (36, " b"),
    (37, "."),
)


def event(value: Any) -> bytes:
    """As pydantic writes it."""
    return (
        b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
    )


@dataclass(frozen=True)
class Answer:
    """One prompt's whole answer, the same from whichever engine."""

    kind: Kind = "chat"
    tokens: tuple[Token, ...] = PLAIN
    prompt: tuple[int, ...] = PROMPT
    usage: bool = True
    finish: str = "stop"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> list[int]:
        """Of all its tokens."""
        return [token for token, _ in self.tokens]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(text for _, text in self.tokens)

    def events(
        self, *, ids: bool, start: int = 0, name: str = "1", created: int = 1_700_000_000
    ) -> list[bytes]:
        """From an engine that was given the prompt and the first `start` tokens; `ids`: they were asked for."""
        prompt = [*self.prompt, *self.ids[:start]]
        head = {
            "id": f"{'chatcmpl' if self.kind == 'chat' else 'cmpl'}-{name}",
            "object": "chat.completion.chunk" if self.kind == "chat" else "text_completion",
            "created": created,
            "model": "m",
        }
        found = [self._role(head, prompt if ids else None)] if self.kind == "chat" else []
        for place in range(start, len(self.tokens)):
            first = prompt if ids and place == start else None
            found.append(event({**head, **self._chunk(place, first, ids=ids)}))
        if self.usage:
            made = len(self.tokens) - start
            usage = {
                "prompt_tokens": len(prompt),
                "total_tokens": len(prompt) + made,
                "completion_tokens": made,
                "prompt_tokens_details": None,
            }
            found.append(event({**head, "choices": [], "usage": usage}))
        return [*found, DONE]

    def stream(self, *, ids: bool = False) -> bytes:
        """All of it, as a client gets it from an engine that lives."""
        return b"".join(self.events(ids=ids))

    def _role(self, head: dict[str, Any], prompt: list[int] | None) -> bytes:
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return event({**head, "choices": [choice], "prompt_token_ids": prompt, "prompt_text": None})

    def _chunk(self, place: int, prompt: list[int] | None, *, ids: bool) -> dict[str, Any]:
        token, text = self.tokens[place]
        last = place == len(self.tokens) - 1
        content = {"delta": {"content": text}} if self.kind == "chat" else {"text": text}
        choice: dict[str, Any] = {"index": 0, **content, **self.extra, "logprobs": None}
        choice["finish_reason"] = self.finish if last else None
        if last or self.kind == "completions":
            choice["stop_reason"] = None
        if self.kind == "completions":
            choice["prompt_token_ids"] = prompt
        choice["token_ids"] = [token] if ids else None
        return {"choices": [choice]}


@dataclass
class Seen:
    """What a client makes of a stream."""

    text: str = ""
    roles: list[str] = field(default_factory=list)
    names: set[tuple[str, int]] = field(default_factory=set)
    finishes: list[str] = field(default_factory=list)
    usages: list[tuple[int, int, int]] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    ends: int = 0


def seen(stream: bytes) -> Seen:
    """Read a stream as a client does; it must be made of whole events."""
    found = Seen()
    *events, rest = stream.split(b"\n\n")
    assert rest == b"", "a stream ends with its last event"
    for data in events:
        assert found.ends == 0, "nothing comes after the end"
        if data == b"data: [DONE]":
            found.ends += 1
            continue
        chunk = json.loads(data.removeprefix(b"data: "))
        found.names.add((chunk["id"], chunk["created"]))
        if usage := chunk.get("usage"):
            assert not found.usages, "once"
            found.usages.append(
                (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
            )
        for choice in chunk["choices"]:
            delta = choice.get("delta", {})
            found.text += choice.get("text") or delta.get("content") or ""
            found.roles += [delta["role"]] if "role" in delta else []
            found.finishes += [choice["finish_reason"]] if choice["finish_reason"] else []
            found.token_ids += choice.get("token_ids") or []
    return found
