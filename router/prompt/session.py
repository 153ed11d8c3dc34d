"""Finds what ties a client's requests together (pure)."""

from msgspec import Raw, json

from router.prompt.request import UNREADABLE, Request, text_of

SESSION_HEADERS = (
    "x-session-id",
    "x-session-affinity",
    "x-claude-code-session-id",
    "session-id",
    "x-conversation-id",
    "x-user-id",
)
"""Looked for in this order; `-` and `_` are the same, an `x-` prefix may be missing or extra."""

BODY_KEYS = ("session_id", "prompt_cache_key", "conversation", "user", "user_id")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("x-")


class SessionKeys:
    """Reads a request's session; `headers` are looked at first, in order, then the body's keys."""

    def __init__(self, headers: tuple[str, ...] = SESSION_HEADERS) -> None:
        self._headers = tuple(dict.fromkeys(_plain(name) for name in headers))

    def key(self, request: Request) -> str | None:
        """The session's name, or None when the request carries none."""
        present = {
            _plain(name.decode("latin-1")): value
            for name, value in request.incoming.headers
            if value
        }
        for name in self._headers:
            if name in present:
                return present[name].decode("latin-1")
        return _from_body(request)


def _from_body(request: Request) -> str | None:
    fields = request.fields
    for name in BODY_KEYS:
        value = text_of(getattr(fields, name))
        if value:
            return value
    for container, name in ((fields.session_params, "session_id"), (fields.metadata, "user_id")):
        value = _member(container, name)
        if value:
            return value
    return None


def _member(raw: Raw, name: str) -> str | None:
    if not raw:
        return None
    try:
        value = json.decode(raw)
    except UNREADABLE:
        return None
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
