"""What every source of workers must do, wherever it looks.

A test class inherits `SourceSuite`, or `ChangingSourceSuite` where what is there may change and break, and makes a `Scene`
in the fixture `scene`: a source that looks again within milliseconds, and the world it looks at.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import pytest

from router.discovery.base import Source
from router.fleet.target import Target

WAIT_S = 30.0
"""More than anything takes."""

STEPS = (*range(24), 30, 40, 60, 100)
"""After so many turns of the loop a source is cancelled."""


class Scene(Protocol):
    """A world with workers called by numbers, at first 1 and 2."""

    source: Source

    def target(self, number: int) -> Target:
        """What the source is to tell of the worker."""

    async def change(self, numbers: Sequence[int]) -> None:
        """From now on these are there; the order is the world's business."""

    async def break_(self) -> None:
        """From now on nobody can say which there are."""

    async def mend(self) -> None:
        """That is over."""

    async def looked(self) -> None:
        """Return when the source has surely looked again, twice or more, whatever it found."""


class Ear:
    """Hears what a source tells."""

    def __init__(self) -> None:
        self.told: list[frozenset[Target]] = []
        self._loop = asyncio.get_running_loop()

    def __call__(self, targets: Sequence[Target]) -> None:
        assert asyncio.get_running_loop() is self._loop, "told from a thread"
        assert len(set(targets)) == len(targets), "a worker told twice"
        self.told.append(frozenset(targets))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(source: Source) -> AsyncIterator[Ear]:
    """A source at work."""
    ear = Ear()
    task = asyncio.get_running_loop().create_task(source.run(ear))
    try:
        yield ear
        assert not task.done(), "it ended"
    finally:
        await end(task)


async def end(task: "asyncio.Task[None]") -> None:
    """Cancel it, which must be all that it takes."""
    task.cancel()
    await asyncio.wait({task}, timeout=WAIT_S)
    assert task.cancelled()


def left_open() -> tuple[int, int, set[threading.Thread]]:
    """Tasks, files, and threads but for the executor's."""
    threads = {each for each in threading.enumerate() if not each.name.startswith("asyncio_")}
    return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), threads


async def ends_wherever_it_is(source: Source) -> None:
    """Cancel it in every turn of the loop; no task, file or thread of it may be left."""
    async with running(source):  # executors keep threads
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    before = left_open()
    for steps in STEPS:
        task = asyncio.get_running_loop().create_task(source.run(Ear()))
        for _ in range(steps):
            await asyncio.sleep(0)
        await end(task)
        await until(lambda: left_open() == before)


class SourceSuite:
    """Behaviour of a source, by examples."""

    def _all(self, scene: Scene, numbers: Iterable[int]) -> frozenset[Target]:
        return frozenset(scene.target(number) for number in numbers)

    async def test_it_has_a_name_and_no_problem(self, scene: Scene) -> None:
        name = scene.source.name
        assert name
        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
            assert scene.source.problem is None
            assert scene.source.name == name

    async def test_it_tells_the_complete_set_once(self, scene: Scene) -> None:
        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
            await scene.looked()
        assert ear.told == [self._all(scene, (1, 2))]

    async def test_it_tells_all_again_when_it_is_run_again(self, scene: Scene) -> None:
        for _ in range(3):
            async with running(scene.source) as ear:
                await until(lambda: len(ear.told) == 1)
            assert ear.told == [self._all(scene, (1, 2))]

    async def test_it_ends_at_once_and_leaves_nothing(self, scene: Scene) -> None:
        await ends_wherever_it_is(scene.source)


class ChangingSourceSuite(SourceSuite):
    """And where what is there changes, and cannot be found out at times."""

    async def test_it_tells_the_complete_set_when_it_changes(self, scene: Scene) -> None:
        sets = [(1, 2, 3), (3,), (1, 4, 5), (2, 6), (), (1,), (1, 2)]
        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
            for count, numbers in enumerate(sets, 2):
                await scene.change(numbers)
                await until(lambda: len(ear.told) == count)  # noqa: B023 - waited for here
        assert ear.told == [self._all(scene, numbers) for numbers in [(1, 2), *sets]]

    async def test_another_order_is_no_news(self, scene: Scene) -> None:
        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
            for numbers in ((2, 1), (1, 2), (2, 1)):
                await scene.change(numbers)
                await scene.looked()
            await scene.change([3])
            await until(lambda: len(ear.told) > 1)
        assert ear.told == [self._all(scene, (1, 2)), self._all(scene, (3,))]

    async def test_many(self, scene: Scene) -> None:
        numbers = range(1, 301)
        await scene.change(numbers)
        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
        assert ear.told == [self._all(scene, numbers)]

    async def test_a_failure_takes_none_away(self, scene: Scene) -> None:
        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
            for _ in range(2):
                await scene.break_()
                await until(lambda: scene.source.problem is not None)
                await scene.looked()
                assert scene.source.problem
                await scene.mend()
                await until(lambda: scene.source.problem is None)
                await scene.looked()
        assert ear.told == [self._all(scene, (1, 2))]

    async def test_what_changed_meanwhile_is_told_after_it(self, scene: Scene) -> None:
        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
            await scene.break_()
            await until(lambda: scene.source.problem is not None)
            await scene.change([2, 3])
            await scene.mend()
            await until(lambda: len(ear.told) == 2)
            assert scene.source.problem is None
        assert ear.told[1] == self._all(scene, (2, 3))

    async def test_nothing_is_told_before_it_knows(self, scene: Scene) -> None:
        await scene.break_()
        async with running(scene.source) as ear:
            await until(lambda: scene.source.problem is not None)
            await scene.looked()
            assert ear.told == []
            await scene.mend()
            await until(lambda: len(ear.told) == 1)
            assert scene.source.problem is None
        assert ear.told == [self._all(scene, (1, 2))]

    async def test_a_failure_is_logged_once(
        self, scene: Scene, caplog: pytest.LogCaptureFixture
    ) -> None:
        def warnings() -> list[str]:
            found = [each for each in caplog.records if each.name.startswith("router.")]
            return [each.getMessage() for each in found if each.levelno >= logging.WARNING]

        async with running(scene.source) as ear:
            await until(lambda: len(ear.told) == 1)
            assert warnings() == []
            await scene.break_()
            await until(lambda: scene.source.problem is not None)
            await scene.looked()
            await scene.looked()
            said = warnings()
            assert said
            assert len(set(said)) == len(said)
            await scene.mend()
            await until(lambda: scene.source.problem is None)
            await scene.looked()
        assert warnings() == said

    async def test_it_ends_at_once_in_a_failure(self, scene: Scene) -> None:
        await scene.break_()
        await ends_wherever_it_is(scene.source)
