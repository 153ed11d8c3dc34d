"""KV events over real ZMQ sockets: what an index knows after gaps, restarts, floods and silence."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import zmq

from router.errors import RouterError, Source
from router.events import sockets
from router.events.feeds import EventFeeds
from router.events.ingest import Ingest
from router.events.sources import EventSource, discover, sources_in
from router.ids import WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.prompt.token_blocks import token_keys
from router.simworker.app import App
from router.simworker.config import WorkerConfig
from router.simworker.tokens import encode
from router.simworker.worker import Worker as SimulatedWorker
from router.upstream.pool import Address, Pool
from tests.component.harness import eventually
from tests.fakes.kv_publisher import KvPublisher
from tests.fakes.ports import free_ports
from tests.fakes.worker import FakeWorker

SIZE = 4
A, B = WorkerId("a:8000"), WorkerId("b:8000")


def stored(
    first: int, *, parent: int | None = None, blocks: int = 2, **more: Any
) -> dict[str, Any]:
    """Blocks of text that begins with token `first`; they are named by the tokens they begin with."""
    return {
        "type": "BlockStored",
        "block_hashes": [first + place * SIZE for place in range(blocks)],
        "parent_block_hash": parent,
        "token_ids": list(range(first, first + blocks * SIZE)),
        "block_size": SIZE,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
        "group_idx": 0,
        **more,
    }


def removed(name: int) -> dict[str, Any]:
    return {"type": "BlockRemoved", "block_hashes": [name], "medium": "GPU", "group_idx": 0}


def prompt(first: int, blocks: int = 2) -> TokenIdentity:
    text = range(first, first + blocks * SIZE)
    return TokenIdentity.of(token_keys(text, SIZE), len(text), SIZE)


class Rig:
    """Feeds into a real index, running unless `paused`."""

    def __init__(self) -> None:
        self.index = UnionIndex()
        self.feeds = EventFeeds(
            {"GPU": self.index}, ingest=Ingest(slice_s=0.01), replay_timeout_s=0.5
        )
        self._running: asyncio.Future[None] | None = None

    def resume(self) -> None:
        self._running = asyncio.ensure_future(self.feeds.run())

    async def stop(self) -> None:
        if self._running is None:
            self.feeds.close()
            return
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def follow(self, publisher: KvPublisher, *, replay: bool = True, worker: WorkerId = A) -> None:
        self.feeds.follow(worker, [source_of(publisher, replay=replay, worker=worker)])

    def depth(self, first: int, blocks: int = 2, worker: WorkerId = A) -> int:
        """Leading blocks that the worker holds of a prompt."""
        return self.index.lookup(prompt(first, blocks)).get(worker, 0)

    async def holds(self, first: int, blocks: int = 2, worker: WorkerId = A) -> None:
        await eventually(lambda: self.depth(first, blocks, worker) == blocks)

    async def lacks(self, first: int, worker: WorkerId = A) -> None:
        await eventually(lambda: self.depth(first, 1, worker) == 0)


def source_of(
    publisher: KvPublisher, *, replay: bool = True, worker: WorkerId = A, rank: int = 0
) -> EventSource:
    return EventSource(
        worker,
        rank,
        f"tcp://127.0.0.1:{publisher.port}",
        replay=f"tcp://127.0.0.1:{publisher.replay_port}" if replay else None,
    )


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    rig.resume()
    yield rig
    await rig.stop()


def free_port() -> int:
    """A port that is free just now, and that nobody is given who asks for any."""
    return free_ports(2)[0]  # the next one is for replays


def dialling(publisher: KvPublisher, port: int, worker: WorkerId) -> EventSource:
    """The source of a worker that connects to our `port`."""
    replay = f"tcp://127.0.0.1:{publisher.replay_port}"
    return EventSource(worker, 0, f"tcp://*:{port}", True, replay, publisher.topic)


def limited_context(sockets_left: int) -> sockets.Context:
    """One that has no more sockets than that; a source takes three."""
    context = sockets.new_context()
    context.set(zmq.MAX_SOCKETS, sockets_left)
    return context


async def heard(publisher: KvPublisher) -> None:
    """The publisher is listened to, and no replay is under way any more."""
    await eventually(lambda: publisher.subscribers > 0)
    await asyncio.sleep(0.1)


# -- what workers publish reaches the index ------------------------------------------------------


async def test_stores_and_evictions_reach_the_index(rig: Rig) -> None:
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        publisher.publish(stored(0), stored(8, parent=4, blocks=1))
        await rig.holds(0, 3)
        publisher.publish(removed(8))
        await eventually(lambda: rig.depth(0, 3) == 2)
        counters = rig.feeds.counters()[A]
        assert (counters.resyncs, counters.restarts, rig.feeds.blocks(A, "GPU")) == (0, 0, 2)
        assert A in rig.feeds.counters()


async def test_whoever_comes_late_is_told_of_the_past(rig: Rig) -> None:
    async with KvPublisher() as publisher:
        for first in range(0, 1_000, 100):
            publisher.publish(stored(first))
        rig.follow(publisher)
        for first in range(0, 1_000, 100):
            await rig.holds(first)


async def test_a_simulated_worker_is_understood(rig: Rig) -> None:
    worker = SimulatedWorker.create(WorkerConfig(kv_events_port=free_port(), port=8000))
    async with (
        worker.running(),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=App(worker)), base_url="http://worker"
        ) as client,
    ):
        listing = (await client.get("/kv_event_sources")).content
        sources = sources_in(listing, A, Address("127.0.0.1", 8000, tls=False, prefix=b""))
        assert sources
        rig.feeds.follow(A, sources)
        text = "What an engine announces is what its prompts are made of. " * 3
        body = {"prompt": text, "max_tokens": 1, "cache_salt": "s"}
        await client.post("/v1/completions", json=body)
        tokens = encode(text)
        keys = token_keys(tokens, 16, [["s"]] + [None] * (len(tokens) // 16 - 1))
        await eventually(
            lambda: rig.index.lookup(TokenIdentity.of(keys, len(tokens), 16)).get(A, 0) == len(keys)
        )


# -- gaps ----------------------------------------------------------------------------------------


async def test_a_gap_is_closed_by_a_replay(rig: Rig) -> None:
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        await heard(publisher)
        publisher.muted = True
        publisher.publish(stored(0))
        publisher.muted = False
        publisher.publish(stored(100))
        await rig.holds(0)
        await rig.holds(100)
        assert rig.feeds.counters()[A].gaps == 1
        assert rig.feeds.counters()[A].resyncs == 0


@pytest.mark.parametrize("deaf", [True, False], ids=["no answer", "no replay socket"])
async def test_a_gap_that_cannot_be_closed_starts_over(rig: Rig, deaf: bool) -> None:
    async with KvPublisher(ring=1_000 if deaf else 0) as publisher, KvPublisher() as silent:
        source = source_of(publisher, replay=False)
        if deaf:
            silent._answering.cancel()
            replay = f"tcp://127.0.0.1:{silent.replay_port}"
            source = EventSource(A, 0, source.endpoint, replay=replay)
        rig.feeds.follow(A, [source])
        await heard(publisher)
        publisher.publish(stored(0))
        await rig.holds(0)
        publisher.muted = True
        publisher.publish(removed(4))
        publisher.muted = False
        publisher.publish(stored(100))
        await rig.holds(100)
        await rig.lacks(0)
        assert rig.feeds.counters()[A].resyncs >= 1


async def test_a_flood_that_nobody_reads_is_caught_up_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The publisher drops what the queues do not hold; the replay that follows is too much for them as well."""
    monkeypatch.setattr(sockets, "_HIGH_WATER_MARK", 10)
    rig = Rig()
    async with KvPublisher(high_water_mark=10) as publisher:
        rig.resume()
        rig.follow(publisher)
        await heard(publisher)
        large = bytes(128 * 1024)
        for first in range(0, 40_000, 100):  # in one go: the loop reads nothing meanwhile
            publisher.publish(stored(first, note=large))
        await asyncio.sleep(0.1)
        publisher.publish(stored(50_000))
        await eventually(lambda: rig.depth(50_000) == 2, timeout_s=20)
        assert all(rig.depth(first) == 2 for first in range(0, 40_000, 100))
        counters = rig.feeds.counters()[A]
        assert counters.gaps >= 1
        assert counters.resyncs == 0
        await rig.stop()


# -- restarts ------------------------------------------------------------------------------------


async def test_a_restarted_worker_holds_only_what_it_stored_since(rig: Rig) -> None:
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        publisher.publish(stored(0))
        await rig.holds(0)
        ports = (publisher.port, publisher.replay_port)
    async with KvPublisher(f"tcp://*:{ports[0]}", replay_port=ports[1]) as publisher:
        publisher.publish(stored(100))
        await heard(publisher)
        await rig.holds(100)
        await rig.lacks(0)


async def test_a_worker_that_came_back_is_checked_at_once(rig: Rig) -> None:
    """It was restarted and has said nothing yet; whoever found it up again asks for a check."""
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        publisher.publish(stored(0))
        await rig.holds(0)
        ports = (publisher.port, publisher.replay_port)
    async with KvPublisher(f"tcp://*:{ports[0]}", replay_port=ports[1]) as publisher:
        rig.follow(publisher)
        await rig.lacks(0)


async def test_a_connection_that_broke_for_a_moment_loses_nothing(rig: Rig) -> None:
    port = free_port()
    async with KvPublisher(f"tcp://127.0.0.1:{port}") as publisher:
        rig.feeds.follow(A, [dialling(publisher, port, A)])
        await heard(publisher)
        publisher._pub.disconnect(f"tcp://127.0.0.1:{port}")
        await eventually(lambda: publisher.subscribers == 0)
        publisher.publish(stored(0))
        publisher._pub.connect(f"tcp://127.0.0.1:{port}")
        await heard(publisher)
        await rig.holds(0)
        assert rig.feeds.counters()[A].resyncs == 0


# -- several sources -----------------------------------------------------------------------------


async def test_ranks_are_caches_of_their_own(rig: Rig) -> None:
    async with KvPublisher() as zero, KvPublisher() as one:
        rig.feeds.follow(A, [source_of(zero), source_of(one, rank=1)])
        zero.publish(stored(0))
        one.publish(stored(100))
        await rig.holds(0)
        await rig.holds(100, worker=WorkerId(f"{A}#1"))
        assert rig.depth(100) == 0
        rig.feeds.follow(A, [source_of(zero)])
        await rig.lacks(100, worker=WorkerId(f"{A}#1"))
        assert rig.depth(0) == 2


async def test_workers_that_dial_in_are_told_apart_by_their_topics(rig: Rig) -> None:
    port = free_port()
    dial = f"tcp://127.0.0.1:{port}"
    async with (
        KvPublisher(dial, topic="kv@a") as a,
        KvPublisher(dial, topic="kv@b") as b,
        KvPublisher(dial, topic="kv@stranger") as stranger,
    ):
        for worker, publisher in ((A, a), (B, b)):
            rig.feeds.follow(worker, [dialling(publisher, port, worker)])
        await heard(a)
        await heard(b)
        stranger.publish(stored(200))
        a.publish(stored(0))
        b.publish(stored(100))
        await rig.holds(0)
        await rig.holds(100, worker=B)
        assert rig.depth(0, worker=B) == rig.depth(100) == 0
        rig.feeds.forget(A)
        b.publish(stored(300))
        await rig.holds(300, worker=B)
        assert rig.depth(200) == rig.depth(200, worker=B) == 0


async def test_what_a_worker_that_left_reported_is_taken_back(rig: Rig) -> None:
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        publisher.publish(stored(0))
        await rig.holds(0)
        rig.feeds.forget(A)
        assert rig.feeds.counters() == {}
        await eventually(lambda: not rig.index._holders)
        assert not rig.feeds._leaving
        publisher.publish(stored(100))
        rig.follow(publisher)
        await rig.holds(100)
        await rig.holds(0)


@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_a_worker_may_come_back_while_that_is_under_way(steps: int) -> None:
    rig = Rig()
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        publisher.publish(stored(0), *(stored(first) for first in range(1_000, 3_000, 10)))
        rig.resume()
        await rig.holds(0)
        rig.feeds.forget(A)
        for _ in range(steps):
            rig.feeds._leaving[A, 0].step()
        rig.follow(publisher)
        assert not rig.feeds._leaving
        publisher.publish(removed(0), removed(4), stored(100))
        await rig.holds(100)
        await eventually(lambda: rig.depth(0) == 0)
        await rig.holds(1_000)
        assert len(rig.index._holders) == rig.feeds.blocks(A, "GPU") == 402
    await rig.stop()


async def test_an_end_while_that_is_under_way_is_an_end(rig: Rig) -> None:
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        publisher.publish(stored(0))
        await rig.holds(0)
        rig.feeds.forget(A)
        rig.feeds.close()
        assert not rig.feeds._ingest.slice()


async def test_two_workers_of_one_topic_are_refused(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    endpoint = f"tcp://*:{port}"
    for worker in (A, B):
        rig.feeds.follow(worker, [EventSource(worker, 0, endpoint, True, None, b"kv")])
    assert ((A in rig.feeds.counters()), (B in rig.feeds.counters())) == (True, False)
    assert "give each its own" in caplog.text


async def test_a_port_that_is_taken_costs_only_its_worker(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with KvPublisher() as taken, KvPublisher() as fine:
        rig.feeds.follow(A, [EventSource(A, 0, f"tcp://*:{taken.port}", True, None, b"kv")])
        rig.follow(fine, worker=B)
        fine.publish(stored(0))
        await rig.holds(0, worker=B)
        assert A not in rig.feeds.counters()
        assert [each.levelno for each in caplog.records] == [logging.ERROR]
        port = taken.port
    rig.feeds.follow(A, [EventSource(A, 0, f"tcp://*:{port}", True, None, b"kv")])
    assert A in rig.feeds.counters()


@pytest.mark.parametrize("limit", [3, 4, 5])
async def test_a_source_that_no_socket_is_left_for_is_followed_when_there_is_one(
    rig: Rig, limit: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever of its sockets is the one too many, those before it are given back."""
    context = limited_context(limit)
    monkeypatch.setattr("router.events.feeds.new_context", lambda: context)
    async with KvPublisher() as first, KvPublisher() as second:
        source = source_of(second, replay=False, worker=B)
        assert rig.feeds.follow(A, [source_of(first, replay=False)])
        for _ in range(5):
            assert not rig.feeds.follow(B, [source])
        assert set(rig.feeds.counters()) == {A}
        assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 1
        rig.feeds.forget(A)
        await eventually(lambda: rig.feeds.follow(B, [source]))
        await heard(second)
        second.publish(stored(0))
        await rig.holds(0, worker=B)


async def test_a_replay_that_no_socket_is_left_for_has_expired(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context = limited_context(3)
    monkeypatch.setattr("router.events.feeds.new_context", lambda: context)
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        await heard(publisher)
        rig.feeds.resync(A)
        publisher.publish(stored(0))
        await rig.holds(0)
        assert rig.feeds.counters()[A].replays > 1
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "no past events" in caplog.text


async def test_there_are_sockets_for_thousands_of_sources() -> None:
    context = sockets.new_context()
    assert context.get(zmq.MAX_SOCKETS) > 65_000
    context.destroy()


async def test_what_is_closed_follows_nobody() -> None:
    rig = Rig()
    rig.feeds.close()
    rig.feeds.follow(A, [EventSource(A, 0, f"tcp://*:{free_port()}", True, None, b"kv")])
    assert not rig.feeds.counters()
    assert rig.feeds._context is None


async def test_a_source_that_moved_is_followed_where_it_is(rig: Rig) -> None:
    async with KvPublisher() as old, KvPublisher() as new:
        rig.follow(old)
        old.publish(stored(0))
        await rig.holds(0)
        new.publish(stored(100))
        rig.follow(new)
        await rig.holds(100)
        await rig.lacks(0)


async def test_what_is_closed_can_be_opened_again() -> None:
    source = EventSource(A, 0, f"tcp://*:{free_port()}", True, None, b"kv")
    for _ in range(2):
        rig = Rig()
        rig.resume()
        rig.feeds.follow(A, [source])
        assert A in rig.feeds.counters()
        await asyncio.sleep(0)
        await rig.stop()
        assert A not in rig.feeds.counters()


async def test_messages_of_another_shape_are_passed_over(rig: Rig) -> None:
    async with KvPublisher() as publisher:
        rig.follow(publisher)
        await heard(publisher)
        for frames in ((b"one",), (b"t", b"short", b"p"), (b"t", bytes(8), b"p", b"more")):
            publisher._pub.send_multipart(frames)
        publisher.publish(stored(0))
        await rig.holds(0)


# -- asking the worker ---------------------------------------------------------------------------


async def test_a_worker_is_asked_where_its_events_are() -> None:
    async with FakeWorker() as worker:
        address = Address.parse(worker.url)
        pool = Pool(address, None, connect_s=1.0, idle_s=4.0)

        async def sources(request: Any, wire: Any) -> None:
            await wire.json({"0": {"endpoint": "tcp://*:5601", "replay_endpoint": None}})

        assert await discover(A, pool, api_key="key", timeout_s=5.0) is None
        worker.routes["/kv_event_sources"] = sources
        found = await discover(A, pool, api_key=None, timeout_s=5.0)
        assert found == [EventSource(A, 0, f"tcp://{address.host}:5601")]


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_a_worker_that_will_not_say_is_told_from_one_that_cannot(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert await discovered(status) is None
    assert ("worker_api_key" in caplog.text) is (status in {401, 403})


@pytest.mark.parametrize("status", [204, 302, 400, 429, 500, 503])
async def test_a_worker_that_cannot_say_now_is_to_be_asked_again(status: int) -> None:
    with pytest.raises(RouterError, match=str(status)) as caught:
        await discovered(status)
    assert caught.value.source is Source.UPSTREAM


async def discovered(status: int) -> list[EventSource] | None:
    """What is made of an answer with this status."""
    async with FakeWorker() as worker:

        async def answer(request: Any, wire: Any) -> None:
            await wire.reply(status)

        worker.routes["/kv_event_sources"] = answer
        pool = Pool(Address.parse(worker.url), None, connect_s=1.0, idle_s=4.0)
        return await discover(A, pool, api_key=None, timeout_s=5.0)
