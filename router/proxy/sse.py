"""Reads just enough of an answer, without parsing its events (pure)."""

import re

_USAGE = re.compile(
    rb'"(prompt_tokens|completion_tokens|cached_tokens|input_tokens|output_tokens|cache_read_input_tokens'
    rb'|cache_creation_input_tokens)"\s*:\s*(\d{1,15})\b'
)
_OBJECT = re.compile(rb"\s*:\s*\{")
_ANNOUNCEMENT = re.compile(
    rb"^event: (?:response\.(?:created|queued|in_progress|output_item\.added|content_part\.added)"
    rb"|message_start|content_block_start|ping)\r?$",
    re.MULTILINE,
)
_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[^"\\]{1,200})"')
_DONE = b"[DONE]\n\n"
_USAGE_KEY = b'"usage"'
_USAGE_BYTES = 1024
"""More than any usage takes, with all its details."""

_FAILURE = re.compile(rb'^data: ?\{"(?:error": ?\{|type": ?"error")', re.MULTILINE)
_CLIENT_ERROR = re.compile(rb'"code": ?4\d\d\b|"type": ?"invalid_request_error"')
_TYPED = re.compile(rb'\s*\{\s*"type"\s*:\s*"error"')
_ABORT = re.compile(rb'"finish_reason": ?"abort"')


class Usage:
    """Token counts that an answer reported; None: not reported."""

    __slots__ = ("cached_tokens", "completion_tokens", "prompt_tokens")

    def __init__(
        self, prompt_tokens: int | None, completion_tokens: int | None, cached_tokens: int | None
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.cached_tokens = cached_tokens


NO_USAGE = Usage(None, None, None)


def token_events(data: bytes) -> int:
    """How many events with content `data` holds, judged by their `data:` lines; comments do not count."""
    count = data.count(b"data:")
    return count - 1 if count and data.endswith(_DONE) else count


def announcements(data: bytes) -> int:
    """How many events in `data` come before the first token: the chat event that only names the role, and those
    by which Responses and Messages streams open.
    """
    head = data[:2048]
    role_only = (
        head.count(b"data:") == 1 and b'"role":"assistant"' in head and b'"content":""' in head
    )
    return len(_ANNOUNCEMENT.findall(head)) + role_only


def usage_in(tail: bytes) -> Usage:
    """The last usage object in `tail`, in OpenAI's, Anthropic's or the Responses API's words.

    Text that a model wrote cannot be mistaken for it: inside a JSON string its quotes would be escaped.
    """
    start = tail.rfind(_USAGE_KEY)
    while start >= 0 and _OBJECT.match(tail, start + 7) is None:
        start = tail.rfind(_USAGE_KEY, 0, start)
    if start < 0:
        return NO_USAGE
    found = {name: int(value) for name, value in _USAGE.findall(tail, start)}
    read = found.get(b"cache_read_input_tokens")
    prompt = found.get(b"prompt_tokens", found.get(b"input_tokens"))
    if (
        prompt is not None
    ):  # Anthropic counts input without what was read from or written to the cache
        prompt += (read or 0) + found.get(b"cache_creation_input_tokens", 0)
    cached = found.get(b"cached_tokens", read)
    completion = found.get(b"completion_tokens", found.get(b"output_tokens"))
    return Usage(prompt, completion, cached)


def usage_text(kept: bytes, piece: bytes) -> bytes:
    """What to keep for `usage_in` of an answer's parts that were not kept, `kept` of those before `piece`: the last usage
    in them, or what may be the beginning of one.
    """
    text = kept + piece
    start = text.rfind(_USAGE_KEY)
    if start < 0 and not kept.startswith(_USAGE_KEY):
        return text[1 - len(_USAGE_KEY) :]
    start = max(0, start)
    return text[start : start + _USAGE_BYTES]


def failure_in(events: bytes) -> int:
    """Where in `events` one begins that says that the worker failed, or that it ended the answer on its own account; -1:
    in none. What it says of a client's mistake is none.
    """
    if b'"error"' not in events and b'"abort"' not in events:
        return -1
    match = _FAILURE.search(events)
    if match is not None and _CLIENT_ERROR.search(events, match.start()) is None:
        return match.start()
    match = _ABORT.search(events)
    if match is None:
        return -1
    return events.rfind(b"\n", 0, match.start()) + 1


def error_event(body: bytes) -> bytes:
    """The event that tells of an error what an answer's body would have; Anthropic's clients go by its name."""
    name = b"event: error\n" if _TYPED.match(body) else b""
    return name + b"data: " + body.replace(b"\n", b"\ndata: ") + b"\n\n"


def response_id_in(head: bytes) -> str | None:
    """The id under which the worker stores a response."""
    match = _RESPONSE_ID.search(head)
    return match[1].decode("ascii", "replace") if match else None
