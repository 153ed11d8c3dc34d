"""The store in this process: what is its own. (What every store does: tests/conformance.)"""

import struct

from router.ids import WorkerId
from router.shared.base import Change, Drop, Hold, Replica, Row, Share, rows_of
from router.shared.memory_store import MemoryStore, Shelf

VALID = struct.pack(">HHHH", 0, 0, 0, 0)
A, B = WorkerId("a:8000"), WorkerId("b:8000")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_several_stores_share_one_shelf() -> None:
    shelf = Shelf()
    one, two = MemoryStore(shelf), MemoryStore(shelf)
    await one.write(b"e", [Hold(0, 0, [1, 2])])
    assert (await two.look_up(b"e", [[1, 2, 3]], VALID, rows=False)).runs == [{0: 2}]
    assert await one.enrol([A]) == await two.enrol([A])
    assert MemoryStore().shelf is not MemoryStore().shelf


async def test_epochs_are_all_one() -> None:
    store = MemoryStore()
    await store.write(b"e", [Hold(0, 0, [1])])
    assert (await store.look_up(b"f", [[1]], VALID, rows=False)).runs == [{0: 1}]
    first = await store.publish(Replica("one"), [], epoch=b"e")
    assert (await store.publish(Replica("one"), [], epoch=first.epoch)).epoch == first.epoch


async def test_blocks_that_nobody_holds_take_no_room() -> None:
    shelf = Shelf()
    shelf.write(Hold(0, 0, [1, 2]))
    shelf.write(Hold(1, 0, [1]))
    shelf.write(Drop(0, [1, 2, 3]))
    assert shelf._blocks == {1: {1: 0}}
    shelf.write(Drop(1, [1]))
    assert shelf._blocks == {}


async def test_rows_are_only_told_when_they_are_asked_for() -> None:
    store = MemoryStore()
    await store.publish(Replica("one"), [Change(1, Share(2), sent=5)])
    assert (await store.look_up(b"", [], VALID, rows=False)).rows is None
    rows = (await store.look_up(b"", [], VALID, rows=True)).rows
    assert rows is not None
    assert rows_of(rows) == [Row(), Row(inflight=2, clock=5)]


async def test_silent_routers_are_forgotten_by_its_clock() -> None:
    clock = Clock()
    store = MemoryStore(Shelf(expiry_s=3.0, now=clock))
    one, two = Replica("one"), Replica("two", leads=False)
    await store.publish(one, [Change(0, Share(2, 1, 10, 5, 100), sent=7)])
    clock.now += 2.9
    board = await store.publish(two, [Change(0, Share(1))])
    assert rows_of(board.rows)[0].inflight == 3
    clock.now += 0.2
    board = await store.publish(two, [])
    assert rows_of(board.rows) == [Row(inflight=1, clock=7)]
    assert (board.known, board.leaders, board.followers) == (True, 0, 1)


async def test_clocks_run_over() -> None:
    store, one = MemoryStore(), Replica("one")
    await store.publish(one, [Change(0, Share(), sent=2**32 - 1)])
    board = await store.publish(one, [Change(0, Share(), sent=2**32 - 1)])
    assert rows_of(board.rows)[0].clock == 2**32 - 2


async def test_workers_are_numbered_as_they_come() -> None:
    store = MemoryStore()
    assert await store.enrol([A, B, A]) == [0, 1, 0]
