"""What of a stream of tokens has been given to the client, so that another worker can go on with it (pure).

The worker is asked for token ids (`return_token_ids`); they are kept, four bytes each, and taken out of what the client
sees unless it asked for them. The next worker goes on behind the last token whose text was seen: what came after it
without text (parts of a character) is made anew.
"""

import re
from array import array
from contextlib import suppress
from typing import Any

import msgspec

from router.errors import RouterError, engine_died

_END = b"\n\n"
_LONGEST_EVENT = 64 << 20
_IDS = re.compile(rb'("(prompt_)?token_ids": ?)\[([0-9, ]*)\]')
_TEXT = re.compile(rb'"(?:content|text)": ?"(?!")')
_FINISH = re.compile(rb'"finish_reason": ?"')
_USAGE = re.compile(rb'"choices": ?\[\], ?"usage": ?\{')
_UNFIT = re.compile(rb'"(tool_calls)": ?\[ ?\{|"(reasoning)(?:_content)?": ?"(?!")')
_IDENTITY = re.compile(rb'"id": ?"([^"\\]*)".*?"created": ?(\d{1,18})(?!\d)')
_UNFINISHED = b'"finish_reason":null'
_DONE = b"data: [DONE]"


_UNREADABLE = (
    *(msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, ValueError, OverflowError),
    *(AttributeError, RecursionError),
)
"""What a worker's events may raise that are not what they should be."""

_WENT_ON = "went on in a way that cannot be read"
_ODD_IDS = "its worker tells token ids that cannot be read"
_NAMELESS = "its worker does not say readably which answer it is"


class DivergedError(Exception):
    """The next worker does not go on with the same answer; says how."""


class Transcript:
    """One stream, over all workers that had a part in it. `shows_ids`: the client wants to see them."""

    __slots__ = (
        "_base",
        "_continues",
        "_created",
        "_expected",
        "_id",
        "_repeated",
        "_rest",
        "counted",
        "done",
        "finished",
        "ids",
        "prompt_ids",
        "safe",
        "shows_ids",
        "unfit",
    )

    def __init__(self, *, shows_ids: bool) -> None:
        self.shows_ids = shows_ids
        self.prompt_ids = array("I")
        self.ids = array("I")
        self.safe = 0
        self.unfit = ""
        self.finished = self.counted = self.done = False
        self._rest = b""
        self._id, self._created = "", 0
        self._continues = False
        self._expected = array("I")
        self._base = 0
        self._repeated = 0  # tokens that the client has seen, and that are made anew

    @property
    def rest(self) -> bytes:
        """The beginning of an event that has not ended."""
        return self._rest

    def foreign(self, data: bytes) -> bool:
        """Events end as no engine ends them, and cannot be read here."""
        seam = self._rest[-3:]
        return (b"\r" in data or b"\r" in seam) and b"\r\n\r\n" in seam + data

    def whole(self, data: bytes) -> bytes:
        """`data` and what was kept back before it, up to the end of its last event."""
        if self._rest:
            data = self._rest + data
        end = data.rfind(_END) + len(_END)
        if end < len(_END):
            if len(data) > _LONGEST_EVENT:
                raise DivergedError("sends events that do not end")
            self._rest = data
            return b""
        self._rest = data[end:]
        return data[:end]

    def take(self, events: bytes) -> bytes:
        """Keep what whole events say; the events as the client is to see them. Raises `DivergedError`."""
        out: list[bytes] = []
        for given in events.split(_END)[:-1]:
            event = self._continued(given) if self._continues else given
            if event:
                out += (self._noted(event), _END)
        return b"".join(out)

    def missing_end(self) -> RouterError | None:
        """The stream is over: the error that it is, if it is not complete."""
        return None if self.done else engine_died("ended its answer early")

    # -- going on elsewhere --------------------------------------------------------------------

    @property
    def so_far(self) -> list[int]:
        """The prompt's tokens and the answer's, up to where another worker goes on."""
        return [*self.prompt_ids, *self.ids[: self.safe]]

    def obstacle(self) -> str:
        """Why another worker cannot go on; empty when it can."""
        if self.unfit:
            return self.unfit
        if self._id and not self.prompt_ids:
            return "its worker tells no token ids"
        return ""

    def go_on(self) -> None:
        """Another worker begins where `so_far` ends."""
        self._expected = array("I", self.so_far)
        self._repeated += len(self.ids) - self.safe
        del self.ids[self.safe :]
        self._continues = bool(self._id)
        self._base = self.safe
        self._rest = b""

    def ending(self, model: str | None, *, usage: bool) -> bytes:
        """The stream's last events, where all tokens were seen and only those are missing; `usage`: it was asked for."""
        if self.done:
            return b""
        events = [] if self.finished else [self._chunk(model, finish_reason="length")]
        if usage and not self.counted:
            events.append(self._chunk(model))
        return b"".join((*events, _DONE, _END))

    def _chunk(self, model: str | None, finish_reason: str = "") -> bytes:
        chunk: dict[str, Any] = {"id": self._id, "created": self._created, "model": model}
        chat = not self._id.startswith("cmpl")
        chunk["object"] = "chat.completion.chunk" if chat else "text_completion"
        if finish_reason:
            content: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
            chunk["choices"] = [{"index": 0, **content, "finish_reason": finish_reason}]
        else:
            prompt, made = len(self.prompt_ids), len(self.ids)
            chunk["choices"] = []
            chunk["usage"] = {
                "prompt_tokens": prompt,
                "total_tokens": prompt + made,
                "completion_tokens": made,
            }
        return b"data: " + msgspec.json.encode(chunk) + _END

    # ------------------------------------------------------------------------------------------

    def _noted(self, event: bytes) -> bytes:
        """The event as the client is to see it."""
        shown = _IDS.sub(self._keep, event) if b"token_ids" in event else event
        if _TEXT.search(event):
            self.safe = len(self.ids)
        if not self._id and event.startswith(b"data:"):
            self._name(event)
        if b"finish_reason" not in event or _UNFINISHED not in event:
            self._note_end(event)
        if (b"tool_calls" in event or b"reasoning" in event) and (unfit := _UNFIT.search(event)):
            self.unfit = f"it has begun with `{(unfit[1] or unfit[2]).decode()}`"
        return shown

    def _name(self, event: bytes) -> None:
        named = _IDENTITY.search(event)
        with suppress(UnicodeDecodeError):
            if named:
                self._id, self._created = named[1].decode(), int(named[2])
        if not self._id:
            self.unfit = _NAMELESS

    def _keep(self, found: re.Match[bytes]) -> bytes:
        """Take token ids out of an event."""
        ids = self._read(found[3].split(b",")) if found[3].strip() else array("I")
        (self.prompt_ids if found[2] else self.ids).extend(ids)
        if not self.shows_ids:
            return found[1] + b"null"
        if found[2] or not self._repeated:
            return found[0]
        news = ids[self._repeated :]
        self._repeated -= len(ids) - len(news)
        return found[1] + msgspec.json.encode(news.tolist())

    def _read(self, ids: list[bytes]) -> "array[int]":
        """Token ids; of those that are none only the number counts."""
        try:
            return array("I", map(int, ids))
        except (ValueError, OverflowError):
            if self._continues:
                raise DivergedError(_WENT_ON) from None
            self.unfit = _ODD_IDS
            return array("I", bytes(len(ids) * array("I").itemsize))

    def _note_end(self, event: bytes) -> None:
        if _FINISH.search(event):
            self.finished = True
            self.safe = len(self.ids)
        self.counted = self.counted or _USAGE.search(event) is not None
        self.done = self.done or event.startswith(_DONE)

    def _continued(self, event: bytes) -> bytes:
        """An event of the next worker's as if the first one had sent it; empty where it had already."""
        if not event.startswith(b"data: {"):
            return event
        try:
            chunk: dict[str, Any] = msgspec.json.decode(event[6:])
            if not self._belongs(chunk):
                return b""
            if chunk.get("usage"):
                _add_up(chunk["usage"], self._base)
            chunk["id"], chunk["created"] = self._id, self._created
            return b"data: " + msgspec.json.encode(chunk)
        except _UNREADABLE:
            raise DivergedError(_WENT_ON) from None

    def _belongs(self, chunk: dict[str, Any]) -> bool:
        """False for what the first worker has said: how an answer begins."""
        for choice in chunk["choices"]:
            if "prompt_token_ids" in choice:
                self._check(choice["prompt_token_ids"])
                choice["prompt_token_ids"] = None
            delta = choice.get("delta")
            if delta is not None and delta.pop("role", None) and not delta.get("content"):
                self._check(chunk.get("prompt_token_ids"))
                return False
        return True

    def _check(self, ids: list[int] | None) -> None:
        if ids is not None and array("I", ids) != self._expected:
            raise DivergedError("did not go on from the tokens that it was given")


def _add_up(usage: dict[str, Any], before: int) -> None:
    """Count tokens that an earlier worker made to the answer, and not to the prompt."""
    usage["prompt_tokens"] -= before
    usage["completion_tokens"] = (usage.get("completion_tokens") or 0) + before
    details = usage.get("prompt_tokens_details") or {}
    for name, count in details.items():
        if isinstance(count, int):
            details[name] = min(count, usage["prompt_tokens"])
