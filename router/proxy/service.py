"""A request as a managed service is sent it: with the service's own key, its name of the model, and nothing that is only
meant for the fleet (pure).
"""

import re

import msgspec

from router.fleet.target import Service
from router.ids import Headers

_PASSED_ON = frozenset(
    (
        b"accept",
        b"accept-language",
        b"content-type",
        b"user-agent",
        b"openai-beta",
        b"anthropic-version",
        b"anthropic-beta",
        b"idempotency-key",
        b"traceparent",
        b"tracestate",
    )
)
"""Header fields that such services know. What else clients send may be meant for nobody outside."""

_GIVEN_BACK = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"content-disposition",
        b"cache-control",
        b"date",
        b"retry-after",
        b"server",
        b"vary",
        b"openai-processing-ms",
        b"openai-version",
    )
)
_FORM_FIELD = re.compile(
    rb'(\r\ncontent-disposition:[^\r\n]*;\s*name="?model"?(?:[;\s][^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n)[^\r\n]*',
    re.IGNORECASE,
)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def for_service(
    service: Service, headers: Headers, body: bytes, model: str | None
) -> tuple[Headers, bytes]:
    """Header fields and body of a request for `model` as the service is sent them."""
    kept = [field for field in headers if field[0] in _PASSED_ON]
    if service.key:
        kept.append((b"authorization", b"Bearer " + service.key.encode("ascii")))
    name = None if model is None else service.models.get(model, model)
    if name is None or name == model:
        return kept, body
    form = dict(headers).get(b"content-type", b"").lower().startswith(b"multipart/form-data")
    return kept, (_renamed_form if form else _renamed)(body, name)


def service_answer(headers: Headers) -> Headers:
    """What of the service's fields the client is given: the rest is of the operator's account there, or of its session."""
    return [field for field in headers if field[0] in _GIVEN_BACK]


def _renamed(body: bytes, name: str) -> bytes:
    """The body with `name` for its model, every other member as it was; the body itself where it is no JSON."""
    try:
        members = _MEMBERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body
    members["model"] = msgspec.Raw(msgspec.json.encode(name))
    return msgspec.json.encode(members)


def _renamed_form(body: bytes, name: str) -> bytes:
    """The same for a form's field, of which only the value changes."""
    return _FORM_FIELD.sub(lambda found: found[1] + name.encode(), body, count=1)
