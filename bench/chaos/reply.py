"""What a client got for its request, and what it says (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

DONE = b"[DONE]"
Json = dict[str, Any]


class EventReader:
    """Finds the data of server-sent events in pieces of a stream; comments are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Data of the events that are whole now."""
        *events, self._rest = (self._rest + piece).split(b"\n\n")
        lines = [line for event in events for line in event.split(b"\n")]
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


@dataclass(slots=True)
class Reply:
    """One answer as it came. `failure`: what ended it if its end did not come; times in seconds on one clock."""

    router: str
    sent_at: float
    status: int = 0
    worker: str = ""
    events: list[bytes] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    failure: str = ""
    begun_at: float | None = None
    text_at: float | None = None
    ended_at: float = 0.0
    moved_from: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Said:
    """What an answer says, of a stream or whole."""

    text: str = ""
    reasons: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    usage: Json | None = None
    error: Any = None
    done: bool = False
    broken: str = ""

    def add(self, value: Json) -> None:
        """Take in one event, or the whole answer."""
        if value.get("error") is not None:
            self.error = value["error"]
            return
        self.ids.add(str(value.get("id")))
        self.usage = value.get("usage") or self.usage
        for choice in value.get("choices", ()):
            part = choice.get("delta") or choice.get("message") or choice
            said = part.get("content") if part is not choice else part.get("text")
            if said and self.reasons:
                self.broken = "text after the end"
            self.text += said or ""
            if choice.get("finish_reason"):
                self.reasons.append(choice["finish_reason"])


def said(reply: Reply) -> Said:
    """Read an answer; what is not JSON is `broken`."""
    found = Said()
    try:
        for data in reply.events:
            if found.done:
                found.broken = "events after [DONE]"
            if data == DONE:
                found.done = True
            else:
                found.add(json.loads(data))
        if reply.body:
            found.add(json.loads(reply.body))
    except (ValueError, TypeError, AttributeError) as error:
        found.broken = f"not an answer: {error}"
    return found


def has_text(data: bytes) -> bool:
    """Whether an event brings some of the answer's text."""
    return bool(data != DONE and b'"choices"' in data and _text(data))


def _text(data: bytes) -> str:
    found = Said()
    try:
        found.add(json.loads(data))
    except (ValueError, TypeError, AttributeError):
        return ""
    return found.text
