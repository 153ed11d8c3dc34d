"""The order of those who wait, and what tenants get of each other's."""

from collections import Counter
from collections.abc import Iterable
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.routing.lane import Lane, Ticket
from tests.unit.routing.table import question
from tests.unit.support import FakeWaiter, workers_of


class Rope:
    """A lane of one worker, and short ways to wait in it. Each one comes a second after the one before."""

    def __init__(self) -> None:
        self.lane = Lane()
        self.lane.set_workers(workers_of("a"))
        self.names: dict[Ticket, str] = {}

    def add(self, own_s: float, tenant: str = "", priority: int = 0, name: str = "") -> Ticket:
        asked = question([])
        asked.tenant, asked.priority, asked.arrived_at = tenant, priority, float(len(self.names))
        ticket = Ticket(asked, FakeWaiter(), len(self.names))
        ticket.rank_by_work(own_s)
        self.names[ticket] = name or str(own_s)
        self.lane.add(ticket)
        return ticket

    def serve(self, late: float = -inf) -> Ticket:
        """The first is given its time."""
        ticket = self.lane.first(1, late)[0]
        self.lane.take(ticket, ticket.own_s, late)
        return ticket

    def served(self, count: int, late: float = -inf) -> list[str]:
        return [self.names[self.serve(late)] for _ in range(count)]

    def first(self, limit: int = 100, late: float = -inf) -> list[str]:
        return [self.names[ticket] for ticket in self.lane.first(limit, late)[:limit]]


@pytest.fixture
def rope() -> Rope:
    return Rope()


class TestOrder:
    def test_the_least_work_goes_first(self, rope: Rope) -> None:
        for own_s in (3.0, 1.0, 2.0):
            rope.add(own_s)
        assert rope.first() == ["1.0", "2.0", "3.0"]
        assert rope.first(2) == ["1.0", "2.0"]
        assert not rope.lane.shared

    @pytest.mark.parametrize("others", [(1.0, 1.0), (1.01, 0.99)])
    def test_among_about_equals_who_came_first(
        self, rope: Rope, others: tuple[float, float]
    ) -> None:
        rope.add(1.0, name="a")
        for own_s, name in zip(others, "bc", strict=True):
            rope.add(own_s, name=name)
        assert rope.first() == ["a", "b", "c"]

    def test_a_lower_priority_number_goes_first_whatever_the_work(self, rope: Rope) -> None:
        rope.add(0.1, priority=1, name="later")
        rope.add(9.0, priority=-1, name="urgent")
        rope.add(5.0, priority=0, name="usual")
        assert rope.lane.shared
        assert rope.first() == ["urgent", "usual", "later"]

    def test_priorities_are_above_tenants(self, rope: Rope) -> None:
        """What a tenant was given makes it wait behind others of the same priority alone."""
        for name in ("urgent", "urgent too"):
            rope.add(5.0, "rich", 0, name=name)
        rope.add(1.0, "poor", 1, name="usual")
        assert rope.served(3) == ["urgent", "urgent too", "usual"]

    def test_the_work_may_change(self, rope: Rope) -> None:
        changing = rope.add(3.0)
        rope.add(2.0)
        changing.line.rank_by_work(changing, 1.0)
        assert rope.first() == ["3.0", "2.0"]
        assert len(rope.lane) == 2
        assert changing.own_s == 1.0

    def test_who_is_removed_waits_no_longer(self, rope: Rope) -> None:
        gone, _ = rope.add(1.0), rope.add(2.0)
        rope.lane.remove(gone)
        assert (rope.first(), len(rope.lane)) == (["2.0"], 1)

    def test_nobody_waits_at_first(self, rope: Rope) -> None:
        assert (rope.first(), len(rope.lane), rope.lane.shared) == ([], 0, False)


class TestTenants:
    def test_a_flood_does_not_delay_another_tenant(self, rope: Rope) -> None:
        for _ in range(100):
            rope.add(1.0, "flood")
        rope.served(10)
        rope.add(1.0, "other", name="other")
        assert "other" in rope.served(2)

    def test_nor_does_a_flood_of_short_ones_delay_a_long_one(self, rope: Rope) -> None:
        for _ in range(100):
            rope.add(0.01, "flood")
        rope.served(10)
        rope.add(5.0, "other", name="other")
        assert "other" in rope.served(2)

    def test_who_waits_gets_the_same_time(self, rope: Rope) -> None:
        sizes = {"a": 1.0, "b": 0.5, "c": 0.1}
        for tenant, seconds in sizes.items():
            for _ in range(500):
                rope.add(seconds, tenant)
        given: Counter[str] = Counter()
        for _ in range(500):
            ticket = rope.serve()
            given[ticket.question.tenant] += round(1000 * ticket.own_s)
        assert max(given.values()) - min(given.values()) <= 2 * 1000 * max(sizes.values())

    def test_idling_earns_nothing(self, rope: Rope) -> None:
        """Who comes late is not owed what others were given before."""
        for _ in range(100):
            rope.add(1.0, "early", name="early")
        rope.served(50)
        for _ in range(50):
            rope.add(1.0, "late", name="late")
        assert Counter(rope.served(20)) == {"early": 10, "late": 10}

    def test_leaving_and_coming_back_earns_nothing(self, rope: Rope) -> None:
        for _ in range(100):
            rope.add(1.0, "steady", name="steady")
        for _ in range(20):
            rope.add(1.0, "fitful", name="fitful")
            assert rope.served(2).count("fitful") == 1

    def test_what_was_given_beyond_its_share_is_not_forgotten_by_leaving(self, rope: Rope) -> None:
        for _ in range(10):
            rope.add(1.0, "small", name="small")
        rope.add(5.0, "big", name="big")
        rope.served(2)
        rope.add(5.0, "big", name="big")
        assert rope.served(3) == ["small"] * 3

    def test_tenants_that_come_once_are_not_remembered_for_ever(self, rope: Rope) -> None:
        """While others wait all the time, so that the lane is never empty."""
        rope.add(1.0, "always")
        for number in range(2000):
            rope.add(1.0, f"tenant-{number}")
            rope.add(1.0, "always")
            rope.serve()
            rope.serve()
        assert len(rope.lane) == 1
        assert len(rope.lane._given) < 500

    def test_when_nobody_waits_all_are_equal_again(self, rope: Rope) -> None:
        rope.add(9.0, "one")
        rope.add(1.0, "two")
        rope.served(2)
        for tenant in ("two", "two", "one"):
            rope.add(1.0, tenant, name=tenant)
        assert "one" in rope.served(2)


class TestPatience:
    """A small share of the time goes to whoever has waited too long."""

    def flooded(self, rope: Rope, late: float) -> Counter[str]:
        """Seconds given to long and short ones while there are always short ones."""
        given: Counter[str] = Counter()
        for _ in range(5000):
            rope.add(1.0, name="short")
            ticket = rope.serve(late)
            given[rope.names[ticket]] += round(ticket.own_s)
        return given

    def test_who_came_long_ago_goes_first(self, rope: Rope) -> None:
        rope.add(9.0, name="long")
        rope.add(0.1, name="short")
        assert rope.first(late=0.0) == ["short", "long"]
        assert rope.first(late=1.0) == ["long", "short"]

    def test_and_not_before_others_that_are_more_urgent(self, rope: Rope) -> None:
        rope.add(9.0, name="long")
        rope.add(0.1, name="urgent", priority=-1)
        assert rope.first(late=1.0) == ["urgent", "long"]

    def test_nor_at_another_tenant_s_expense(self, rope: Rope) -> None:
        rope.add(9.0, "one", name="long")
        for _ in range(200):
            rope.add(0.1, "one", name="short")
            rope.add(0.1, "two", name="other")
        assert Counter(rope.served(100, late=1.0))["other"] >= 45

    def test_many_of_them_get_a_small_share_of_the_time(self, rope: Rope) -> None:
        for _ in range(100):
            rope.add(5.0, name="long")
        given = self.flooded(rope, late=100.0)
        assert 0.002 < given["long"] / given.total() < 0.02

    def test_what_nobody_needed_is_not_saved_up(self, rope: Rope) -> None:
        for _ in range(10):
            rope.add(5.0, name="long")
        self.flooded(rope, late=-inf)
        for _ in range(10):
            rope.add(1.0, name="short")
        assert rope.served(10, late=10.0).count("long") <= 2


def test_places_follow_the_workers() -> None:
    lane, (a, b, c) = Lane(), workers_of("a", "b", "c")
    lane.set_workers([a, b])
    assert (list(lane.workers), lane.places) == ([a, b], {a.id: 0, b.id: 1})
    lane.set_workers([c, a])
    assert (list(lane.workers), lane.places) == ([c, a], {c.id: 0, a.id: 1})


WORK = st.sampled_from([0.5, 1.0, 2.0])


class LaneMachine(RuleBasedStateMachine):
    """Random comings and goings beside one list that is sorted when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rope = Rope()
        self.waiting: list[Ticket] = []
        self.lines: dict[tuple[int, str], None] = {}
        self.given: dict[str, float] = {}

    @rule(tenant=st.sampled_from("xyz"), priority=st.integers(0, 1), own_s=WORK)
    def add(self, tenant: str, priority: int, own_s: float) -> None:
        others = [self.given[each] for each in self._tenants()]
        if tenant not in self._tenants():
            self.given[tenant] = max(self.given.get(tenant, 0.0), min(others, default=0.0))
        self.lines.setdefault((priority, tenant))
        self.waiting.append(self.rope.add(own_s, tenant, priority))

    @rule(data=st.data())
    @precondition(lambda self: self.waiting)
    def serve(self, data: st.DataObject) -> None:
        """Anyone may be served: the first one's worker may be busy."""
        ticket = data.draw(st.sampled_from(self.waiting))
        self.rope.lane.take(ticket, ticket.own_s, -inf)
        self._left(ticket)
        if self.waiting:
            self.given[ticket.question.tenant] += ticket.own_s

    @rule(data=st.data())
    @precondition(lambda self: self.waiting)
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        self.rope.lane.remove(ticket)
        self._left(ticket)

    @rule(data=st.data(), own_s=WORK)
    @precondition(lambda self: self.waiting)
    def change(self, data: st.DataObject, own_s: float) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        ticket.line.rank_by_work(ticket, own_s)

    def _left(self, ticket: Ticket) -> None:
        self.waiting.remove(ticket)
        if self._line(ticket) not in {self._line(each) for each in self.waiting}:
            del self.lines[self._line(ticket)]
        if not self.waiting:
            self.given.clear()

    def _tenants(self) -> Iterable[str]:
        return {ticket.question.tenant for ticket in self.waiting}

    def _line(self, ticket: Ticket) -> tuple[int, str]:
        return ticket.question.priority, ticket.question.tenant

    def _place(self, ticket: Ticket) -> tuple[float, ...]:
        """Priority, what its tenant was given, whose line is older, work, arrival."""
        priority, tenant = line = self._line(ticket)
        born = list(self.lines).index(line)
        return priority, self.given[tenant], born, ticket.own_s, ticket.number

    @invariant()
    def the_first_are_the_first_of_a_sorted_list(self) -> None:
        ordered = sorted(self.waiting, key=self._place)
        for limit in (1, 3, 100):
            assert self.rope.lane.first(limit, -inf)[:limit] == ordered[:limit]
        assert len(self.rope.lane) == len(ordered)


TestLaneMachine = LaneMachine.TestCase
TestLaneMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
