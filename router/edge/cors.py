"""Which web pages may read answers (pure): https://fetch.spec.whatwg.org/#http-cors-protocol."""

from collections.abc import Iterable, Mapping

from router.errors import RouterError, Source
from router.ids import Headers

_ANY = b"*"
_MAX_AGE_S = b"7200"
"""What browsers keep a preflight for at most: Chrome two hours, others longer."""
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = (
    b"x-request-id, x-router-worker, x-router-policy, x-router-reason, x-router-cached-tokens, "
    b"x-router-predicted-ttft-ms, x-router-queue-ms, retry-after, x-ratelimit-limit-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
    b"x-ratelimit-reset-requests, x-ratelimit-reset-tokens"
)
_VARY = (b"vary", b"origin")


class Cors:
    """The origins that may read answers; `*`: all, without credentials."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode("ascii") for origin in origins)
        self._any = _ANY in self._origins

    def fields(self, origin: bytes | None) -> Headers:
        """What an answer to a request from `origin` (None: it names none) says."""
        granted = self._granted(origin)
        return [*granted, (b"access-control-expose-headers", _EXPOSED)] if granted else [_VARY]

    def preflight(self, by_name: Mapping[bytes, bytes]) -> Headers:
        """The answer, without a body, to a browser that asks first; raises `RouterError`, 403."""
        origin = by_name[b"origin"]
        granted = self._granted(origin)
        if not granted:
            raise _refused(origin)
        asked = by_name.get(b"access-control-request-headers", b"")
        allowed = [(b"access-control-allow-headers", asked)] if asked else []
        return [
            *granted,
            (b"access-control-allow-methods", _METHODS),
            *allowed,
            (b"access-control-max-age", _MAX_AGE_S),
        ]

    def _granted(self, origin: bytes | None) -> Headers:
        if self._any:
            return [(b"access-control-allow-origin", _ANY)]
        if origin is None or origin not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            _VARY,
        ]


def is_preflight(method: bytes, by_name: Mapping[bytes, bytes]) -> bool:
    """A browser asks whether it may send a request."""
    return (
        method == b"OPTIONS"
        and b"origin" in by_name
        and b"access-control-request-method" in by_name
    )


def replaced(headers: Headers, fields: Headers) -> Headers:
    """An answer's `headers` with these CORS `fields` instead of whatever it said itself."""
    kept = [
        field
        for field in headers
        if not field[0].startswith(b"access-control-")
        and not (field[0] == b"vary" and field[1].lower() == b"origin")
    ]
    return kept + fields


def _refused(origin: bytes) -> RouterError:
    message = f"Pages of {origin.decode('latin-1')!r} may not ask this router; `cors_origins` lists those that may."
    return RouterError(403, "origin_not_allowed", message, source=Source.CLIENT)
