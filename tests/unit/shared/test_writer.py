"""Writes to the store: in their order, a batch at a time, until they have arrived."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from router.shared import writer as module
from router.shared.base import Drop, Hold, StoreError, Write
from router.shared.bond import Bond
from router.shared.memory_store import MemoryStore
from router.shared.writer import Writer

PATIENCE_S = 30.0


class Taking(MemoryStore):
    """Notes what arrives; fails with `errors` first, and waits while it is not `open`."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[bytes, list[Write]]] = []
        self.errors: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0

    async def write(self, epoch: bytes, writes: Sequence[Write]) -> None:
        self.asked += 1
        batch = list(writes)
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append((epoch, batch))

    @property
    def taken(self) -> list[Write]:
        return [write for _, batch in self.batches for write in batch]


class Bench:
    """A writer to a store whose epoch the test says."""

    def __init__(self, *, limit_blocks: int = 500_000) -> None:
        self.store = Taking()
        self.bond = Bond()
        self.bond.worked()
        self.epoch = b"one"
        self.losses = 0
        self.writer = Writer(self.store, self.bond, lambda: self.epoch, limit_blocks=limit_blocks)
        self.writer.on_lost = self._lost

    def _lost(self) -> None:
        self.losses += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.writer.run())
        try:
            yield
            assert not task.done(), "it runs for ever"
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def written(self) -> None:
        """Until nothing waits."""
        await until(lambda: len(self.writer) == 0)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", (0.001, 0.004))


@pytest.fixture
async def bench() -> Bench:
    return Bench()


class TestOrder:
    async def test_what_is_given_arrives_in_its_order(self, bench: Bench) -> None:
        async with bench.running():
            bench.writer.hold(4, 7, [1, 2])
            bench.writer.drop(4, [2])
            bench.writer.hold(5, 0, [1])
            await bench.written()
        assert bench.store.taken == [Hold(4, 7, [1, 2]), Drop(4, [2]), Hold(5, 0, [1])]
        assert bench.writer.written == 4
        assert {epoch for epoch, _ in bench.store.batches} == {b"one"}

    async def test_nothing_is_not_written(self, bench: Bench) -> None:
        bench.writer.hold(4, 7, [])
        bench.writer.drop(4, [])
        bench.writer.hold(4, 7, [1])
        async with bench.running():
            await bench.written()
        assert bench.store.taken == [Hold(4, 7, [1])]

    async def test_blocks_that_wait_are_counted(self, bench: Bench) -> None:
        bench.writer.hold(4, 7, [1, 2, 3])
        bench.writer.drop(4, [1])
        assert len(bench.writer) == 4
        assert bench.writer.written == 0

    async def test_what_comes_while_one_writes_follows(self, bench: Bench) -> None:
        bench.store.open.clear()
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await until(lambda: bench.store.asked == 1)
            bench.writer.hold(4, 0, [2])
            bench.store.open.set()
            await bench.written()
        assert [batch for _, batch in bench.store.batches] == [
            [Hold(4, 0, [1])],
            [Hold(4, 0, [2])],
        ]


class TestBatches:
    async def test_many_small_ones_go_together(self, bench: Bench) -> None:
        for number in range(5000):
            bench.writer.hold(4, 0, [number])
        async with bench.running():
            await bench.written()
        assert [len(batch) for _, batch in bench.store.batches] == [2048, 2048, 904]
        assert [write.keys[0] for write in bench.store.taken] == list(range(5000))

    async def test_a_big_one_is_not_divided(self, bench: Bench) -> None:
        bench.writer.hold(4, 0, [0])
        bench.writer.hold(4, 0, range(9000))
        bench.writer.hold(4, 0, [1])
        async with bench.running():
            await bench.written()
        assert [len(batch) for _, batch in bench.store.batches] == [2, 1]
        assert bench.writer.written == 9002


class TestFailures:
    async def test_what_failed_is_tried_again_before_anything_else(self, bench: Bench) -> None:
        bench.store.errors = [
            StoreError("failed", "gone"),
            StoreError("full", "OOM"),
            TimeoutError(),
        ]
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await until(lambda: bench.store.asked > 0)
            bench.writer.drop(4, [1])
            await bench.written()
        assert bench.store.taken == [Hold(4, 0, [1]), Drop(4, [1])]
        assert bench.bond.failures == {"failed": 1, "full": 1, "late": 1}
        assert bench.writer.written == 2
        assert bench.losses == 0

    async def test_a_mishap_is_not_tried_again(self, bench: Bench) -> None:
        bench.store.errors = [RuntimeError("a mishap")]
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await until(lambda: bench.store.asked > 0)
            bench.writer.drop(4, [2])
            await bench.written()
        assert bench.store.taken == [Drop(4, [2])]
        assert bench.writer.lost == 1
        await until(lambda: bench.losses == 1)

    async def test_one_that_hangs_is_late_and_tried_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_TIMEOUT_S", 0.01)
        bench.store.open.clear()
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await until(lambda: bench.bond.failures["late"] >= 2)
            monkeypatch.setattr(module, "_TIMEOUT_S", PATIENCE_S)
            bench.store.open.set()
            await bench.written()
        assert bench.store.taken == [Hold(4, 0, [1])]

    async def test_pauses_grow_and_are_short_again(self, bench: Bench) -> None:
        bench.store.errors = [StoreError("failed", "gone")] * 5
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await until(lambda: not bench.store.errors)
            assert bench.writer._pause_s > 0.001
            await bench.written()
            assert bench.writer._pause_s == 0.001

    async def test_who_is_stopped_while_one_hangs_keeps_what_waits(self, bench: Bench) -> None:
        bench.store.open.clear()
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            bench.writer.drop(4, [1])
            await until(lambda: bench.store.asked == 1)
        assert bench.store.taken == []
        assert len(bench.writer) == 2
        bench.store.open.set()
        async with bench.running():
            await bench.written()
        assert bench.store.taken == [Hold(4, 0, [1]), Drop(4, [1])]


class TestLimit:
    async def test_beyond_it_the_oldest_are_lost_down_to_half(self) -> None:
        bench = Bench(limit_blocks=100)
        for number in range(100):
            bench.writer.hold(4, 0, [number])
        assert bench.writer.lost == 0
        bench.writer.hold(4, 0, [100])
        assert bench.writer.lost == 51
        assert len(bench.writer) == 50
        async with bench.running():
            await bench.written()
        assert [write.keys for write in bench.store.taken] == [[n] for n in range(51, 101)]

    async def test_one_that_is_too_big_alone_is_lost(self) -> None:
        bench = Bench(limit_blocks=100)
        bench.writer.hold(4, 0, range(101))
        assert (bench.writer.lost, len(bench.writer)) == (101, 0)

    async def test_a_loss_is_told_once_when_the_store_takes_writes_again(self) -> None:
        bench = Bench(limit_blocks=10)
        bench.store.open.clear()
        async with bench.running():
            for number in range(100):
                bench.writer.hold(4, 0, [number])
            await until(lambda: bench.store.asked > 0)
            assert bench.losses == 0
            bench.store.open.set()
            await until(lambda: bench.losses > 0)
            bench.writer.hold(4, 0, [100])
            await bench.written()
            assert bench.losses == 1
            for number in range(20):
                bench.writer.hold(4, 0, [number])
            await until(lambda: bench.losses == 2)

    async def test_what_failed_in_between_does_not_tell_it(self) -> None:
        bench = Bench(limit_blocks=10)
        bench.store.errors = [StoreError("failed", "gone")] * 3
        told_at: list[int] = []
        bench.writer.on_lost = lambda: told_at.append(bench.store.asked)
        for number in range(11):
            bench.writer.hold(4, 0, [number])
        async with bench.running():
            await until(lambda: bool(told_at))
        assert told_at == [4]

    async def test_what_is_told_anew_on_a_loss_is_written(self) -> None:
        bench = Bench(limit_blocks=100)
        bench.writer.on_lost = lambda: bench.writer.hold(4, 1, [7])
        bench.writer.hold(4, 0, range(101))
        bench.writer.hold(4, 0, [1])
        async with bench.running():
            await until(lambda: bench.writer.written == 2)
        assert bench.store.taken == [Hold(4, 0, [1]), Hold(4, 1, [7])]

    async def test_losses_while_one_writes_confuse_nothing(self) -> None:
        bench = Bench(limit_blocks=10)
        bench.store.open.clear()
        async with bench.running():
            for number in range(4):
                bench.writer.hold(4, 0, [number])
            await until(lambda: bench.store.asked == 1)
            for number in range(4, 12):
                bench.writer.hold(4, 0, [number])
            assert bench.writer.lost == 6
            bench.store.open.set()
            await bench.written()
        assert [write.keys[0] for write in bench.store.taken] == [0, 1, 2, 3, *range(6, 12)]
        assert len(bench.writer) == 0


class TestEpochs:
    async def test_without_one_nothing_is_written(self, bench: Bench) -> None:
        bench.epoch = b""
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await asyncio.sleep(0.02)
            assert bench.store.asked == 0
            bench.epoch = b"two"
            await bench.written()
        assert bench.store.batches == [(b"two", [Hold(4, 0, [1])])]

    async def test_what_went_to_a_past_one_is_written_once_more(self, bench: Bench) -> None:
        bench.store.open.clear()
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await until(lambda: bench.store.asked == 1)
            bench.epoch = b"two"
            bench.store.open.set()
            await bench.written()
        assert bench.store.batches == [(b"one", [Hold(4, 0, [1])]), (b"two", [Hold(4, 0, [1])])]
        assert bench.writer.written == 1

    async def test_what_is_forgotten_is_not_written(self, bench: Bench) -> None:
        bench.writer.hold(4, 0, [1])
        bench.writer.forget()
        assert len(bench.writer) == 0
        bench.writer.hold(4, 0, [2])
        async with bench.running():
            await bench.written()
        assert bench.store.taken == [Hold(4, 0, [2])]
        assert bench.losses == bench.writer.lost == 0

    async def test_some_holders_alone_can_be_forgotten(self, bench: Bench) -> None:
        for holder in (4, 5, 6):
            bench.writer.hold(holder, 0, [1, 2])
            bench.writer.drop(holder, [2])
        bench.writer.forget({4, 6, 99})
        assert len(bench.writer) == 3
        async with bench.running():
            await bench.written()
        assert bench.store.taken == [Hold(5, 0, [1, 2]), Drop(5, [2])]
        assert bench.writer.written == 3

    async def test_some_that_are_being_written_too(self, bench: Bench) -> None:
        bench.store.open.clear()
        async with bench.running():
            for holder in (4, 5, 4, 6):
                bench.writer.hold(holder, 0, [holder])
            await until(lambda: bench.store.asked == 1)
            bench.writer.forget({4})
            bench.writer.hold(4, 1, [7])
            bench.store.open.set()
            await bench.written()
        assert bench.store.taken[4:] == [Hold(4, 1, [7])]
        assert len(bench.writer) == 0

    async def test_forgetting_while_one_writes_confuses_nothing(self, bench: Bench) -> None:
        bench.store.open.clear()
        async with bench.running():
            bench.writer.hold(4, 0, [1])
            await until(lambda: bench.store.asked == 1)
            bench.writer.forget()
            bench.writer.hold(4, 0, [2])
            bench.store.open.set()
            await bench.written()
        assert bench.store.taken == [Hold(4, 0, [1]), Hold(4, 0, [2])]
        assert len(bench.writer) == 0
