"""All sources in time, or without them: nothing of it fails a request."""

import asyncio
import logging
from typing import Any

import pytest

from router.ids import Tier
from router.prompt.stored import Stored
from router.tiers.base import TierError
from router.tiers.chunks import Chunker, Chunks
from router.tiers.service import TierService

SIZE = 4
PROMPT = list(range(10))
CPU = Stored(Tier.CPU, 4, frozenset({"a"}))
REMOTE = Stored(Tier.REMOTE, 8)


class Scripted:
    """A source that answers, raises or never answers."""

    name = "scripted"

    def __init__(self, *answer: Stored) -> None:
        self.answer: Any = list(answer)
        self.asked: list[Chunks] = []
        self.cancelled = 0
        self.closed = False

    async def stored(self, chunks: Chunks) -> list[Stored]:
        self.asked.append(chunks)
        if self.answer is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed = True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def service(clock: Clock, *sources: Scripted) -> TierService:
    return TierService(sources, Chunker(SIZE), deadline_s=0.02, pause_s=5.0, clock=clock)


async def test_all_sources_are_asked_about_the_prompts_chunks(clock: Clock) -> None:
    one, other = Scripted(CPU), Scripted(REMOTE)
    tiers = service(clock, one, other)
    assert await tiers.stored(PROMPT, "/m", "salt") == [CPU, REMOTE]
    assert one.asked == other.asked == [Chunker(SIZE).chunks(PROMPT, "/m", "salt")]
    assert (tiers.asked, tiers.late, tiers.failed) == (1, 0, 0)
    assert tiers.found == {Tier.CPU: 1, Tier.REMOTE: 1}


async def test_the_longest_of_a_tier_and_its_reach_counts(clock: Clock) -> None:
    longer, elsewhere = Stored(Tier.CPU, 8, frozenset({"a"})), Stored(Tier.CPU, 4, frozenset({"b"}))
    tiers = service(clock, Scripted(longer), Scripted(CPU, elsewhere))
    assert await tiers.stored(PROMPT, "/m") == [longer, elsewhere]
    assert tiers.found == {Tier.CPU: 1}


@pytest.mark.parametrize(
    ("ids", "model", "salt"), [(PROMPT[:3], "/m", None), (PROMPT, "a@b", None), (PROMPT, "/m", "@")]
)
async def test_nobody_is_asked_about_what_cannot_be_stored(
    clock: Clock, ids: list[int], model: str, salt: str | None
) -> None:
    source = Scripted(CPU)
    tiers = service(clock, source)
    assert await tiers.stored(ids, model, salt) == []
    assert (tiers.asked, source.asked) == (0, [])


async def test_a_late_source_is_let_go_and_the_others_count(clock: Clock) -> None:
    slow = Scripted()
    slow.answer = None
    tiers = service(clock, slow, Scripted(REMOTE))
    assert await tiers.stored(PROMPT, "/m") == [REMOTE]
    assert (tiers.late, tiers.failed, slow.cancelled) == (1, 0, 1)


async def ask(tiers: TierService, times: int) -> None:
    for _ in range(times):
        await tiers.stored(PROMPT, "/m")


async def test_a_source_that_stays_late_is_left_alone_for_a_while(clock: Clock) -> None:
    slow = Scripted()
    slow.answer = None
    tiers = service(clock, slow)
    await ask(tiers, 6)
    assert len(slow.asked) == tiers.late == tiers.asked == 3
    clock.now += 5
    await ask(tiers, 2)
    assert len(slow.asked) == 4, "one more late answer and it is left alone again"
    clock.now += 5
    slow.answer = [CPU]
    assert await tiers.stored(PROMPT, "/m") == [CPU]
    slow.answer = None
    await ask(tiers, 2)
    assert len(slow.asked) == 7, "it was forgiven"


async def test_a_source_in_time_is_forgiven(clock: Clock) -> None:
    source = Scripted()
    tiers = service(clock, source)
    for _ in range(4):
        source.answer = None
        await ask(tiers, 2)
        source.answer = [CPU]
        await ask(tiers, 1)
    assert len(source.asked) == 12


@pytest.mark.parametrize(
    "error", [TierError("away"), ValueError(), ExceptionGroup("g", [OSError()])]
)
async def test_a_source_that_fails_is_left_alone_for_a_while(
    clock: Clock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Scripted()
    broken.answer = error
    tiers = service(clock, broken, Scripted(REMOTE))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await tiers.stored(PROMPT, "/m") == [REMOTE]
    assert (tiers.failed, len(broken.asked), tiers.asked) == (1, 1, 3)
    assert len(caplog.records) == 1
    assert "scripted: " in caplog.text
    clock.now += 5
    broken.answer = [CPU]
    assert await tiers.stored(PROMPT, "/m") == [CPU, REMOTE]


async def test_many_that_fail_at_once_are_one_line_in_the_log(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Scripted()
    broken.answer = TierError("away")
    tiers = service(clock, broken)
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(*(tiers.stored(PROMPT, "/m") for _ in range(5)))
    assert tiers.failed == 5
    assert len(caplog.records) == 1


async def test_a_request_that_is_given_up_is_not_held_against_a_source(clock: Clock) -> None:
    slow = Scripted()
    slow.answer = None
    tiers = TierService([slow], Chunker(SIZE), deadline_s=60, clock=clock)
    asking = asyncio.ensure_future(tiers.stored(PROMPT, "/m"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert slow.asked
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (slow.cancelled, tiers.late, tiers.failed) == (1, 0, 0)


async def test_closing_closes_all_sources(clock: Clock) -> None:
    sources = Scripted(), Scripted()
    await service(clock, *sources).close()
    assert [each.closed for each in sources] == [True, True]
