"""Slices of the loop: who works, for how long, and who else gets a turn."""

import asyncio
from collections.abc import Callable

import pytest

from router.events.ingest import Ingest


class Work:
    """A job of so many steps."""

    def __init__(self, steps: int, each: Callable[[], None] = lambda: None) -> None:
        self.left = steps
        self._each = each

    def step(self) -> bool:
        self._each()
        self.left -= 1
        return self.left > 0


class Broken:
    def step(self) -> bool:
        raise RuntimeError("odd")


def test_a_slice_ends_when_all_is_done() -> None:
    ingest, jobs = Ingest(slice_s=60), [Work(3), Work(5)]
    for job in jobs:
        ingest.wake(job)
    assert not ingest.slice()
    assert [job.left for job in jobs] == [0, 0]
    assert 0 < ingest.longest_s < 60


def test_a_slice_is_one_step_at_least_and_turns_go_round() -> None:
    ingest, jobs = Ingest(slice_s=1e-9), [Work(3), Work(3)]
    for job in jobs:
        ingest.wake(job)
    seen = []
    while ingest.slice():
        seen.append([job.left for job in jobs])
    assert seen == [[2, 3], [2, 2], [1, 2], [1, 1], [0, 1]]


def test_a_job_is_woken_once_however_often_it_is_told() -> None:
    ingest, job = Ingest(slice_s=60), Work(1)
    ingest.wake(job)
    ingest.wake(job)
    assert not ingest.slice()
    assert job.left == 0


def test_a_job_may_be_woken_by_its_own_step() -> None:
    ingest = Ingest(slice_s=60)
    job = Work(1, lambda: ingest.wake(job) if job.left > -2 else None)
    ingest.wake(job)
    ingest.slice()
    assert job.left == -3


def test_a_dropped_job_is_left_alone() -> None:
    ingest, job = Ingest(), Work(1)
    ingest.wake(job)
    ingest.drop(job)
    ingest.drop(job)
    assert not ingest.slice()
    assert job.left == 1


def test_a_broken_job_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    ingest, job = Ingest(slice_s=60), Work(2)
    for each in (Broken(), job):
        ingest.wake(each)
    assert not ingest.slice()
    assert job.left == 0
    assert "failed" in caplog.text


async def test_others_have_the_loop_between_slices() -> None:
    ingest, turns = Ingest(slice_s=1e-9), []
    job = Work(5, lambda: turns.append("events"))

    async def other() -> None:
        while job.left:
            turns.append("other")
            await asyncio.sleep(0)

    running = asyncio.ensure_future(ingest.run())
    ingest.wake(job)
    await other()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert turns.count("events") == 5
    assert all("other" in turns[turns.index("events") :][at : at + 2] for at in range(4))


async def test_it_sleeps_until_there_is_work_again() -> None:
    ingest = Ingest()
    running = asyncio.ensure_future(ingest.run())
    for _ in range(2):
        done = asyncio.Event()
        ingest.wake(Work(1, done.set))
        async with asyncio.timeout(10):
            await done.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
