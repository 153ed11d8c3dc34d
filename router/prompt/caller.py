"""Who asks and how urgent it is: what the order of waiting requests goes by (pure)."""

import msgspec
import xxhash

from router.access.terms import Terms
from router.prompt.request import UNREADABLE, Request

_PRIORITY = b"x-vllm-priority"
_KEYS = (b"authorization", b"x-api-key")
_INTEGER = msgspec.json.Decoder(int)
_DIGITS = 18
"""Longer numbers are no priorities."""


class Callers:
    """Reads a request's tenant and priority. Where clients have keys, the key says whose it is. Else that stands in the
    header `tenant_header` (None: in none), or the API key for the worker tells one from another.
    """

    def __init__(self, tenant_header: str | None) -> None:
        self._header = tenant_header.encode("ascii").lower() if tenant_header else b""

    def __call__(self, request: Request) -> tuple[str, int]:
        """Tenant and priority (lower goes first). A key is only ever known by its hash."""
        return self._tenant(request), priority(request)

    def _tenant(self, request: Request) -> str:
        tenant, fields = request.incoming.tenant, request.incoming.by_name
        named = fields.get(self._header, b"").decode("latin-1") if self._header else ""
        if (
            tenant is not None
        ):  # one that is trusted may speak for others, but not for other tenants
            return f"{tenant.name}/{named}" if named and tenant.terms.trusted else tenant.name
        if named:
            return named
        key = next((fields[name] for name in _KEYS if name in fields), b"")
        return xxhash.xxh3_64_hexdigest(key) if key else ""


def priority(request: Request) -> int:
    """What the request asks for; of a tenant that is not trusted, nothing better than the tenant's own."""
    tenant = request.incoming.tenant
    return _asked(request) if tenant is None else _granted(tenant.terms, _asked(request))


def tell_worker(request: Request) -> None:
    """Have the worker go by the priority that a tenant's request has here, too, where that is not just the usual one."""
    incoming = request.incoming
    tenant = incoming.tenant
    if tenant is None:
        return
    if tenant.terms.priority or request.fields.priority or _PRIORITY in incoming.by_name:
        others = [field for field in incoming.headers if field[0] != _PRIORITY]
        told = _granted(tenant.terms, _asked(request))
        incoming.headers = [*others, (_PRIORITY, b"%d" % told)]


def _granted(terms: Terms, asked: int) -> int:
    return terms.priority + (asked if terms.trusted else max(0, asked))


def _asked(request: Request) -> int:
    """The header's, which vLLM lets win over the body's; 0 when there is none that can be read."""
    header = request.incoming.by_name.get(_PRIORITY)
    raw = bytes(request.fields.priority) if header is None else header.strip()
    try:
        return _INTEGER.decode(raw) if 0 < len(raw) <= _DIGITS else 0
    except UNREADABLE:
        return 0
