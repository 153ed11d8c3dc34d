"""What routers spend of tenants' quotas, added up in a Redis or Valkey (`quotas.QuotaStore`)."""

import struct
from collections.abc import Mapping

from router.shared.base import Replica
from router.shared.link import Link, Script, Word
from router.shared.names import Names
from router.shared.quotas import EXPIRY_S, Spendings, Spent

_SHARE = struct.Struct(">ddd")


class RedisQuotas:
    """Routers are taken off after `expiry_s` of silence."""

    def __init__(self, link: Link, names: Names, *, expiry_s: float = EXPIRY_S) -> None:
        self._link = link
        self._names = names
        self._expiry_ms = round(expiry_s * 1000)

    async def spend(self, replica: Replica, shares: Mapping[str, Spent]) -> Spendings:
        """See `QuotaStore`."""
        words: list[Word] = [self._names.board + b"quota:", replica.name, self._expiry_ms]
        for tenant, share in shares.items():
            words += (tenant, _SHARE.pack(*share))
        keys = self._names.of_board("quotas", "spenders")
        ((known, routers, *found),) = await self._link.run([Script("quotas", keys, words)])
        totals = {
            tenant.decode(): Spent(*_SHARE.unpack(packed))
            for tenant, packed in zip(found[::2], found[1::2], strict=True)
            if tenant and len(packed) == _SHARE.size
        }
        return Spendings(bool(known), routers, totals)
