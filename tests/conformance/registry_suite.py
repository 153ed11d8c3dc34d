"""What every registry that routers share must do, whatever it is made of.

A test class inherits `RegistrySuite` and makes the registry in a fixture; each test has workers of its own, so that the
registry need not be emptied.
"""

import asyncio
from itertools import count

from router.ids import WorkerId
from router.shared.base import Facts, Registry, Replica

HASTE_S = 0.3
"""A lease of a `hasty` registry lasts so long."""

PATIENCE_S = 40.0

ONE, TWO, FOLLOWER = Replica("one"), Replica("two on host-2"), Replica("three", leads=False)
FACTS = Facts(
    up=True,
    models={"m": {"id": "m", "root": "org/m", "max_model_len": 4096, "nested": {"a": [1, None]}}},
    kv_tokens=123_456,
    block_tokens=16,
    started_at=1_800_000_000.25,
    ranks=2,
    block=16,
    whole=True,
    life=7,
)

_workers = count(1)


def worker(rank: int | None = None) -> WorkerId:
    """Nobody has seen it yet."""
    return WorkerId(f"gpu-{next(_workers)}:8000" + ("" if rank is None else f"#{rank}"))


async def version(registry: Registry) -> int:
    """That of the facts now."""
    return (await registry.facts(0, {}))[0]


class RegistrySuite:
    """Behaviour of a registry, by examples."""

    # -- leases --------------------------------------------------------------------------------

    async def test_a_free_worker_is_had_for_the_asking(self, registry: Registry) -> None:
        a, b = worker(), worker()
        held = await registry.lease(ONE, [a, b], [])
        assert (held[a], held[b]) == (ONE.name, ONE.name)

    async def test_who_asks_for_nothing_sees_all_leases(self, registry: Registry) -> None:
        a, b, free = worker(), worker(), worker()
        await registry.lease(ONE, [a], [])
        await registry.lease(TWO, [b], [])
        held = await registry.lease(FOLLOWER, [], [])
        assert (held[a], held[b]) == (ONE.name, TWO.name)
        assert free not in held

    async def test_what_another_has_is_refused(self, registry: Registry) -> None:
        a, b = worker(), worker()
        await registry.lease(ONE, [a], [])
        held = await registry.lease(TWO, [a, b], [])
        assert (held[a], held[b]) == (ONE.name, TWO.name)

    async def test_one_that_is_returned_is_free(self, registry: Registry) -> None:
        a, b = worker(), worker()
        await registry.lease(ONE, [a, b], [])
        held = await registry.lease(ONE, [b], [a])
        assert a not in held
        held = await registry.lease(TWO, [a, b], [])
        assert (held[a], held[b]) == (TWO.name, ONE.name)

    async def test_only_who_has_one_can_return_it(self, registry: Registry) -> None:
        a, free = worker(), worker()
        await registry.lease(ONE, [a], [])
        held = await registry.lease(TWO, [], [a, free])
        assert held[a] == ONE.name
        assert free not in held

    async def test_one_of_many_who_ask_at_once_gets_it(self, registry: Registry) -> None:
        a = worker()
        replicas = [Replica(f"racer {n}") for n in range(10)]
        seen = await asyncio.gather(*(registry.lease(each, [a], []) for each in replicas))
        assert len({held[a] for held in seen}) == 1

    async def test_one_that_is_not_renewed_is_anybodys(self, hasty: Registry) -> None:
        a = worker()
        await hasty.lease(ONE, [a], [])
        async with asyncio.timeout(PATIENCE_S):
            while (await hasty.lease(TWO, [a], []))[a] == ONE.name:  # noqa: ASYNC110 - the store's clock decides
                await asyncio.sleep(HASTE_S / 10)
        assert (await hasty.lease(FOLLOWER, [], [])).get(a) in (TWO.name, None)

    async def test_one_that_ran_out_is_nobodys(self, hasty: Registry) -> None:
        a = worker()
        await hasty.lease(ONE, [a], [])
        await asyncio.sleep(2 * HASTE_S)
        assert a not in await hasty.lease(TWO, [], [])

    async def test_who_renews_keeps_it(self, registry: Registry, hasty: Registry) -> None:
        """`hasty` takes it for a moment, and `registry`, the same store, for longer."""
        a = worker()
        await hasty.lease(ONE, [a], [])
        await registry.lease(ONE, [a], [])
        await asyncio.sleep(2 * HASTE_S)
        assert (await hasty.lease(TWO, [a], []))[a] == ONE.name

    # -- facts ---------------------------------------------------------------------------------

    async def test_what_one_tells_all_read_as_it_was(self, registry: Registry) -> None:
        a, b, rank = worker(), worker(), worker(rank=1)
        since = await version(registry)
        _, told = await registry.facts(since, {a: FACTS, b: Facts(), rank: Facts(up=True)})
        assert told == {a: FACTS, b: Facts(), rank: Facts(up=True)}
        _, read = await registry.facts(0, {})
        assert (read[a], read[b]) == (FACTS, Facts())

    async def test_only_what_changed_since_is_read(self, registry: Registry) -> None:
        a, b = worker(), worker()
        first, _ = await registry.facts(0, {a: FACTS})
        second, changed = await registry.facts(first, {b: FACTS})
        assert changed == {b: FACTS}
        assert second > first
        assert await registry.facts(second, {}) == (second, {})
        third, changed = await registry.facts(second, {a: Facts(life=8)})
        assert changed == {a: Facts(life=8)}
        assert (await registry.facts(first, {})) == (third, {a: Facts(life=8), b: FACTS})

    async def test_the_last_that_is_told_counts(self, registry: Registry) -> None:
        a = worker()
        since = await version(registry)
        for life in range(1, 6):
            await registry.facts(since, {a: Facts(life=life)})
        assert (await registry.facts(since, {}))[1] == {a: Facts(life=5)}

    async def test_who_knows_of_a_later_version_than_there_is_reads_all(
        self, registry: Registry
    ) -> None:
        a = worker()
        now, _ = await registry.facts(0, {a: FACTS})
        found, read = await registry.facts(now + 1000, {})
        assert found == now
        assert read[a] == FACTS

    async def test_many_workers_are_told_at_once(self, registry: Registry) -> None:
        news = {worker(): Facts(life=n) for n in range(300)}
        since = await version(registry)
        assert (await registry.facts(since, news))[1] == news

    # -- responses -----------------------------------------------------------------------------

    async def test_what_is_remembered_is_found(self, registry: Registry) -> None:
        a, b = worker(), worker()
        await registry.remember(f"resp_{a}", a)
        await registry.remember(f"resp_{b}", b)
        assert await registry.find(f"resp_{a}") == a
        assert await registry.find(f"resp_{b}") == b

    async def test_the_last_place_counts(self, registry: Registry) -> None:
        a, b = worker(), worker()
        await registry.remember(f"resp_{a}", a)
        await registry.remember(f"resp_{a}", b)
        assert await registry.find(f"resp_{a}") == b

    async def test_what_nobody_stores_is_not_found(self, registry: Registry) -> None:
        assert await registry.find("resp_never") is None
        assert await registry.find("") is None

    async def test_any_text_is_an_id(self, registry: Registry) -> None:
        a = worker()
        for response_id in ("{a}{b}", "é ü 漢", "line\r\nbreak\0", "x" * 5000):
            await registry.remember(response_id, a)
            assert await registry.find(response_id) == a
