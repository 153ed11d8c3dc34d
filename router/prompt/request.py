"""Reads from a request the few fields it is routed by (pure). The original body is what gets sent on.

Nothing here fails a request: what cannot be understood is routed without that knowledge, and the worker
answers with its own error.
"""

from dataclasses import dataclass, field
from functools import cached_property

import msgspec
from msgspec import Raw

from router.ids import Headers
from router.prompt.endpoints import Endpoint


@dataclass(slots=True)
class Incoming:
    """A whole request as a client sent it. `target` is the canonical path with the query, as forwarded."""

    method: bytes
    path: bytes
    target: bytes
    headers: Headers
    body: bytes
    endpoint: Endpoint
    fields_by_name: dict[bytes, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.fields_by_name = dict(self.headers)

    def header(self, name: bytes) -> bytes | None:
        """The (last) value of a header field; `name` in lower case."""
        return self.fields_by_name.get(name)


class BodyFields(msgspec.Struct, gc=False):
    """Members of a JSON body that say where it should go; raw JSON, empty when absent."""

    model: Raw = Raw()
    stream: Raw = Raw()
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
    # What ties requests together.
    previous_response_id: Raw = Raw()
    session_id: Raw = Raw()
    prompt_cache_key: Raw = Raw()
    conversation: Raw = Raw()
    user: Raw = Raw()
    user_id: Raw = Raw()
    session_params: Raw = Raw()
    metadata: Raw = Raw()


_DECODER = msgspec.json.Decoder(BodyFields)
_ANY = msgspec.json.Decoder()
_NO_FIELDS = BodyFields()


class Request:
    """What routing knows of one request."""

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.fields = _read_fields(incoming)
        self.model = text_of(self.fields.model)
        self.stream = bytes(self.fields.stream) == b"true"
        if self.model is None and incoming.body:
            self.model = _multipart_model(incoming)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that was called."""
        return self.incoming.endpoint

    @cached_property
    def prompt(self) -> bytes:
        """The prompt's content as raw JSON, in the order the engine renders it: tools, system, then the turns.

        The closing bracket or quote is cut off, so that a conversation's next turn starts with this one.
        """
        f = self.fields
        parts = [
            bytes(raw)
            for raw in (
                f.tools,
                f.system,
                f.instructions,
                f.messages,
                f.prompt,
                f.input,
                f.token_ids,
            )
            if raw
        ] or [
            bytes(raw)
            for raw in (f.input_ids, f.text, f.query, f.documents, f.text_1, f.text_2)
            if raw
        ]
        if not parts:
            return b""
        parts[-1] = parts[-1][:-1]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def separators(self) -> tuple[bytes, ...]:
        """What keeps equal prompts apart in the engine's cache, beside the model."""
        f = self.fields
        return bytes(f.cache_salt), bytes(f.chat_template), bytes(f.chat_template_kwargs)

    @property
    def previous_response_id(self) -> str | None:
        """The stored response that this request continues."""
        return text_of(self.fields.previous_response_id)


def text_of(raw: Raw) -> str | None:
    """The string that `raw` is, or None when it is absent, empty or something else."""
    if not raw:
        return None
    try:
        value = _ANY.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return value if isinstance(value, str) and value else None


def _read_fields(incoming: Incoming) -> BodyFields:
    if incoming.body.lstrip()[:1] != b"{":
        return _NO_FIELDS
    try:
        return _DECODER.decode(incoming.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _NO_FIELDS


def _multipart_model(incoming: Incoming) -> str | None:
    """The `model` field of a multipart form (audio, image edits)."""
    kind, _, parameters = (incoming.header(b"content-type") or b"").partition(b";")
    if kind.strip().lower() != b"multipart/form-data":
        return None
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip().partition(b"=")
        if name.lower() == b"boundary":
            return _form_field(incoming.body, b"--" + value.strip(b'"'), b"model")
    return None


def _form_field(body: bytes, delimiter: bytes, wanted: bytes) -> str | None:
    for part in body.split(delimiter):
        head, _, content = part.partition(b"\r\n\r\n")
        lowered = head.lower()
        if b'name="%s"' % wanted in lowered and b"filename=" not in lowered:
            return content.removesuffix(b"\r\n").decode("utf-8", "replace").strip() or None
    return None
