"""When workers are asked where their events are, and what is made of the answer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from router.errors import connect_failed
from router.events.finder import SourceFinder
from router.events.sources import ConfiguredSources, EventSource
from router.fleet.target import EventPorts, Target
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.upstream.pool import Pool
from tests.unit.support import fleet_of


class Scene:
    """A fleet of `a` and `b`, both up; answers by worker."""

    def __init__(self, configured: ConfiguredSources | None = None) -> None:
        self.fleet = fleet_of("a", "b")
        self.a, self.b = self.fleet
        self.answers: dict[WorkerId, list[EventSource] | Exception | None] = {}
        self.asked: list[WorkerId] = []
        self.followed: list[tuple[WorkerId, list[EventSource], float | None]] = []
        self.during: Callable[[], None] = lambda: None
        self.trouble: Exception | None = None
        self.forgotten: list[WorkerId] = []
        self.complete = True
        self.now = 0.0
        self.finder = SourceFinder(
            self.fleet,
            self,
            self._ask,
            configured=configured,
            interval_s=0.001,
            now=lambda: self.now,
        )
        for worker in self.fleet:
            self.fleet.mark_up(worker)
            self.answers[worker.id] = [source_of(worker)]

    def follow(
        self, worker: WorkerId, sources: Sequence[EventSource], started_at: float | None
    ) -> bool:
        self.followed.append((worker, list(sources), started_at))
        if self.trouble is not None:
            raise self.trouble
        return self.complete

    def forget(self, worker: WorkerId) -> None:
        self.forgotten.append(worker)

    async def look_later(self, seconds: float) -> int:
        """Look once more after so long; returns how many workers were asked."""
        self.now += seconds
        before = len(self.asked)
        await self.finder.look()
        return len(self.asked) - before

    async def _ask(self, worker: WorkerId, pool: Pool) -> list[EventSource] | None:
        assert pool.name in worker
        self.asked.append(worker)
        self.during()
        answer = self.answers[worker]
        if isinstance(answer, Exception):
            raise answer
        return answer


def source_of(worker: Worker) -> EventSource:
    return EventSource(worker.id, 0, f"tcp://{worker.pool.address.host}:5557")


async def test_a_worker_that_is_up_is_asked_once() -> None:
    scene = Scene()
    await scene.finder.look()
    assert sorted(scene.asked) == [scene.a.id, scene.b.id]
    assert (scene.a.id, [source_of(scene.a)], None) in scene.followed


async def test_a_worker_that_is_down_is_not_asked_until_it_comes_up() -> None:
    scene = Scene()
    scene.fleet.mark_down(scene.b, "no answer")
    await scene.finder.look()
    assert scene.asked == [scene.a.id]
    scene.fleet.mark_up(scene.b)
    await scene.finder.look()
    assert scene.asked == [scene.a.id, scene.b.id]
    scene.fleet.mark_down(scene.b, "again")
    await scene.finder.look()
    scene.fleet.mark_up(scene.b)
    await scene.finder.look()
    assert scene.asked == [scene.a.id, scene.b.id, scene.b.id]


async def test_a_server_is_asked_once_for_all_its_ranks() -> None:
    scene = Scene()
    scene.fleet.set_report(scene.a, replace(scene.a.report, ranks=3))
    scene.answers[scene.a.id] = ranks = [replace(source_of(scene.a), rank=n) for n in range(3)]
    await scene.finder.look()
    assert scene.asked.count(scene.a.id) == 1
    assert len(scene.asked) == 2
    assert (scene.a.id, ranks, None) in scene.followed
    followed = [source.holder for source in ranks]
    assert followed == [worker.id for worker in scene.fleet.ranks(scene.a)]


async def test_a_worker_that_was_started_anew_is_asked_anew() -> None:
    scene = Scene()
    await scene.finder.look()
    scene.fleet.set_report(scene.a, replace(scene.a.report, started_at=9.0))
    await scene.finder.look()
    assert scene.asked.count(scene.a.id) == 2
    assert scene.followed[-1] == (scene.a.id, [source_of(scene.a)], 9.0)


@pytest.mark.parametrize("trouble", [TimeoutError(), connect_failed("a", "refused")], ids=repr)
async def test_a_worker_that_fails_to_answer_is_asked_again(trouble: Exception) -> None:
    scene = Scene()
    scene.answers[scene.a.id] = trouble
    await scene.finder.look()
    await scene.finder.look()
    assert scene.asked.count(scene.a.id) == 2
    assert [worker for worker, _, _ in scene.followed] == [scene.b.id]
    scene.answers[scene.a.id] = []
    await scene.finder.look()
    assert (scene.a.id, [], None) in scene.followed


async def test_a_worker_with_an_odd_answer_is_asked_again_after_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.answers[scene.a.id] = RuntimeError("odd")
    await scene.finder.look()
    assert scene.finder.asked() == {scene.b.id}
    assert scene.a.id in caplog.text
    assert [await scene.look_later(seconds) for seconds in (1, 28, 1, 1)] == [0, 0, 1, 0]


async def test_a_worker_that_cannot_be_followed_ends_nothing_and_is_tried_again() -> None:
    scene = Scene()
    scene.trouble = OSError(24, "Too many open files")
    await scene.finder.look()
    assert scene.finder.asked() == set()
    assert [await scene.look_later(seconds) for seconds in (1, 28, 1)] == [0, 0, 2]
    scene.trouble = None
    assert [await scene.look_later(seconds) for seconds in (1, 29, 30)] == [0, 2, 0]
    assert scene.finder.asked() == {scene.a.id, scene.b.id}


async def test_a_worker_that_is_not_wholly_listened_to_is_tried_again() -> None:
    scene = Scene()
    scene.complete = False
    await scene.finder.look()
    assert scene.finder.asked() == {scene.a.id, scene.b.id}
    assert [await scene.look_later(seconds) for seconds in (1, 28, 1)] == [0, 0, 2]
    scene.complete = True
    assert [await scene.look_later(30) for _ in range(2)] == [2, 0]


async def test_a_new_life_does_not_wait_for_that() -> None:
    scene = Scene()
    scene.trouble = OSError("none left")
    await scene.finder.look()
    scene.fleet.set_report(scene.a, replace(scene.a.report, started_at=9.0))
    assert await scene.look_later(1) == 1


async def test_a_worker_that_does_not_know_the_question_has_what_is_configured() -> None:
    configured = ConfiguredSources("tcp://*:5557")
    scene = Scene(configured)
    scene.answers[scene.a.id] = None
    scene.answers[scene.b.id] = []  # it knows, and publishes nothing
    await scene.finder.look()
    expected = configured.of(scene.a.id, scene.a.pool.address)
    assert sorted(scene.followed) == [(scene.a.id, expected, None), (scene.b.id, [], None)]


async def test_without_configuration_such_a_worker_has_none() -> None:
    scene = Scene()
    scene.answers[scene.a.id] = None
    await scene.finder.look()
    assert (scene.a.id, [], None) in scene.followed


async def test_a_worker_that_leaves_meanwhile_is_not_followed() -> None:
    scene = Scene()
    scene.during = lambda: scene.fleet.set_workers(["http://b:8000"])
    await scene.finder.look()
    assert sorted(scene.asked) == [scene.a.id, scene.b.id]
    assert [worker for worker, _, _ in scene.followed] == [scene.b.id]


async def test_it_looks_again_and_again() -> None:
    scene = Scene()
    scene.answers[scene.a.id] = TimeoutError()
    enough = asyncio.Event()
    scene.during = lambda: enough.set() if len(scene.asked) > 4 else None
    running = asyncio.ensure_future(scene.finder.run())
    async with asyncio.timeout(10):
        await enough.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert scene.asked.count(scene.b.id) == 1


async def test_workers_that_others_follow_are_not_asked() -> None:
    scene = Scene()
    scene.finder.follows = lambda worker: worker is scene.a
    await scene.finder.look()
    assert scene.asked == [scene.a.id]
    assert scene.finder.asked() == {scene.a.id}
    assert scene.forgotten == []


async def test_one_that_becomes_this_routers_is_asked() -> None:
    scene, mine = Scene(), set[Worker]()
    scene.finder.follows = lambda worker: worker in mine
    await scene.finder.look()
    assert scene.asked == []
    mine.add(scene.b)
    await scene.finder.look()
    assert scene.followed == [(scene.b.id, [source_of(scene.b)], None)]


async def test_one_that_becomes_anothers_is_not_followed_any_more() -> None:
    scene = Scene()
    mine = {scene.a, scene.b}
    scene.finder.follows = lambda worker: worker in mine
    await scene.finder.look()
    mine.remove(scene.a)
    await scene.finder.look()
    assert scene.forgotten == [scene.a.id]
    assert scene.finder.asked() == {scene.b.id}
    await scene.finder.look()
    assert scene.forgotten == [scene.a.id], "once"
    mine.add(scene.a)
    await scene.finder.look()
    assert scene.asked.count(scene.a.id) == 2, "and asked anew when it is back"
    assert scene.finder.asked() == {scene.a.id, scene.b.id}


async def test_one_that_is_down_is_still_followed() -> None:
    scene = Scene()
    scene.finder.follows = lambda _: True
    await scene.finder.look()
    scene.fleet.mark_down(scene.a, "away")
    await scene.finder.look()
    assert scene.forgotten == []


async def test_one_that_was_lost_while_it_was_down_is_not_followed_any_more() -> None:
    scene = Scene()
    mine = {scene.a, scene.b}
    scene.finder.follows = lambda worker: worker in mine
    await scene.finder.look()
    scene.fleet.mark_down(scene.a, "away")
    mine.remove(scene.a)
    await scene.finder.look()
    assert scene.forgotten == [scene.a.id]


async def test_nor_is_one_that_was_lost_some_time_after_it_went_down() -> None:
    scene = Scene()
    mine = {scene.a, scene.b}
    scene.finder.follows = lambda worker: worker in mine
    await scene.finder.look()
    scene.fleet.mark_down(scene.a, "away")
    await scene.finder.look()
    mine.remove(scene.a)
    for _ in range(5):
        await scene.finder.look()
    assert scene.forgotten == [scene.a.id]


async def test_what_who_described_the_worker_says_is_not_asked_for() -> None:
    scene = Scene()
    fleet = scene.fleet
    ports = EventPorts(5600, 5700)
    fleet.set_targets([Target(url="http://a:8000", events=ports), Target(url="http://b:8000")])
    fleet.set_report(scene.a, replace(scene.a.report, ranks=2))
    await scene.finder.look()
    assert scene.asked == [scene.b.id]
    (_, sources, _), *_ = [told for told in scene.followed if told[0] == scene.a.id]
    assert sources == [
        EventSource(scene.a.id, rank, f"tcp://a:{5600 + rank}", replay=f"tcp://a:{5700 + rank}")
        for rank in range(2)
    ]


async def test_ports_that_are_said_anew_are_followed_at_once() -> None:
    """Corrected in a file or an annotation while the worker runs."""
    scene = Scene()
    for ports in (EventPorts(5600), EventPorts(5601), EventPorts(5601, 5701), None):
        scene.fleet.set_targets([replace(scene.a.target, events=ports), scene.b.target])
        before = len(scene.followed)
        await scene.finder.look()
        await scene.finder.look()
        assert [worker for worker, *_ in scene.followed[before:]].count(scene.a.id) == 1
        (source,) = next(
            sources for worker, sources, _ in reversed(scene.followed) if worker == scene.a.id
        )
        assert source.endpoint.endswith(f":{ports.events if ports else 5557}")
