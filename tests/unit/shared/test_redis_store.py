"""What a real server keeps of blocks and the board, and for how long. (What every store does: tests/conformance.)"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis import Redis

from router.ids import BlockKey, WorkerId
from router.prompt.token_blocks import token_keys
from router.shared import redis_store as module
from router.shared.base import Change, Drop, Hold, Replica, Row, Share, Told, rows_of
from router.shared.link import Link
from router.shared.names import Names
from router.shared.redis_store import RedisStore
from tests.fakes.redis_server import server

PATIENCE_S = 60.0
TTL_S = 600
NAMES = Names("test")
VALID = struct.pack(">HH", 0, 0) * 64
ONE, TWO = Replica("one"), Replica("two", leads=False)
A, B, C = (WorkerId(f"{name}:8000") for name in "abc")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server("valkey") as running:
        yield running.url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """A connection of the test's own to a server that has nothing."""
    with Redis.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def link(url: str, client: Any) -> AsyncIterator[Link]:
    link = Link(url, timeout_s=PATIENCE_S)
    yield link
    await link.close()


@pytest.fixture
def store(link: Link) -> RedisStore:
    return RedisStore(link, NAMES, ttl_s=TTL_S)


def blocks(client: Any) -> list[bytes]:
    """Names of all blocks."""
    return [name for name in client.keys("test:1:*") if b"{board}" not in name]


def keys(count: int, first: int = 0) -> list[BlockKey]:
    return token_keys(range(first, first + 2 * count), 2)


def board_name(name: str) -> bytes:
    return NAMES.of_board(name)[0]


class TestBlocks:
    async def test_a_block_is_one_name_with_four_bytes_for_each_holder(
        self, store: RedisStore, client: Any
    ) -> None:
        chain = keys(10)
        await store.write(b"e", [Hold(holder, 7, chain) for holder in (1, 2, 3)])
        await store.write(b"e", [Hold(2, 9, chain), Hold(2, 9, chain)])
        names = blocks(client)
        assert len(names) == 10
        expected = b"".join(struct.pack(">HH", *each) for each in ((1, 7), (2, 9), (3, 7)))
        assert {client.get(name) for name in names} == {expected}
        assert all(name.startswith(b"test:1:e{") for name in names)
        assert {name[-8:] for name in names} == {key.to_bytes(8, "big") for key in chain}

    async def test_who_drops_it_is_taken_out(self, store: RedisStore, client: Any) -> None:
        chain = keys(4)
        await store.write(b"e", [Hold(1, 7, chain), Hold(2, 7, chain), Drop(1, chain)])
        assert {client.get(name) for name in blocks(client)} == {struct.pack(">HH", 2, 7)}
        await store.write(b"e", [Drop(3, chain), Drop(2, chain[1:])])
        assert len(blocks(client)) == 1
        await store.write(b"e", [Drop(2, chain)])
        assert blocks(client) == []

    async def test_blocks_are_forgotten_after_a_while(self, store: RedisStore, client: Any) -> None:
        await store.write(b"e", [Hold(1, 7, keys(3))])
        for name in blocks(client):
            assert TTL_S - PATIENCE_S <= client.ttl(name) <= TTL_S

    async def test_another_word_of_any_holder_puts_that_off(
        self, store: RedisStore, client: Any
    ) -> None:
        chain = keys(3)
        await store.write(b"e", [Hold(1, 7, chain)])
        for holder in (1, 2):
            for name in blocks(client):
                client.expire(name, 60)
            await store.write(b"e", [Hold(holder, 7, chain[:2])])
            left = sorted(client.ttl(name) for name in blocks(client))
            assert left[0] <= 60 < TTL_S - PATIENCE_S <= left[1]

    async def test_a_drop_does_not(self, store: RedisStore, client: Any) -> None:
        chain = keys(1)
        await store.write(b"e", [Hold(1, 7, chain), Hold(2, 7, chain)])
        (name,) = blocks(client)
        client.expire(name, 60)
        await store.write(b"e", [Drop(2, chain)])
        assert 0 < client.ttl(name) <= 60

    async def test_they_are_gone_then(self, link: Link, client: Any) -> None:
        store = RedisStore(link, NAMES, ttl_s=1)
        chain = keys(300)
        await store.write(b"e", [Hold(1, 0, chain)])
        async with asyncio.timeout(PATIENCE_S):
            while blocks(client):  # noqa: ASYNC110 - the server's clock decides
                await asyncio.sleep(0.05)
        assert (await store.look_up(b"e", [chain], VALID, rows=False)).runs == [{}]

    async def test_a_late_word_does_not_make_it_older(self, store: RedisStore, client: Any) -> None:
        await store.write(b"e", [Hold(1, 7, keys(1)), Hold(1, 6, keys(1))])
        assert client.get(blocks(client)[0]) == struct.pack(">HH", 1, 7)

    async def test_nothing_to_write_is_not_sent(self, store: RedisStore, client: Any) -> None:
        before = client.info("stats")["total_commands_processed"]
        await store.write(b"e", [])
        await store.write(b"e", [Hold(1, 7, [])])
        assert client.info("stats")["total_commands_processed"] <= before + 1

    async def test_many_are_written_in_parts(self, store: RedisStore, client: Any) -> None:
        chain = keys(3 * module._BATCH + 7)
        await store.write(b"e", [Hold(1, 0, chain)])
        assert len(blocks(client)) == len(chain)
        assert (await store.look_up(b"e", [chain], VALID, rows=False)).runs == [{1: len(chain)}]

    async def test_a_block_whose_value_is_odd_harms_nobody(
        self, store: RedisStore, client: Any
    ) -> None:
        chain = keys(3)
        await store.write(b"e", [Hold(1, 0, chain)])
        answer = await store.look_up(b"e", [chain[:1]], b"", rows=False)
        assert answer.runs == [{}], "nobody is asked about"


class TestBoard:
    async def test_names_are_few_whatever_the_workers(self, store: RedisStore, client: Any) -> None:
        await store.publish(ONE, [])
        workers = [WorkerId(f"w{number}:1") for number in range(200)]
        numbers = await store.enrol(workers)
        changes = [Change(number, Share(1, 1, 10, 5, 100), sent=3) for number in numbers]
        await store.publish(ONE, changes)
        await store.publish(TWO, changes)
        expected = ["rows", "leaders", "followers", "meta", "numbers", "seen", "share:one"]
        assert set(client.keys()) == set(map(board_name, [*expected, "share:two"]))
        assert client.strlen(board_name("rows")) == 200 * 32
        assert client.strlen(board_name("share:one")) == 200 * 20

    @pytest.mark.parametrize("way", ["rows", "all"])
    async def test_an_emptied_board_has_another_epoch_and_no_shares(
        self, store: RedisStore, client: Any, way: str
    ) -> None:
        before = await store.publish(ONE, [])
        await store.publish(TWO, [])
        (number,) = await store.enrol([A])
        share = [Change(number, Share(3, 2, 100, 50, 900), sent=77, told=Told(1, 2, 3))]
        for replica in (ONE, TWO):
            await store.publish(replica, share, epoch=before.epoch)
        if way == "all":
            client.flushall()
        else:
            client.delete(board_name("rows"))
        after = await store.publish(TWO, share, epoch=before.epoch)
        assert after.epoch != before.epoch
        assert not after.known
        assert set(rows_of(after.rows)) <= {Row()}, "what is of the epoch before is passed over"
        assert (after.leaders, after.followers) == (0, 1)
        board = await store.publish(ONE, [], epoch=before.epoch)
        assert (board.known, board.epoch, board.leaders) == (False, after.epoch, 1)
        (number,) = await store.enrol([A])
        for replica, inflight in ((ONE, 3), (TWO, 6)):
            change = share[0]._replace(number=number)
            board = await store.publish(replica, [change], epoch=after.epoch)
            assert board.known
            assert rows_of(board.rows)[number].inflight == inflight

    async def test_its_blocks_are_of_the_past(self, store: RedisStore, client: Any) -> None:
        chain = keys(4)
        before = await store.publish(ONE, [])
        await store.write(before.epoch, [Hold(1, 0, chain)])
        client.delete(board_name("rows"))
        after = await store.publish(ONE, [], epoch=before.epoch)
        answer = await store.look_up(after.epoch, [chain], VALID, rows=True)
        assert answer.runs == [{}]
        assert answer.rows is not None

    async def test_numbers_begin_anew(self, store: RedisStore, client: Any) -> None:
        before = await store.publish(ONE, [])
        assert await store.enrol([A, B]) == [0, 1]
        client.delete(board_name("rows"))
        await store.publish(ONE, [], epoch=before.epoch)
        assert await store.enrol([B, A]) == [0, 1]

    async def test_without_a_board_there_are_no_rows(self, store: RedisStore, client: Any) -> None:
        assert (await store.look_up(b"e", [], VALID, rows=True)).rows is None

    async def test_one_whose_share_alone_is_gone_is_not_known(
        self, store: RedisStore, client: Any
    ) -> None:
        board = await store.publish(ONE, [])
        client.delete(board_name("share:one"))
        again = await store.publish(ONE, [], epoch=board.epoch)
        assert (again.known, again.epoch) == (False, board.epoch)

    async def test_rows_are_sent_only_if_they_are_wanted(self, store: RedisStore) -> None:
        await store.publish(ONE, [Change(0, Share(1))])
        assert (await store.publish(ONE, [], rows=False)).rows == b""

    async def test_nothing_is_kept_for_ever(self, store: RedisStore, client: Any) -> None:
        await store.publish(ONE, [Change(0, Share(1))])
        await store.publish(TWO, [Change(0, Share(1))])
        for name in ("rows", "leaders", "followers", "meta", "share:one", "share:two"):
            assert 0 < client.ttl(board_name(name)) <= 86_400

    async def test_namespaces_know_nothing_of_each_other(
        self, store: RedisStore, link: Link
    ) -> None:
        other = RedisStore(link, Names("other"), ttl_s=TTL_S)
        await store.publish(ONE, [Change(0, Share(5))])
        board = await other.publish(TWO, [])
        assert (board.leaders, rows_of(board.rows)) == (0, [Row()])
        await store.write(b"e", [Hold(1, 0, keys(2))])
        assert (await other.look_up(b"e", [keys(2)], VALID, rows=False)).runs == [{}]


class TestNumbers:
    async def test_where_they_were_lost_all_begins_anew(
        self, store: RedisStore, client: Any
    ) -> None:
        """Another worker would be taken for the one that had its number."""
        before = await store.publish(ONE, [])
        for _ in range(2):
            assert await store.enrol([A, B]) == [0, 1]
        assert (await store.publish(ONE, [], epoch=before.epoch)).epoch == before.epoch
        client.delete(board_name("numbers"))
        await store.enrol([B, A])
        changes = [Change(0, Share(3))]
        after = await store.publish(ONE, changes, epoch=before.epoch)
        assert after.epoch != before.epoch
        assert set(rows_of(after.rows)) <= {Row()}
        assert await store.enrol([B, A]) == [0, 1]
        for _ in range(2):
            again = await store.publish(ONE, changes, epoch=after.epoch)
            assert (again.epoch, rows_of(again.rows)[0].inflight) == (after.epoch, 3)
            await store.enrol([A, B])

    async def test_who_has_no_workers_renews_nothing(self, store: RedisStore, client: Any) -> None:
        before = await store.publish(ONE, [])
        assert await store.enrol([]) == []
        assert await store.enrol([A]) == [0]
        assert (await store.publish(ONE, [], epoch=before.epoch)).epoch == before.epoch

    async def test_that_of_an_unseen_worker_is_anothers_after_a_while(
        self, store: RedisStore, client: Any
    ) -> None:
        assert await store.enrol([A, B]) == [0, 1]
        client.zadd(board_name("seen"), {A: 1000})
        assert await store.enrol([C]) == [0]
        assert await store.enrol([A]) == [2], "it is new now"
        assert await store.enrol([B, C, A]) == [1, 0, 2]
        assert client.hlen(board_name("numbers")) == client.zcard(board_name("seen")) == 3

    async def test_not_before(self, store: RedisStore, client: Any) -> None:
        seconds, _ = client.time()
        await store.enrol([A])
        client.zadd(board_name("seen"), {A: (seconds - 2 * TTL_S + PATIENCE_S) * 1000})
        assert await store.enrol([B]) == [1]

    async def test_to_be_enrolled_again_is_to_be_seen(self, store: RedisStore, client: Any) -> None:
        await store.enrol([A])
        client.zadd(board_name("seen"), {A: 1000})
        await store.enrol([A])
        assert await store.enrol([B]) == [1]

    async def test_beyond_the_most_there_is_none(
        self, store: RedisStore, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_WORKERS", 2)
        assert await store.enrol([A, B, C]) == [0, 1, -1]
        assert await store.enrol([C, A]) == [-1, 0]
        assert client.hlen(board_name("numbers")) == client.zcard(board_name("seen")) == 2
        client.zadd(board_name("seen"), {A: 1000})
        assert await store.enrol([C, B]) == [0, 1]
        assert await store.enrol([A]) == [-1]
