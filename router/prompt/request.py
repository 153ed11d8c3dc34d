"""Reads from a request the few fields it is routed by (pure). The original body is what gets sent on.

Nothing here fails a request: what cannot be understood is routed without that knowledge, and the worker
answers with its own error.
"""

import re

import msgspec
from msgspec import Raw

from router.access.tenant import Tenant
from router.ids import Headers
from router.prompt.endpoints import Endpoint


class Incoming:
    """A whole request as a client sent it.

    `path` is canonical; `target` is that with the query, as forwarded. `by_name` has the last value of each
    header field. `tenant`: whose it is, None where clients need no key.
    """

    __slots__ = ("body", "by_name", "endpoint", "headers", "method", "path", "target", "tenant")

    def __init__(
        self,
        method: bytes,
        path: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        endpoint: Endpoint,
    ) -> None:
        self.method = method
        self.path = path
        self.target = target
        self.headers = headers
        self.body = body
        self.endpoint = endpoint
        self.by_name = dict(headers)
        self.tenant: Tenant | None = None

    def __repr__(self) -> str:
        return f"<Incoming {self.method!r} {self.target!r}, {len(self.body)} bytes>"


class BodyFields(msgspec.Struct, gc=False):
    """Members of a JSON body that say where it should go; raw JSON, empty when absent."""

    model: Raw = Raw()
    stream: Raw = Raw()
    n: Raw = Raw()
    # What the prompt is made of, over all endpoints.
    tools: Raw = Raw()
    system: Raw = Raw()
    instructions: Raw = Raw()
    messages: Raw = Raw()
    prompt: Raw = Raw()
    input: Raw = Raw()
    token_ids: Raw = Raw()
    input_ids: Raw = Raw()
    text: Raw = Raw()
    query: Raw = Raw()
    documents: Raw = Raw()
    text_1: Raw = Raw()
    text_2: Raw = Raw()
    # What separates prompts that read alike.
    cache_salt: Raw = Raw()
    chat_template: Raw = Raw()
    chat_template_kwargs: Raw = Raw()
    # What makes the engine compute all of the prompt, cached or not.
    prompt_logprobs: Raw = Raw()
    prompt_logprob_token_ids: Raw = Raw()
    echo: Raw = Raw()
    logprobs: Raw = Raw()
    # How urgent it is.
    priority: Raw = Raw()
    # What ties requests together.
    previous_response_id: Raw = Raw()
    session_id: Raw = Raw()
    prompt_cache_key: Raw = Raw()
    conversation: Raw = Raw()
    user: Raw = Raw()
    user_id: Raw = Raw()
    session_params: Raw = Raw()
    metadata: Raw = Raw()


_RUN_NONE = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS"))

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a client's JSON may raise."""

_DECODER = msgspec.json.Decoder(BodyFields)
_STRING = msgspec.json.Decoder(str)
_NO_FIELDS = BodyFields()


class Request:
    """What routing knows of one request.

    `prompt` is the prompt's content as raw JSON in the order the engine renders it: tools, system, then the
    turns. Its closing bracket or quote is cut off, so that a conversation's next turn starts with this one. `mixed`: its
    stream has several answers that take turns.
    """

    __slots__ = ("_audits", "endpoint", "fields", "incoming", "mixed", "model", "prompt", "stream")

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.endpoint = incoming.endpoint
        fields = self.fields = _read_fields(incoming.body)
        self.model = text_of(fields.model) if fields.model else _multipart_model(incoming)
        self.stream = bytes(fields.stream) == b"true"
        self.mixed = self.stream and (
            bytes(fields.n) not in (b"", b"1", b"null") or _has_prompts(fields)
        )
        self.prompt = _prompt(fields)
        self._audits: bool | None = None

    def shed(self) -> None:
        """Let go of the body: the answer has begun, and could not begin anew."""
        self._audits = self.audits
        self.fields, self.incoming.body = _NO_FIELDS, b""

    @property
    def runs_a_model(self) -> bool:
        """A worker runs a model for it: its own if the request names none."""
        stored = self.endpoint.stores and not self.endpoint.generates
        return not stored and self.incoming.method not in _RUN_NONE

    @property
    def separators(self) -> tuple[bytes, ...]:
        """What keeps equal prompts apart in the engine's cache, beside the model; empty when nothing does."""
        f = self.fields
        if f.cache_salt or f.chat_template or f.chat_template_kwargs:
            return bytes(f.cache_salt), bytes(f.chat_template), bytes(f.chat_template_kwargs)
        return ()

    @property
    def audits(self) -> bool:
        """Its answer's count of cached tokens is that of one prompt, looked up in the cache as usual."""
        if self._audits is not None:
            return self._audits
        f = self.fields
        if (
            _has_prompts(f)
            or not _absent(f.prompt_logprobs)
            or not _absent(f.prompt_logprob_token_ids)
        ):
            return False
        return bytes(f.echo) != b"true" or _absent(f.logprobs)  # both: logprobs of the prompt

    @property
    def previous_response_id(self) -> str | None:
        """The stored response that this request continues."""
        return text_of(self.fields.previous_response_id)


def _has_prompts(f: BodyFields) -> bool:
    """A list of prompts, and not one of text or token ids."""
    return bool(f.prompt) and bytes(memoryview(f.prompt)[:16]).translate(None, b" \n\r\t")[:2] in (
        b'["',
        b"[[",
    )


def _absent(raw: Raw) -> bool:
    return bytes(raw) in (b"", b"null")


def text_of(raw: Raw) -> str | None:
    """The string that `raw` is, or None when it is absent, empty or something else."""
    if not raw:
        return None
    try:
        return _STRING.decode(raw) or None
    except UNREADABLE:
        return None


def _read_fields(body: bytes) -> BodyFields:
    if body[:1] != b"{" and body[:64].lstrip()[:1] != b"{":
        return _NO_FIELDS
    try:
        return _DECODER.decode(body)
    except UNREADABLE:
        return _NO_FIELDS


def _prompt(f: BodyFields) -> bytes:
    if f.messages and not (f.tools or f.system or f.instructions):  # by far the most frequent case
        return bytes(memoryview(f.messages)[:-1])
    parts = [
        memoryview(raw)
        for raw in (f.tools, f.system, f.instructions, f.messages, f.prompt, f.input, f.token_ids)
        if raw
    ] or [
        memoryview(raw)
        for raw in (f.input_ids, f.text, f.query, f.documents, f.text_1, f.text_2)
        if raw
    ]
    if parts:
        parts[-1] = parts[-1][:-1]
    return b"".join(parts)


def _multipart_model(incoming: Incoming) -> str | None:
    """The `model` field of a multipart form (audio, image edits)."""
    kind, _, parameters = incoming.by_name.get(b"content-type", b"").partition(b";")
    if kind.strip().lower() != b"multipart/form-data":
        return None
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip().partition(b"=")
        if name.lower() == b"boundary":
            return _form_field(incoming.body, b"--" + value.strip(b'"'), b"model")
    return None


def _form_field(body: bytes, delimiter: bytes, wanted: bytes) -> str | None:
    """A field's value; None also when it has several: which of them counts is for each reader to choose."""
    found: set[bytes | None] = set()
    named = re.compile(rb"(?<!file)name(?:\*|\s*=\s*" + wanted + rb"\s*(?:;|\r|$))")
    for part in body.split(delimiter):
        head, _, content = part.partition(b"\r\n\r\n")
        plain = head.lower().translate(None, b'"\\')
        if (match := named.search(plain)) is not None:
            readable = not match[0].endswith(b"*") and b"filename=" not in plain
            found.add(content.removesuffix(b"\r\n") if readable else None)
    value = found.pop() if len(found) == 1 else None
    return (value or b"").decode("utf-8", "replace").strip() or None
