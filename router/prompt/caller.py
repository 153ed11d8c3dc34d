"""Who asks and how urgent it is: what the order of waiting requests goes by (pure)."""

import msgspec
import xxhash

from router.prompt.request import UNREADABLE, Request

_PRIORITY = b"x-vllm-priority"
_KEYS = (b"authorization", b"x-api-key")
_INTEGER = msgspec.json.Decoder(int)
_DIGITS = 18
"""Longer numbers are no priorities."""


class Callers:
    """Reads a request's tenant and priority. The tenant stands in the header `tenant_header` (None: in none),
    else the API key tells one from another.
    """

    def __init__(self, tenant_header: str | None) -> None:
        self._header = tenant_header.encode("ascii").lower() if tenant_header else b""

    def __call__(self, request: Request) -> tuple[str, int]:
        """Tenant and priority (lower goes first). A key is only ever known by its hash."""
        fields = request.incoming.by_name
        named = fields.get(self._header) if self._header else None
        if named:
            return named.decode("latin-1"), _priority(request)
        key = next((fields[name] for name in _KEYS if name in fields), b"")
        return xxhash.xxh3_64_hexdigest(key) if key else "", _priority(request)


def _priority(request: Request) -> int:
    """The header's, which vLLM lets win over the body's; 0 when there is none that can be read."""
    header = request.incoming.by_name.get(_PRIORITY)
    raw = bytes(request.fields.priority) if header is None else header.strip()
    try:
        return _INTEGER.decode(raw) if 0 < len(raw) <= _DIGITS else 0
    except UNREADABLE:
        return 0
