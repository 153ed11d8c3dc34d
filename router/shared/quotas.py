"""Tenants' quotas hold over all routers: each says what it has given out, and hears what all have.

Decisions stay here and are made at once. What others gave out is taken from the same buckets a moment later, below
nothing if need be: so that all routers together may give out too much at first, and for that nothing afterwards.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

from router.access.tenant import Tenant
from router.shared.base import Replica
from router.shared.bond import Bond

EXPIRY_S = 3.0
"""After so long without news a router is taken off, and goes by its part of the quotas."""

TICK_S = 0.1
HEARTBEAT_S = 0.5
_HASTE = 0.02
"""What others should hear of at the next tick: so much of a minute's quota."""

_CROWD = 20
"""So many routers are heard as often as that; more go slower."""

_TIMEOUT_S = 2.0


class Spent(NamedTuple):
    """Requests and tokens that were given out, and requests in flight."""

    requests: float = 0.0
    tokens: float = 0.0
    inflight: float = 0.0


NOTHING = Spent()


@dataclass(frozen=True, slots=True)
class Spendings:
    """`known`: what the router said before counts; if not, it is to count anew from here. `routers`: how many there are.
    `totals`: of all of them, by tenant.
    """

    known: bool
    routers: int
    totals: Mapping[str, Spent]


class QuotaStore(Protocol):
    """Adds up what routers spend."""

    async def spend(self, replica: Replica, shares: Mapping[str, Spent]) -> Spendings:
        """Put in what has changed of this router's share, and read the totals. Saying the same again changes nothing. Who
        is silent for some seconds is taken off. Raises `StoreError`.
        """


class QuotaKeeper:
    """Keeps `tenants` (also those that are no more) and the store up to date with each other. Without the store for
    `expiry_s` this router gives out its part only, by how many there were.
    """

    def __init__(
        self,
        store: QuotaStore,
        replica: Replica,
        bond: Bond,
        tenants: Callable[[], Collection[Tenant]],
        *,
        expiry_s: float = EXPIRY_S,
    ) -> None:
        self.routers = 1
        self._store = store
        self._replica = replica
        self._bond = bond
        self._tenants = tenants
        self._expiry_s = expiry_s
        self._since: dict[str, Spent] = {}  # what a tenant had spent here when counting began
        self._told: dict[str, Spent] = {}
        self._others: dict[str, Spent] = {}
        self._heard_at = self._tried_at = -HEARTBEAT_S
        self._alone = False

    async def run(self) -> None:
        """Keep them, for ever."""
        while True:
            now = perf_counter()
            if self.due(now):
                self._tried_at = now
                await self._bond.carry(self.tick, _TIMEOUT_S, "sharing quotas")
            self.keep(perf_counter())
            await asyncio.sleep(TICK_S * max(1.0, self.routers / _CROWD))

    def due(self, now: float) -> bool:
        """It is time, or something happened that others should hear of."""
        limited = [tenant for tenant in self._tenants() if tenant.terms.limited]
        if not limited:
            return False
        return now - self._tried_at >= HEARTBEAT_S or any(map(self._hurries, limited))

    def _hurries(self, tenant: Tenant) -> bool:
        told, share, terms = self._told.get(tenant.name, NOTHING), self._share(tenant), tenant.terms
        return (
            _much(share.requests - told.requests, terms.requests_per_minute)
            or _much(share.tokens - told.tokens, terms.tokens_per_minute)
            or _much(share.inflight - told.inflight, terms.max_inflight)
        )

    async def tick(self) -> None:
        """Say what is new, and hear what is. Raises `StoreError`."""
        shares = {tenant.name: self._share(tenant) for tenant in self._tenants()}
        news = {name: share for name, share in shares.items() if share != self._told.get(name)}
        spendings = await self._store.spend(self._replica, news)
        now = self._heard_at = perf_counter()
        self.routers = spendings.routers
        if spendings.known:
            self._told.update(news)
            self._take_in(spendings.totals, now)
        else:
            self._begin_anew(spendings.totals)
        self._divide(alone=False)

    def keep(self, now: float) -> None:
        """When nothing is heard for long, go by this router's part of the quotas."""
        if now - self._heard_at > self._expiry_s:
            self._divide(alone=True)

    # ------------------------------------------------------------------------------------------

    def _share(self, tenant: Tenant) -> Spent:
        since = self._since.get(tenant.name, NOTHING)
        return Spent(
            tenant.spent_requests - since.requests,
            tenant.spent_tokens - since.tokens,
            tenant.inflight,
        )

    def _take_in(self, totals: Mapping[str, Spent], now: float) -> None:
        before, self._others = self._others, self._of_others(totals)
        for tenant in self._tenants():
            then, others = before.get(tenant.name, NOTHING), self._others.get(tenant.name, NOTHING)
            tenant.elsewhere = max(0, round(others.inflight))
            tenant.spent_elsewhere(
                others.requests - then.requests, others.tokens - then.tokens, now
            )

    def _of_others(self, totals: Mapping[str, Spent]) -> dict[str, Spent]:
        out = {}
        for name, total in totals.items():
            own = self._told.get(name, NOTHING)
            out[name] = Spent(*(all_ - mine for all_, mine in zip(total, own, strict=True)))
        return out

    def _begin_anew(self, totals: Mapping[str, Spent]) -> None:
        """What was spent while this router was not heard is over and done with."""
        self._told = {}
        self._others = dict(totals)
        for tenant in self._tenants():
            self._since[tenant.name] = Spent(tenant.spent_requests, tenant.spent_tokens)
            tenant.elsewhere = round(totals.get(tenant.name, NOTHING).inflight)

    def _divide(self, *, alone: bool) -> None:
        share = 1.0 / max(1, self.routers) if alone else 1.0
        for tenant in self._tenants():
            tenant.divide(share)
            if alone:
                tenant.elsewhere = 0


def _much(news: float, limit: int | None) -> bool:
    return limit is not None and abs(news) > _HASTE * limit
