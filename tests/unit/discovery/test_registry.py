"""The union of all that find workers, and what an operator says over it."""

import asyncio
from collections.abc import Sequence

import pytest

from router.discovery.base import Tell
from router.discovery.registry import CONFIGURED, FORGET_S, OPERATOR, UNWANTED, Discovery
from router.fleet.target import Role, Target
from router.ids import WorkerId


class Told:
    """A source that says what a test has it say."""

    def __init__(self, name: str, *first: str) -> None:
        self.name = name
        self.problem: str | None = None
        self.first = [Target(url=f"http://{each}") for each in first]
        self.tell: Tell | None = None
        self.runs = 0

    async def run(self, tell: Tell) -> None:
        self.runs += 1
        self.tell = tell
        if self.first:
            tell(self.first)
        try:
            await asyncio.Event().wait()
        finally:
            self.runs -= 1

    def say(self, *targets: Target) -> None:
        assert self.tell is not None
        self.tell(targets)


class Rig:
    """A discovery, and the complete sets that it told."""

    def __init__(self) -> None:
        self.sets: list[Sequence[Target]] = []
        self.discovery = Discovery(self.sets.append)

    @property
    def now(self) -> list[str]:
        return [target.url.removeprefix("http://") for target in self.sets[-1]]

    def configure(self, *urls: str, sources: Sequence[Told] = ()) -> None:
        self.discovery.set_sources([Target(url=f"http://{url}") for url in urls], sources)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class TestSources:
    async def test_the_set_is_what_all_say_together(self, rig: Rig) -> None:
        dns, file = Told("dns", "b:1", "c:1"), Told("file", "c:1", "d:1")
        rig.configure("a:1", sources=[dns, file])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        assert rig.now == ["a:1", "b:1", "c:1", "d:1"]
        assert rig.discovery.source_of(WorkerId("c:1")) == "dns"
        assert rig.discovery.source_of(WorkerId("a:1#3")) == CONFIGURED
        dns.say(Target(url="http://b:1"))
        assert rig.now == ["a:1", "b:1", "c:1", "d:1"], "the file has c, too"
        assert rig.discovery.source_of(WorkerId("c:1")) == "file"
        file.say()
        assert rig.now == ["a:1", "b:1"]
        task.cancel()
        await asyncio.wait([task])
        assert (dns.runs, file.runs) == (0, 0)

    async def test_the_first_to_know_a_worker_describes_it_and_any_can_have_it_drained(
        self, rig: Rig
    ) -> None:
        one, two = Told("one"), Told("two")
        rig.configure(sources=[one, two])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        two.say(Target(url="http://a:1", drained=True, name="two"))
        one.say(Target(url="http://a:1", role=Role.DECODE, name="one"))
        assert list(rig.sets[-1]) == [
            Target(url="http://a:1", role=Role.DECODE, name="one", drained=True)
        ]
        task.cancel()

    async def test_new_sources_take_over_and_what_the_old_told_stands_until_they_do(
        self, rig: Rig
    ) -> None:
        old = Told("dns", "a:1")
        gone = Told("file", "z:1")
        rig.configure(sources=[old, gone])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        new = Told("dns")
        rig.configure("c:1", sources=[new])
        assert rig.now == ["c:1", "a:1"], "all have told: the file is not looked at any more"
        await settle()
        assert (old.runs, gone.runs, new.runs) == (0, 0, 1)
        old.say(Target(url="http://old:1"))
        assert rig.now == ["c:1", "a:1"], "nobody listens to it now"
        new.say(Target(url="http://b:1"))
        assert rig.now == ["c:1", "b:1"]
        task.cancel()

    async def test_workers_that_move_to_a_new_source_are_not_lost_meanwhile(self, rig: Rig) -> None:
        rig.configure("a:1", sources=[])
        new = Told("file")
        rig.configure(sources=[new])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        assert rig.now == ["a:1"]
        new.say(Target(url="http://b:1"))
        assert rig.now == ["b:1"]
        task.cancel()

    async def test_a_place_that_cannot_tell_takes_no_worker_of_before_away(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However often the configuration is changed until it can."""
        caplog.set_level("INFO")
        rig.configure("a:1", "b:1")
        task = asyncio.ensure_future(rig.discovery.run())
        for number in range(3):
            typo = Told(f"file {number}")
            rig.configure("b:1", sources=[typo])
            typo.problem = "no such file"
            await settle()
            rig.discovery.keep(1000.0 * number)
            assert sorted(rig.now) == ["a:1", "b:1"]
            stay = f"1 workers of before stay until this has told: file {number}"
            assert stay in caplog.text
        right = Told("right", "c:1")
        rig.configure(sources=[right])
        await settle()
        assert rig.now == ["c:1"]
        task.cancel()

    async def test_it_is_heard_once_all_have_told_or_cannot(self, rig: Rig) -> None:
        one, two = Told("one"), Told("two")
        assert rig.discovery.heard
        rig.configure(sources=[one, two])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        assert not rig.discovery.heard
        one.say()
        two.problem = "no such file"
        assert rig.discovery.heard
        assert [tuple(state) for state in rig.discovery.states()] == [
            ("one", 0, None),
            ("two", 0, "no such file"),
        ]
        task.cancel()


class TestOperators:
    def test_a_worker_is_added_and_removed(self, rig: Rig) -> None:
        rig.configure("a:1")
        assert rig.discovery.add("http://b:1/base/") == "b:1/base"
        assert rig.now == ["a:1", "b:1/base/"]
        assert rig.discovery.source_of(WorkerId("b:1/base")) == OPERATOR
        assert rig.discovery.remove(WorkerId("b:1/base"))
        assert rig.now == ["a:1"]
        assert rig.discovery.orders == {WorkerId("b:1/base"): UNWANTED}
        assert not rig.discovery.remove(WorkerId("b:1/base"))

    def test_what_is_no_url_of_a_worker_changes_nothing(self, rig: Rig) -> None:
        rig.configure("a:1")
        with pytest.raises(ValueError, match="scheme"):
            rig.discovery.add("ftp://b:1")
        assert rig.now == ["a:1"]

    def test_one_that_others_know_stays_removed_until_it_is_added(self, rig: Rig) -> None:
        rig.configure("a:1", "b:1")
        assert rig.discovery.remove(WorkerId("a:1"))
        rig.configure("a:1", "b:1", "c:1")
        assert rig.now == ["b:1", "c:1"]
        rig.discovery.add("http://a:1")
        assert sorted(rig.now) == ["a:1", "b:1", "c:1"]

    async def test_a_removed_one_that_all_have_long_forgotten_may_come_back(self, rig: Rig) -> None:
        """Its address may be another pod's by then; a pod that is away for a moment is the same one."""
        source = Told("pods", "a:1")
        rig.configure(sources=[source])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        forgotten: list[WorkerId] = []
        rig.discovery.on_forget = forgotten.append
        rig.discovery.remove(WorkerId("a:1"))
        source.say()
        rig.discovery.keep(0.0)
        source.say(Target(url="http://a:1"))
        rig.discovery.keep(FORGET_S)
        assert rig.now == [], "it was away for a moment"
        source.say()
        rig.discovery.keep(FORGET_S)
        rig.discovery.keep(2 * FORGET_S)
        assert (rig.discovery.orders, forgotten) == ({}, ["a:1"])
        source.say(Target(url="http://a:1"))
        assert rig.now == ["a:1"]
        task.cancel()

    async def test_one_that_was_added_and_removed_stays_away_when_its_pod_is_back(
        self, rig: Rig
    ) -> None:
        source = Told("pods", "a:1")
        rig.configure(sources=[source])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        rig.discovery.add("http://a:1")
        source.say()
        assert rig.discovery.remove(WorkerId("a:1"))
        source.say(Target(url="http://a:1"))
        assert rig.now == []
        task.cancel()

    def test_it_is_told_what_is_said_here_but_not_what_was_said_elsewhere(self, rig: Rig) -> None:
        said: list[tuple[str, object]] = []
        discovery, a = rig.discovery, WorkerId("a:1")
        discovery.on_drain = discovery.on_order = lambda *word: said.append(word)
        discovery.order(a, "http://a:1")
        discovery.order_drain(a, drained=True)
        assert said == []
        discovery.drain(a, drained=True)
        discovery.add("http://a:1")
        discovery.remove(a)
        assert said == [(a, True), (a, "http://a:1"), (a, UNWANTED)]

    def test_who_drains_a_worker_is_known(self, rig: Rig) -> None:
        a = WorkerId("a:1")
        rig.discovery.set_sources([Target(url="http://a:1", drained=True)], [])
        assert rig.discovery.drained_by(a) == [CONFIGURED]
        rig.discovery.drain(a, drained=True)
        assert rig.discovery.drained_by(a) == [CONFIGURED, OPERATOR]

    def test_a_worker_is_remembered_for_a_minute(self, rig: Rig) -> None:
        a = WorkerId("a:1")
        rig.configure("a:1")
        rig.discovery.keep(0.0)
        rig.configure()
        rig.discovery.keep(FORGET_S - 1)
        assert rig.discovery.remembers(a)
        rig.discovery.keep(FORGET_S)
        assert not rig.discovery.remembers(a)

    async def test_a_drained_one_stays_so_when_it_comes_back(self, rig: Rig) -> None:
        source = Told("pods", "a:1")
        rig.configure(sources=[source])
        task = asyncio.ensure_future(rig.discovery.run())
        await settle()
        rig.discovery.drain(WorkerId("a:1"), drained=True)
        assert [target.drained for target in rig.sets[-1]] == [True]
        source.say()
        rig.discovery.keep(0.0)
        source.say(Target(url="http://a:1"))
        assert [target.drained for target in rig.sets[-1]] == [True]
        rig.discovery.drain(WorkerId("a:1"), drained=False)
        assert [target.drained for target in rig.sets[-1]] == [False]
        task.cancel()

    def test_an_order_from_elsewhere_comes_before_its_worker(self, rig: Rig) -> None:
        rig.discovery.order(WorkerId("a:1"), UNWANTED)
        rig.configure("a:1", "b:1")
        assert rig.now == ["b:1"]
        rig.discovery.order(WorkerId("a:1"), "")
        assert rig.now == ["a:1", "b:1"]
