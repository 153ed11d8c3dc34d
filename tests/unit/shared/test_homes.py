"""Where responses are stored, as other routers tell: in time, or not at all."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest

from router.ids import WorkerId
from router.shared import homes as module
from router.shared.base import Facts, Replica, StoreError
from router.shared.bond import Bond
from router.shared.homes import SharedHomes

A = WorkerId("a:8000")
PATIENCE_S = 30.0


class Book:
    """A `Registry` of responses that can fail with `error`, or wait until it is `open`."""

    def __init__(self) -> None:
        self.known: dict[str, WorkerId] = {}
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0

    async def remember(self, response_id: str, worker: WorkerId) -> None:
        await self._answer()
        self.known[response_id] = worker

    async def find(self, response_id: str) -> WorkerId | None:
        await self._answer()
        return self.known.get(response_id)

    async def lease(
        self, replica: Replica, wanted: Sequence[WorkerId], returned: Sequence[WorkerId]
    ) -> dict[WorkerId, str]:
        raise NotImplementedError

    async def facts(
        self, since: int, news: Mapping[WorkerId, Facts]
    ) -> tuple[int, dict[WorkerId, Facts]]:
        raise NotImplementedError

    async def _answer(self) -> None:
        self.asked += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error


class Bench:
    """Homes over a book, with a bond that is up."""

    def __init__(self, deadline_s: float = PATIENCE_S) -> None:
        self.book = Book()
        self.degraded: Counter[str] = Counter()
        self.bond = Bond(lambda reason: self.degraded.update([reason]))
        self.bond.worked()
        self.homes = SharedHomes(self.book, self.bond, deadline_s=deadline_s)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.001)


async def test_what_was_remembered_is_found(bench: Bench) -> None:
    bench.homes.remember("resp_1", A)
    await bench.homes.close()
    assert await bench.homes.find("resp_1") == A
    assert await bench.homes.find("resp_2") is None
    assert bench.bond.up
    assert not bench.degraded


async def test_an_answer_that_does_not_come_in_time_is_none() -> None:
    bench = Bench(deadline_s=0.01)
    bench.book.open.clear()
    assert await bench.homes.find("resp_1") is None
    assert bench.degraded == {"shared_late": 1}
    assert not bench.bond.up


async def test_a_failure_is_none_and_told_by_its_reason(bench: Bench) -> None:
    bench.book.error = StoreError("failed", "gone")
    assert await bench.homes.find("resp_1") is None
    assert bench.degraded == {"shared_failed": 1}
    assert bench.bond.failures == {"failed": 1}


async def test_a_store_that_is_away_is_not_asked(bench: Bench) -> None:
    bench.bond.failed(StoreError("failed", "gone"))
    assert await bench.homes.find("resp_1") is None
    bench.homes.remember("resp_1", A)
    await bench.homes.close()
    assert bench.book.asked == 0
    assert bench.degraded == {"shared_failed": 1}


async def test_remembering_does_not_wait(bench: Bench) -> None:
    bench.book.open.clear()
    bench.homes.remember("resp_1", A)
    await until(lambda: bench.book.asked == 1)
    assert bench.book.known == {}
    bench.book.open.set()
    await until(lambda: bench.book.known == {"resp_1": A})


async def test_what_cannot_be_remembered_is_a_failure_but_no_requests(bench: Bench) -> None:
    bench.book.error = StoreError("full", "OOM")
    bench.homes.remember("resp_1", A)
    await bench.homes.close()
    assert bench.bond.failures == {"full": 1}
    assert bench.bond.up
    assert not bench.degraded


async def test_remembering_takes_no_longer_than_it_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.01)
    bench.book.open.clear()
    bench.homes.remember("resp_1", A)
    await until(lambda: bench.bond.failures == {"late": 1})


async def test_only_so_many_are_told_at_a_time(bench: Bench) -> None:
    bench.book.open.clear()
    for number in range(300):
        bench.homes.remember(f"resp_{number}", A)
    bench.book.open.set()
    await bench.homes.close()
    assert len(bench.book.known) == 256
    await until(lambda: not bench.homes._tasks)
    bench.homes.remember("resp_299", A)
    await bench.homes.close()
    assert "resp_299" in bench.book.known


async def test_closing_waits_for_what_is_being_told(bench: Bench) -> None:
    bench.book.open.clear()
    bench.homes.remember("resp_1", A)
    closing = asyncio.create_task(bench.homes.close())
    await until(lambda: bench.book.asked == 1)
    assert not closing.done()
    bench.book.open.set()
    await closing
    assert bench.book.known == {"resp_1": A}


async def test_but_not_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.book.open.clear()
    bench.homes.remember("resp_1", A)
    await until(lambda: bench.book.asked == 1)
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.01)
    await bench.homes.close()
    assert bench.book.known == {}
    bench.book.open.set()
    monkeypatch.undo()
    await bench.homes.close()


async def test_closing_without_work_is_nothing(bench: Bench) -> None:
    await bench.homes.close()
    assert bench.book.asked == 0


async def test_no_mishap_of_the_registry_reaches_the_request(bench: Bench) -> None:
    bench.book.error = RuntimeError("a mishap")
    assert await bench.homes.find("resp_1") is None


async def test_one_that_is_being_told_is_found() -> None:
    """Its client may ask another router before the store has heard of it."""
    bench = Bench()
    book = bench.book
    first = book.find

    async def find(response_id: str) -> WorkerId | None:
        found = await first(response_id)
        book.known[response_id] = A
        return found

    book.find = find  # type: ignore[method-assign]
    assert await bench.homes.find("r") == A
    assert book.asked == 2
