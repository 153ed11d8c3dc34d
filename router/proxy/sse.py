"""Reads just enough of an answer, without parsing its events (pure)."""

import re

_USAGE = re.compile(
    rb'"(prompt_tokens|completion_tokens|cached_tokens|input_tokens|output_tokens|cache_read_input_tokens)"'
    rb"\s*:\s*(\d{1,15})\b"
)
_USAGE_START = re.compile(rb'"usage"\s*:\s*\{')
_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[^"\\]{1,200})"')
_DONE = b"[DONE]\n\n"


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
    if data.endswith(_DONE):
        count -= 1
    return count


def opens_without_content(data: bytes) -> bool:
    """True for the event that only names the assistant's role and carries no token yet."""
    head = data[:1024]
    return b'"role":"assistant"' in head and b'"content":""' in head and head.count(b"data:") == 1


def usage_in(tail: bytes) -> Usage:
    """The last usage object in `tail`, in OpenAI's, Anthropic's or the Responses API's words.

    Text that a model wrote cannot be mistaken for it: inside a JSON string its quotes would be escaped.
    """
    starts = [match.end() for match in _USAGE_START.finditer(tail)]
    if not starts:
        return NO_USAGE
    found = {name: int(value) for name, value in _USAGE.findall(tail, starts[-1])}
    prompt = found.get(b"prompt_tokens", found.get(b"input_tokens"))
    cached = found.get(b"cached_tokens", found.get(b"cache_read_input_tokens"))
    completion = found.get(b"completion_tokens", found.get(b"output_tokens"))
    return Usage(prompt, completion, cached)


def response_id_in(head: bytes) -> str | None:
    """The id under which the worker stores a response."""
    match = _RESPONSE_ID.search(head)
    return match[1].decode("ascii", "replace") if match else None
