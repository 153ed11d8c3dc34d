"""What LMCache's coordinator says of a prompt, against a scripted one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router.errors import RouterError
from router.ids import Tier
from router.prompt.stored import Stored
from router.tiers import directory as directory_module
from router.tiers.base import TierError
from router.tiers.chunks import Chunker, kv_ranks
from router.tiers.directory import Directory
from router.upstream.pool import Address, Pool
from tests.fakes.coordinator import FakeCoordinator

SIZE = 4
MODEL = "/models/m"
CHUNKS = Chunker(SIZE).chunks(range(SIZE * 100), MODEL)
HASHES = CHUNKS.hashes
A, B = frozenset({"10.0.0.1"}), frozenset({"10.0.0.2"})


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    async with FakeCoordinator() as fake:
        fake.hosts = {"lm-1": "10.0.0.1", "lm-2": "10.0.0.2"}
        yield fake
        assert fake.http.errors == []


@pytest.fixture
async def directory(coordinator: FakeCoordinator) -> AsyncIterator[Directory]:
    made = make(coordinator)
    yield made
    await made.close()


def make(coordinator: FakeCoordinator, **options: Any) -> Directory:
    pool = Pool(Address.parse(coordinator.url), None, connect_s=1.0, idle_s=4.0)
    return Directory(pool, **options)


async def test_nothing_is_known_of_a_new_prompt(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    assert await directory.stored(CHUNKS) == []
    assert coordinator.requests == ["/directory/lookup"], "nobody's host matters"


@pytest.mark.parametrize(
    ("tier", "backend", "shared", "stored"),
    [
        ("l1", "dram", False, Stored(Tier.CPU, 32, A)),
        ("l1", "devdax", False, Stored(Tier.CPU, 32, A)),
        ("l1", "gds", False, Stored(Tier.DISK, 32, A)),
        ("l2", "resp", False, Stored(Tier.REMOTE, 32)),
        ("l2", "valkey", False, Stored(Tier.REMOTE, 32)),
        ("l2", "s3", True, Stored(Tier.REMOTE, 32)),
        ("l2", "fs", False, Stored(Tier.DISK, 32, A)),
        ("l2", "fs", True, Stored(Tier.DISK, 32)),
        ("l2", "nixl_store", False, Stored(Tier.DISK, 32, A)),
    ],
)
async def test_a_placement_is_a_tier_and_who_reaches_it(
    coordinator: FakeCoordinator,
    directory: Directory,
    tier: str,
    backend: str,
    shared: bool,
    stored: Stored,
) -> None:
    coordinator.hold(HASHES[:8], "lm-1", tier, backend, model=MODEL, shared=shared)
    assert await directory.stored(CHUNKS) == [stored]


async def test_every_server_has_its_own_run(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES[:50], "lm-1", model=MODEL)
    coordinator.hold(HASHES[:7], "lm-2", model=MODEL)
    coordinator.hold(HASHES[:90], "lm-2", "l2", "resp", model=MODEL)
    found = await directory.stored(CHUNKS)
    assert sorted(found, key=lambda each: each.tokens) == [
        Stored(Tier.CPU, 28, B),
        Stored(Tier.CPU, 200, A),
        Stored(Tier.REMOTE, 360),
    ]
    assert all(len(keys) <= 16 for keys in coordinator.lookups)


async def test_servers_with_equal_runs_are_told_together(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES, "lm-1", model=MODEL)
    coordinator.hold(HASHES, "lm-2", model=MODEL)
    assert await directory.stored(CHUNKS) == [Stored(Tier.CPU, 400, A | B)]


async def test_a_chunk_is_there_when_every_workers_part_is(coordinator: FakeCoordinator) -> None:
    ranks = kv_ranks(2)
    coordinator.hold(HASHES[:9], "lm-1", model=MODEL, ranks=ranks)
    coordinator.hold(HASHES[9:], "lm-1", model=MODEL, ranks=ranks[:1])
    coordinator.hold(HASHES[9:], "lm-2", model=MODEL, ranks=ranks[1:])
    directory = make(coordinator, world_size=2)
    assert await directory.stored(CHUNKS) == [Stored(Tier.CPU, 36, A)]
    await directory.close()


async def test_other_salts_are_others(coordinator: FakeCoordinator, directory: Directory) -> None:
    salted = Chunker(SIZE).chunks(range(SIZE * 100), MODEL, "mine")
    coordinator.hold(HASHES, "lm-1", model=MODEL, salt="mine")
    assert await directory.stored(salted) == [Stored(Tier.CPU, 400, A)]
    assert await directory.stored(CHUNKS) == []


async def test_servers_that_nobody_knows_are_nowhere(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES, "lm-3", model=MODEL)
    coordinator.hold(HASHES, "lm-3", "l2", "resp", model=MODEL)
    assert await directory.stored(CHUNKS) == [Stored(Tier.REMOTE, 400)]


async def test_hosts_are_remembered_and_asked_for_once_by_many(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES, "lm-1", model=MODEL)
    await asyncio.gather(*(directory.stored(CHUNKS) for _ in range(10)))
    assert await directory.stored(CHUNKS) == [Stored(Tier.CPU, 400, A)]
    assert coordinator.requests.count("/instances") == 1


async def test_a_new_server_has_its_host_looked_up(
    coordinator: FakeCoordinator, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "_RETRY_S", 0.0)
    coordinator.hold(HASHES, "lm-1", model=MODEL)
    await directory.stored(CHUNKS)
    coordinator.hosts["lm-3"] = "10.0.0.3"
    other = Chunker(SIZE).chunks(range(50, 90), MODEL)
    coordinator.hold(other.hashes, "lm-3", model=MODEL)
    assert await directory.stored(other) == [Stored(Tier.CPU, 40, frozenset({"10.0.0.3"}))]


async def test_a_server_that_stays_unknown_is_not_asked_for_each_time(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES, "lm-3", model=MODEL)
    for _ in range(5):
        assert await directory.stored(CHUNKS) == []
    assert coordinator.requests.count("/instances") == 1


async def test_a_server_that_moved_is_found_again(
    coordinator: FakeCoordinator, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.hold(HASHES, "lm-1", model=MODEL)
    await directory.stored(CHUNKS)
    coordinator.hosts["lm-1"] = "10.0.0.9"
    assert await directory.stored(CHUNKS) == [Stored(Tier.CPU, 400, A)]
    monkeypatch.setattr(directory_module, "_INSTANCES_S", 0.0)
    assert await directory.stored(CHUNKS) == [Stored(Tier.CPU, 400, frozenset({"10.0.0.9"}))]


async def test_one_connection_does_for_one_question_after_the_other(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES[:50], "lm-1", model=MODEL)
    for _ in range(5):
        await directory.stored(CHUNKS)
    assert coordinator.http.accepted == 1


async def test_a_connection_that_was_closed_meanwhile_is_no_error(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES, "lm-1", model=MODEL)
    for _ in range(3):
        assert await directory.stored(CHUNKS) == [Stored(Tier.CPU, 400, A)]
        await coordinator.http.drop()
    assert coordinator.http.accepted == 3


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (404, b'{"detail":"Not Found"}', "/directory/lookup answered 404"),
        (200, b"<html>", "/directory/lookup: "),
        (200, b'{"chunks":0}', "/directory/lookup: "),
        (200, b'{"results":[{"placements":[{"instance_id":7}]}]}', "/directory/lookup: "),
        (200, b'{"results":[]}', "0 answers to 16 keys"),
    ],
)
async def test_an_answer_that_is_none_is_an_error(
    coordinator: FakeCoordinator, directory: Directory, status: int, body: bytes, why: str
) -> None:
    coordinator.answer = (status, body)
    with pytest.raises(TierError, match=why):
        await directory.stored(CHUNKS)


async def test_a_coordinator_that_is_away_is_an_error(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    await directory.stored(CHUNKS)
    await coordinator.http.stop()
    with pytest.raises(RouterError):
        await directory.stored(CHUNKS)
    await coordinator.http.start()
    assert await directory.stored(CHUNKS) == []


async def test_giving_up_does_not_mix_up_the_answers(
    coordinator: FakeCoordinator, directory: Directory
) -> None:
    coordinator.hold(HASHES, "lm-1", model=MODEL)
    await directory.stored(CHUNKS)
    lookup = coordinator.http.routes["/directory/lookup"]
    begun = asyncio.Event()

    async def stuck(request: Any, wire: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    coordinator.http.routes["/directory/lookup"] = stuck
    asking = asyncio.ensure_future(directory.stored(CHUNKS))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    coordinator.http.routes["/directory/lookup"] = lookup
    assert await directory.stored(CHUNKS) == [Stored(Tier.CPU, 400, A)]
