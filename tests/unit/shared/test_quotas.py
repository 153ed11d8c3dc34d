"""Quotas of tenants over several routers, by a clock that the test turns, with a store in this process."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from router.access.tenant import Tenant, Ticket
from router.access.terms import Terms
from router.errors import RouterError
from router.shared import quotas as quotas_module
from router.shared.base import Replica, StoreError
from router.shared.bond import Bond
from router.shared.quotas import EXPIRY_S, HEARTBEAT_S, QuotaKeeper, Spendings, Spent
from tests.unit.shared.support import Clock


@dataclass
class FakeQuotas:
    """A `QuotaStore` as its words have it."""

    clock: Clock
    totals: dict[str, Spent] = field(default_factory=dict)
    routers: dict[str, tuple[float, dict[str, Spent]]] = field(default_factory=dict)
    calls: int = 0
    error: Exception | None = None
    loses_answers: bool = False
    """What it is told counts, and nobody hears so."""

    async def spend(self, replica: Replica, shares: Mapping[str, Spent]) -> Spendings:
        self.calls += 1
        if self.error is not None:
            raise self.error
        for name, (at, _) in list(self.routers.items()):
            if self.clock() - at >= EXPIRY_S:
                self._forget(name)
        known = replica.name in self.routers
        _, told = self.routers.get(replica.name, (0.0, {}))
        if known:
            for tenant, share in shares.items():
                self._add(tenant, share, told.get(tenant, Spent()))
                told[tenant] = share
        self.routers[replica.name] = self.clock(), told
        if self.loses_answers:
            raise StoreError("late", "no answer")
        return Spendings(known, len(self.routers), dict(self.totals))

    def empty(self) -> None:
        self.totals, self.routers = {}, {}

    def _forget(self, name: str) -> None:
        _, told = self.routers.pop(name)
        for tenant, share in told.items():
            self._add(tenant, Spent(), Spent(inflight=share.inflight))

    def _add(self, tenant: str, share: Spent, before: Spent) -> None:
        total = self.totals.get(tenant, Spent())
        parts = zip(total, share, before, strict=True)
        self.totals[tenant] = Spent(*(all_ + now - then for all_, now, then in parts))


class Router:
    """One router's tenant and keeper."""

    def __init__(self, name: str, store: FakeQuotas, clock: Clock, terms: Terms) -> None:
        self.tenant = Tenant("acme", terms, clock())
        self.bond = Bond(now=clock)
        self.clock = clock
        self.keeper = QuotaKeeper(store, Replica(name), self.bond, lambda: [self.tenant])

    async def beat(self) -> None:
        """As `QuotaKeeper.run` does it."""
        if self.keeper.due(self.clock()):
            self.keeper._tried_at = self.clock()
            await self.bond.carry(self.keeper.tick, 2.0, "sharing quotas")
        self.keeper.keep(self.clock())

    def ask(self, tokens: float = 0.0) -> Ticket | None:
        """None: refused."""
        try:
            ticket = self.tenant.admit("m", self.clock(), runs=True)
        except RouterError:
            return None
        try:
            ticket.charge(tokens, self.clock())
        except RouterError:
            ticket.release()
            ticket.settle(0, 0, self.clock())
            return None
        return ticket

    def burst(self) -> int:
        """As many as are let through."""
        count = 0
        while (ticket := self.ask()) is not None:
            ticket.release()
            count += 1
        return count


class Town:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.store = FakeQuotas(clock)
        self.routers: list[Router] = []

    async def open(self, number: int, **terms: Any) -> list[Router]:
        """Routers that know each other."""
        opened = [
            Router(f"r{place}", self.store, self.clock, Terms(**terms)) for place in range(number)
        ]
        self.routers += opened
        await self.beat()
        await self.beat()
        return opened

    async def beat(self, after_s: float = HEARTBEAT_S) -> None:
        self.clock.now += after_s
        for router in self.routers:
            await router.beat()


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Town:
    clock = Clock()
    monkeypatch.setattr(quotas_module, "perf_counter", clock)
    return Town(clock)


class TestTogether:
    async def test_what_one_gives_out_is_missing_at_the_others(self, town: Town) -> None:
        one, two = await town.open(2, requests_per_minute=600)
        for _ in range(500):
            assert one.ask()
        await town.beat()
        assert two.burst() == pytest.approx(100, abs=10)
        for _ in range(2):
            await town.beat()
        assert one.burst() <= 20

    async def test_too_much_at_first_is_made_up_for(self, town: Town) -> None:
        """All give out a full bucket before they hear of each other; over time it is the quota."""
        routers = await town.open(3, requests_per_minute=600)
        given = sum(router.burst() for router in routers)
        assert given == 1800
        for _ in range(600):
            await town.beat(0.5)
            given += sum(router.burst() for router in routers)
        seconds = 600 * 0.5
        assert given <= 600 + 10 * (seconds + 1) + 3 * 10
        assert given >= 10 * seconds

    async def test_tokens_are_shared_as_they_are_settled(self, town: Town) -> None:
        one, two = await town.open(2, tokens_per_minute=10_000)
        ticket = one.ask(8000)
        assert ticket is not None
        await town.beat()
        await town.beat()
        assert two.ask(5000) is None
        ticket.settle(100, 50, town.clock())
        await town.beat()
        await town.beat()
        assert two.ask(5000) is not None

    async def test_places_are_shared(self, town: Town) -> None:
        one, two = await town.open(2, max_inflight=5)
        tickets = [one.ask() for _ in range(4)]
        await town.beat()
        await town.beat()
        assert two.ask() is not None
        assert two.ask() is None
        for ticket in tickets:
            assert ticket is not None
            ticket.release()
        await town.beat()
        await town.beat()
        assert two.ask() is not None

    async def test_a_router_that_is_gone_holds_no_places(self, town: Town) -> None:
        one, two = await town.open(2, max_inflight=5)
        for _ in range(5):
            one.ask()
        await town.beat()
        await town.beat()
        assert two.ask() is None
        town.routers.remove(one)
        for _ in range(8):
            await town.beat()
        assert two.ask() is not None
        assert two.keeper.routers == 1

    async def test_a_router_that_comes_later_knows_nothing_of_the_past(self, town: Town) -> None:
        (one,) = await town.open(1, requests_per_minute=60)
        assert one.burst() == 60
        await town.beat(60.0)
        one.burst()
        (two,) = await town.open(1, requests_per_minute=60)
        assert two.tenant.requests is not None
        assert two.tenant.requests.refill(town.clock()) > 50, "no debt from before its time"

    async def test_what_hurries_is_told_soon_and_the_rest_twice_a_second(self, town: Town) -> None:
        one, _ = await town.open(2, requests_per_minute=600)
        now = town.clock()
        assert not one.keeper.due(now + 0.1)
        one.ask()
        assert not one.keeper.due(now + 0.1)
        assert one.keeper.due(now + HEARTBEAT_S)
        for _ in range(20):
            one.ask()
        assert one.keeper.due(now + 0.1)

    async def test_without_quotas_nothing_is_told(self, town: Town) -> None:
        await town.open(2)
        assert town.store.calls == 0

    async def test_tenants_that_have_no_quota_may_get_one(self, town: Town) -> None:
        """What they spent before is over."""
        one, two = await town.open(2)
        for _ in range(1000):
            one.ask()
        for router in (one, two):
            router.tenant.agree(Terms(requests_per_minute=60), town.clock())
        for _ in range(5):
            await town.beat()
        assert two.burst() == 60


class TestTrouble:
    async def test_an_answer_that_is_lost_counts_nothing_twice(self, town: Town) -> None:
        one, two = await town.open(2, requests_per_minute=600)
        for _ in range(100):
            one.ask()
        town.store.loses_answers = True
        for _ in range(3):
            await town.beat(0.2)
        town.store.loses_answers = False
        await town.beat()
        await town.beat()
        assert town.store.totals["acme"].requests == 100
        assert two.burst() == pytest.approx(510, abs=10)

    async def test_without_the_store_each_gives_out_its_part(self, town: Town) -> None:
        routers = await town.open(3, requests_per_minute=600, max_inflight=9)
        for router in routers:
            router.burst()
        town.store.error = StoreError("failed", "away")
        given = 0
        for _ in range(240):
            await town.beat()
            given += sum(router.burst() for router in routers)
        assert given <= 10 * 120 + 3 * 10 * EXPIRY_S + 60
        assert given >= 10 * 110
        places = [router.ask() for router in routers for _ in range(9)]
        await town.beat(60.0)
        assert sum(place is not None for place in places) <= 9

    async def test_when_it_is_back_the_time_without_it_is_over(self, town: Town) -> None:
        one, two = await town.open(2, requests_per_minute=600)
        town.store.error = StoreError("failed", "away")
        for _ in range(100):
            await town.beat()
            one.burst()
        town.store.error = None
        for _ in range(4):
            await town.beat()
        assert two.burst() >= 300, "it is not told all that the other gave out meanwhile"
        await town.beat(60.0)
        await town.beat()
        assert one.burst() >= 590

    async def test_a_store_that_was_emptied(self, town: Town) -> None:
        one, two = await town.open(2, requests_per_minute=600, max_inflight=10)
        tickets = [one.ask() for _ in range(9)]
        await town.beat()
        town.store.empty()
        for _ in range(4):
            await town.beat()
        assert two.ask() is not None
        assert two.ask() is None, "places that are held are told again"
        assert len(tickets) == 9
        assert one.tenant.requests is not None
        assert one.tenant.requests.level > 500

    async def test_a_store_that_was_never_there(self, town: Town) -> None:
        """How many routers there are is not known: each gives out all of it."""
        town.store.error = StoreError("failed", "away")
        one, two = await town.open(2, requests_per_minute=60)
        for _ in range(10):
            await town.beat()
        assert one.burst() == two.burst() == 60


async def test_by_chance_what_is_given_out_is_the_quota(town: Town) -> None:
    """Four routers, uneven traffic, answers that are lost: over ten minutes within the quota and its first burst."""
    dice = random.Random(3)
    routers = await town.open(4, requests_per_minute=1200, tokens_per_minute=60_000)
    given = spent = 0.0
    for _ in range(3000):
        town.store.loses_answers = dice.random() < 0.1
        await town.beat(0.2)
        for place, router in enumerate(routers):
            for _ in range(dice.randrange(0, 2 + 3 * place)):
                ticket = router.ask(40)
                if ticket is not None:
                    ticket.release()
                    ticket.settle(30, dice.randrange(0, 40), town.clock())
                    spent += ticket.charged
                    given += 1
    minutes = 3000 * 0.2 / 60
    assert given <= 1200 * (minutes + 1) + 400
    assert spent <= 60_000 * (minutes + 1) + 20_000
    assert max(given / 1200, spent / 60_000) > minutes * 0.9, "and it is nearly all given out"


async def test_it_runs_until_it_is_cancelled(town: Town) -> None:
    (one,) = await town.open(1, requests_per_minute=60)
    calls = town.store.calls
    town.clock.now += 10
    task = asyncio.get_running_loop().create_task(one.keeper.run())
    async with asyncio.timeout(10):
        while town.store.calls == calls:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
