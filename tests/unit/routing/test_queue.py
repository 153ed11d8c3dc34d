"""Late binding, by what can be seen from outside: who is sent when, where to, and who is turned away."""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.engines.base import WorkerReport
from router.errors import SHUTTING_DOWN, RouterError
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.routing.policy import Decision
from tests.unit.routing.hall import ROOM, Asked, Hall, Then
from tests.unit.routing.loads import learned
from tests.unit.routing.table import decode, prefill

FULL = 2 * ROOM


def full(hall: Hall, *workers: Worker, seconds: float = 0.1) -> list[PendingPrefill]:
    """Workers without room: prefills that last `seconds`."""
    return [prefill(worker, FULL, seconds=seconds) for worker in workers or hall.all]


def free(hall: Hall, worker: Worker, *, after: float = 0.01) -> None:
    """All prefills of `worker` are over."""
    hall.now += after
    for pending in list(worker.load.pending):
        worker.load.prefilled(pending, hall.now)
    hall.drain()


def held(hall: Hall, worker: Worker, *parts: int, blocks: int) -> None:
    """`worker` has these blocks in its cache."""
    hall.index.stored(worker.id, hall.question(*parts, blocks=blocks).identity.keys)


def memory(hall: Hall, worker: Worker, usage: float) -> PendingPrefill:
    """One of its requests, and others', hold this share of 10,000 tokens."""
    worker.report = WorkerReport({"m": {}}, kv_tokens=10_000)
    worker.load.kv_usage = usage
    running = prefill(worker)
    worker.load.prefilled(running, hall.now)
    return running


class TestRoom:
    def test_while_there_is_room_nobody_waits(self) -> None:
        hall = Hall("a", "b")
        decision = hall.offer()
        assert decision is not None
        assert (decision.policy, decision.reason) == ("prefix", "least_wait")
        assert decision.worker in hall.all
        assert len(hall.queue) == 0

    def test_the_worker_that_holds_the_prompt_is_taken(self) -> None:
        hall = Hall("a", "b", "c")
        held(hall, hall.all[1], blocks=10)
        decision = hall.offer()
        assert decision is not None
        assert (decision.worker, decision.reason) == (hall.all[1], "cached")
        assert decision.blocks == 10

    def test_without_room_it_waits_for_the_first_that_has_some(self) -> None:
        hall = Hall("a", "b")
        full(hall)
        asked = hall.ask()
        assert asked.waiting
        assert len(hall.queue) == 1
        free(hall, hall.all[1])
        assert asked.worker is hall.all[1]
        assert len(hall.queue) == 0

    def test_nobody_goes_before_those_who_wait(self) -> None:
        """A worker has room again, and they were not told yet."""
        hall = Hall("a")
        [busy] = full(hall)
        first = hall.ask(1)
        hall.all[0].load.prefilled(busy, hall.now)
        assert hall.offer(2) is None
        assert hall.ask(2).told == []
        assert first.worker is hall.all[0]

    def test_equal_workers_share(self) -> None:
        hall = Hall("a", "b", "c")
        picked = Counter(decision.worker for _ in range(300) if (decision := hall.offer()))
        assert min(picked[worker] for worker in hall.all) > 60

    def test_the_workers_are_filled_one_after_the_other(self) -> None:
        """Room is for less than 1000 tokens that wait; the one that exceeds it is still sent."""
        hall = Hall("a", "b")
        asked = [hall.ask(n, blocks=6) for n in range(6)]
        assert [one.waiting for one in asked] == [False] * 4 + [True] * 2
        assert Counter(one.worker for one in asked[:4]) == dict.fromkeys(hall.all, 2)

    def test_those_who_waited_are_spread_over_all_that_have_room_again(self) -> None:
        hall = Hall("a", "b")
        busy = full(hall)
        asked = [hall.ask(number, blocks=2) for number in range(10)]
        for worker, pending in zip(hall.all, busy, strict=True):
            worker.load.prefilled(pending, hall.now)
        hall.drain(0.01)
        assert Counter(one.worker for one in asked) == dict.fromkeys(hall.all, 5)

    def test_a_prompt_larger_than_all_room_goes_to_a_worker_with_nothing_to_do(self) -> None:
        hall = Hall("a")
        assert hall.ask(1, blocks=500).worker is hall.all[0]
        assert hall.ask(2, blocks=1).waiting

    def test_a_prompt_without_a_full_block_is_sent(self) -> None:
        hall = Hall("a", "b")
        full(hall)
        asked = hall.ask(blocks=0)
        free(hall, hall.all[0])
        assert asked.worker is hall.all[0]

    def test_what_is_cached_takes_no_room(self) -> None:
        hall = Hall("a")
        held(hall, hall.all[0], 1, blocks=100)
        for _ in range(20):
            assert hall.ask(1, blocks=100).worker is hall.all[0]

    def test_no_more_are_in_flight_than_may_be(self) -> None:
        hall = Hall("a", max_inflight=3)
        decode(hall.all[0], 2)
        first, second = hall.ask(1, blocks=1), hall.ask(2, blocks=1)
        assert first.worker is hall.all[0]
        assert second.waiting
        first.first_token()
        assert second.waiting
        first.end()
        assert second.worker is hall.all[0]

    def test_requests_of_others_are_in_flight_too(self) -> None:
        hall = Hall("a", max_inflight=3)
        hall.all[0].load.foreign = 3
        asked = hall.ask(blocks=1)
        assert asked.waiting
        hall.all[0].load.foreign = 2
        hall.drain()
        assert asked.worker is hall.all[0]

    def test_a_slow_worker_is_given_less_at_a_time(self) -> None:
        hall = Hall("a", "b", "c")
        learned(hall.cost.rates, dict(zip(hall.all, (1.0, 1.0, 3.0), strict=True)))
        for worker in hall.all:
            prefill(worker, ROOM / 2)
        full(hall, *hall.all[:2], seconds=9.0)
        asked = hall.ask()
        assert asked.waiting
        free(hall, hall.all[2])
        assert asked.worker is hall.all[2]

    def test_a_prefill_that_should_be_over_makes_room(self) -> None:
        """An answer that does not stream has no first token."""
        hall = Hall("a")
        hall.all[0].load.enter(PendingPrefill(1.0, FULL, streams=False), hall.now)
        asked = hall.ask()
        hall.drain(0.9)
        assert asked.waiting
        hall.drain(0.2)
        assert asked.worker is hall.all[0]


class TestLongSessions:
    """An agent's context of 100k tokens grows by a little each turn."""

    CONTEXT, GROWN = 1000, 1005  # blocks

    def test_a_turn_waits_for_its_worker_while_that_is_cheaper_than_computing_all_anew(
        self,
    ) -> None:
        hall = Hall("a", "b")
        held(hall, hall.all[0], 1, blocks=self.CONTEXT)
        busy = prefill(hall.all[0], 2000, seconds=1.0)  # computing all takes about 9 s
        turn = hall.ask(1, blocks=self.GROWN)
        assert turn.waiting
        hall.all[0].load.prefilled(busy, hall.now)
        hall.drain(0.5)
        assert turn.worker is hall.all[0]

    def test_it_moves_when_the_wait_would_be_longer(self) -> None:
        hall = Hall("a", "b")
        held(hall, hall.all[0], 1, blocks=self.CONTEXT)
        prefill(hall.all[0], 50_000, seconds=30.0)
        assert hall.ask(1, blocks=self.GROWN).worker is hall.all[1]

    def test_it_stays_where_it_has_moved_to(self) -> None:
        hall = Hall("a", "b")
        held(hall, hall.all[0], 1, blocks=self.CONTEXT)
        busy = prefill(hall.all[0], 50_000, seconds=30.0)
        moved = hall.ask(1, blocks=self.GROWN)
        moved.first_token()
        moved.end()
        hall.all[0].load.prefilled(busy, hall.now)
        assert hall.ask(1, 1, blocks=self.GROWN + 5).worker is hall.all[1]

    def test_many_short_ones_there_do_not_drive_it_away(self) -> None:
        """Twenty answers run on its worker: what a turn costs them is far less than a new prefill costs."""
        hall = Hall("a", "b")
        held(hall, hall.all[0], 1, blocks=self.CONTEXT)
        decode(hall.all[0], 20, context=2000)
        assert hall.ask(1, blocks=self.GROWN).worker is hall.all[0]


class TestIdleWorkers:
    def test_those_who_wait_for_a_busy_worker_do_not_keep_an_idle_one_from_others(self) -> None:
        """However many they are, and however short."""
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, 1, blocks=100)
        full(hall)
        cached = [hall.ask(1, blocks=100) for _ in range(200)]
        new = [hall.ask(2, number, blocks=20) for number in range(50)]
        free(hall, b)
        assert any(one.worker is b for one in new)
        assert all(one.waiting for one in cached)


class TestMemory:
    def test_a_prompt_waits_until_it_fits(self) -> None:
        hall = Hall("a")
        memory(hall, hall.all[0], 0.95)
        asked = hall.ask(1, blocks=10)
        assert asked.waiting
        memory(hall, hall.all[0], 0.5)
        hall.drain()
        assert asked.worker is hall.all[0]

    def test_meanwhile_shorter_ones_go(self) -> None:
        hall = Hall("a")
        memory(hall, hall.all[0], 0.95)
        long = hall.ask(1, blocks=10)
        assert hall.ask(2, blocks=2).worker is hall.all[0]
        assert long.waiting

    def test_it_does_not_wait_for_those_that_never_end(self) -> None:
        """A worker without requests takes it, whatever its metrics say."""
        hall = Hall("a")
        running = memory(hall, hall.all[0], 1.0)
        asked = hall.ask(1, blocks=90)
        assert asked.waiting
        hall.all[0].load.leave(running, hall.now)
        hall.drain()
        assert asked.worker is hall.all[0]


class TestCaches:
    def test_it_waits_for_the_worker_that_holds_it_while_that_pays(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, blocks=100)
        full(hall, a, seconds=0.05)
        asked = hall.ask(blocks=100)
        assert asked.waiting
        free(hall, a)
        assert asked.worker is a
        assert b.load.inflight == 0

    def test_and_not_when_it_does_not(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, blocks=100)
        full(hall, a, seconds=5.0)
        assert hall.ask(blocks=100).worker is b

    def test_nor_when_it_turns_out_not_to(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, blocks=100)
        full(hall, a, seconds=0.05)
        asked = hall.ask(blocks=100)
        full(hall, a, seconds=5.0)
        hall.drain(0.01)
        assert asked.worker is b

    @pytest.mark.parametrize(("before", "waits"), [(0, True), (1, False)])
    def test_who_waits_for_a_worker_is_counted_there(self, before: int, waits: bool) -> None:
        """Behind another one's prefill it would take longer than on a worker that holds nothing."""
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, 1, blocks=20)
        full(hall, a, seconds=0.05)
        first, last = (
            [hall.ask(1, *[0] * 19, end, blocks=100) for _ in range(times)]
            for end, times in ((2, before), (3, 1))
        )
        assert [one.waiting for one in (*first, *last)] == [True] * before + [waits]
        assert last[0].worker is (None if waits else b)

    def test_in_a_crowd_it_waits_for_the_worker_that_holds_it_for_longer(self) -> None:
        """What is computed a second time would hold up all others."""
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, 1, blocks=100)
        full(hall, a, seconds=1.0)
        full(hall, b, seconds=0.3)
        crowd = [hall.ask(2, number, blocks=30) for number in range(20)]
        asked = hall.ask(1, blocks=100)
        free(hall, b)
        assert b.load.inflight > 0
        assert asked.waiting
        assert any(one.worker is b for one in crowd)
        free(hall, a)
        assert asked.worker is a

    def test_a_latecomer_for_another_worker_does_not_wait(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, 1, blocks=100)
        full(hall, a, seconds=0.05)
        first = hall.ask(1, blocks=100)
        assert hall.ask(2, blocks=5).worker is b
        assert first.waiting

    def test_what_a_worker_holds_by_then_counts(self) -> None:
        """The prompt that has come into a cache meanwhile is the shorter one now."""
        hall = Hall("a")
        full(hall)
        long, short = hall.ask(1, blocks=50), hall.ask(2, blocks=20)
        held(hall, hall.all[0], 1, blocks=50)
        free(hall, hall.all[0], after=1.0)
        assert hall.sent == [long, short]

    def test_what_a_worker_has_lost_by_then_does_not(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, b, 1, blocks=100)
        full(hall, seconds=0.05)
        asked = hall.ask(1, blocks=100)
        hall.index.clear(b.id)
        free(hall, a, after=1.0)
        assert asked.worker is a
        assert isinstance(asked.told[0], Decision)
        assert (asked.told[0].reason, asked.told[0].blocks) == ("least_wait", 0)


class TestOrder:
    def test_the_shortest_goes_first(self) -> None:
        hall = Hall("a")
        full(hall)
        asked = {blocks: hall.ask(blocks, blocks=blocks) for blocks in (30, 10, 20)}
        for _ in range(3):
            free(hall, hall.all[0])
        assert hall.sent == [asked[10], asked[20], asked[30]]

    def test_what_is_cached_does_not_count(self) -> None:
        hall = Hall("a")
        held(hall, hall.all[0], 1, blocks=90)
        full(hall)
        short, cached = hall.ask(2, blocks=30), hall.ask(1, blocks=100)
        for _ in range(2):
            free(hall, hall.all[0])
        assert hall.sent == [cached, short]

    def test_among_equals_who_came_first(self) -> None:
        hall = Hall("a")
        full(hall)
        asked = [hall.ask(number) for number in range(5)]
        for _ in range(5):
            free(hall, hall.all[0])
        assert hall.sent == asked

    def test_priorities_go_first(self) -> None:
        hall = Hall("a")
        full(hall)
        low = hall.ask(1, blocks=1, priority=5)
        usual = hall.ask(2, blocks=30)
        urgent = hall.ask(3, blocks=40, priority=-1)
        for _ in range(3):
            free(hall, hall.all[0])
        assert hall.sent == [urgent, usual, low]

    def test_a_tenant_s_flood_does_not_delay_another(self) -> None:
        hall = Hall("a")
        full(hall)
        for number in range(50):
            hall.ask(number, tenant="flood")
        for _ in range(5):
            free(hall, hall.all[0])
        other = hall.ask(99, blocks=30, tenant="other")
        for _ in range(2):
            free(hall, hall.all[0])
        assert other.worker is hall.all[0]

    def test_not_even_when_many_can_go_at_once(self) -> None:
        hall = Hall("a", "b")
        busy = full(hall)
        for number in range(50):
            hall.ask(number, tenant="flood")
        other = hall.ask(99, tenant="other")
        for worker, pending in zip(hall.all, busy, strict=True):
            worker.load.prefilled(pending, hall.now)
        hall.drain()
        assert other.worker is not None

    def test_tenants_share_the_workers_time(self) -> None:
        """One asks for prompts five times as long, and gets a fifth as many."""
        hall = Hall("a")
        full(hall)
        for number in range(100):
            hall.ask(number, blocks=50, tenant="long")
            hall.ask(1000 + number, blocks=10, tenant="short")
        for _ in range(60):
            free(hall, hall.all[0])
        counts = Counter(asked.question.tenant for asked in hall.sent)
        assert counts["short"] / counts["long"] == pytest.approx(5, rel=0.2)

    @pytest.mark.parametrize("count", [1, 10])
    def test_long_ones_are_not_passed_over_for_ever(self, count: int) -> None:
        """Short ones come faster than they can be served. They are not held up either, however many those are."""
        hall = Hall("a", patience_s=5.0)
        (worker,) = hall.all
        (busy,) = full(hall)
        longs = [hall.ask(1, number, blocks=400) for number in range(count)]
        worker.load.leave(busy, hall.now)
        until = hall.now + 30.0
        for number in itertools.count():
            hall.ask(2, number, blocks=10)
            if len(hall.queue) < 10 + count:
                continue
            hall.now += max(0.01, worker.load.pending_seconds(hall.now))
            for asked in [one for one in hall.sent[-10:] if one.running]:
                asked.end()
            if hall.now > until:
                break
        assert 1 <= sum(not long.waiting for long in longs) <= 2


class TestCandidates:
    def test_a_worker_that_comes_is_used(self) -> None:
        hall = Hall("a", "b")
        hall.up = hall.all[:1]
        full(hall, hall.all[0])
        asked = hall.ask()
        assert asked.waiting
        hall.up = list(hall.all)
        hall.drain()
        assert asked.worker is hall.all[1]

    def test_a_worker_that_left_is_not(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, blocks=10)
        full(hall)
        asked = hall.ask()
        hall.up = [b]
        free(hall, a)
        assert asked.waiting
        free(hall, b)
        assert asked.worker is b

    def test_when_nobody_serves_the_model_all_are_turned_away(self) -> None:
        hall = Hall("a")
        full(hall)
        asked = [hall.ask(number) for number in range(3)]
        hall.up = []
        hall.drain()
        assert [one.error for one in asked] == ["no_worker_available"] * 3
        assert len(hall.queue) == 0

    def test_and_who_comes_then_does_not_begin_to_wait(self) -> None:
        hall = Hall("a")
        full(hall)
        asked = Asked(hall, hall.question())
        hall.up = []
        with pytest.raises(RouterError, match="None is up"):
            hall.queue.wait(asked.question, asked)
        assert (asked.told, len(hall.queue)) == ([], 0)

    def test_models_do_not_wait_for_each_other(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        hall.serving["one"], hall.serving["two"] = [a], [b]
        full(hall, a)
        waiting = hall.ask(1, model="one")
        assert hall.ask(2, model="two").worker is b
        assert waiting.waiting

    def test_a_model_that_nobody_waits_for_any_more_is_forgotten(self) -> None:
        hall = Hall("a")
        full(hall)
        for model in "xyz":
            hall.ask(model=model)
        for _ in range(3):
            free(hall, hall.all[0])
        full(hall)
        hall.ask(model="m")
        assert list(hall.queue._lanes) == ["m"]

    def test_a_worker_that_refused_it_is_left_out(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, blocks=10)
        asked = hall.ask()
        assert asked.worker is a
        full(hall, b)
        hall.retry(asked)
        assert asked.waiting, "not even when it has room"
        free(hall, b)
        assert asked.worker is b

    def test_unless_it_is_the_only_one_left(self) -> None:
        hall = Hall("a", "b")
        a, b = hall.all
        held(hall, a, blocks=10)
        asked = hall.ask()
        full(hall, b)
        hall.retry(asked)
        hall.up = [a]
        hall.drain()
        assert asked.worker is a

    def test_it_is_asked_with_those_that_are_left(self) -> None:
        """Whoever sends it looks there for others to try."""
        hall = Hall("a", "b", "c")
        full(hall)
        asked = hall.ask()
        hall.up = hall.all[:2]
        free(hall, hall.all[0])
        assert list(asked.question.candidates) == hall.all[:2]
        assert asked.question.now == hall.now


class TestLimits:
    @pytest.mark.parametrize("limit", [0, 1, 5])
    def test_no_more_wait_than_may(self, limit: int) -> None:
        hall = Hall("a", limit=limit)
        full(hall)
        for number in range(limit):
            hall.ask(number)
        with pytest.raises(RouterError) as failure:
            hall.ask(99)
        error = failure.value
        assert (error.status, error.code) == (503, "queue_full")
        assert error.retry_after_s is not None
        assert 1 <= error.retry_after_s <= 60
        assert len(hall.queue) == limit

    def test_a_longer_queue_says_to_come_back_later(self) -> None:
        def retry_after(blocks: int) -> int:
            hall = Hall("a", limit=20)
            full(hall)
            for number in range(20):
                hall.ask(number, blocks=blocks)
            with pytest.raises(RouterError) as failure:
                hall.ask(99)
            return failure.value.retry_after_s or 0

        assert 1 <= retry_after(10) < retry_after(300) <= 60

    def test_who_has_waited_too_long_is_turned_away(self) -> None:
        hall = Hall("a", timeout_s=10.0)
        full(hall)
        old = [hall.ask(number) for number in range(2)]
        hall.now += 5.0
        young = hall.ask(3)
        hall.expire(4.9)
        assert all(asked.waiting for asked in (*old, young))
        hall.expire(0.2)
        assert [asked.error for asked in old] == ["queue_timeout"] * 2
        assert young.waiting
        assert len(hall.queue) == 1

    def test_who_has_no_time_left_for_an_answer_is_turned_away(self) -> None:
        hall = Hall("a", timeout_s=10.0)
        full(hall)
        hurried, patient = hall.ask(1), hall.ask(2)
        hurried.question.total_s = 3.0
        hall.expire(2.9)
        assert hurried.waiting
        hall.expire(0.2)
        assert hurried.error == "request_timeout"
        assert patient.waiting

    def test_one_that_was_sent_and_refused_is_as_old_as_it_is(self) -> None:
        hall = Hall("a", "b", timeout_s=10.0)
        retried = hall.ask(1)
        full(hall)
        hall.now += 6.0
        young = hall.ask(2)
        hall.retry(retried)
        hall.expire(5.0)
        assert retried.error == "queue_timeout"
        assert young.waiting

    def test_expiring_with_nobody_there(self) -> None:
        hall = Hall("a")
        hall.expire(1e6)
        assert len(hall.queue) == 0

    def test_closing_turns_everybody_away(self) -> None:
        hall = Hall("a")
        full(hall)
        asked = [hall.ask(number, model=model) for number, model in enumerate("mmn")]
        hall.queue.close(SHUTTING_DOWN)
        assert [one.told for one in asked] == [[SHUTTING_DOWN]] * 3
        assert len(hall.queue) == 0

    def test_who_withdraws_is_told_nothing(self) -> None:
        hall = Hall("a")
        full(hall)
        gone, stays = hall.ask(1), hall.ask(2)
        hall.queue.withdraw(gone)
        hall.queue.withdraw(gone)
        assert len(hall.queue) == 1
        for _ in range(2):
            free(hall, hall.all[0])
        assert gone.told == []
        assert stays.worker is hall.all[0]

    def test_withdrawing_without_having_waited_is_harmless(self) -> None:
        hall = Hall("a")
        asked = hall.ask()
        hall.queue.withdraw(asked)
        assert asked.worker is hall.all[0]

    def test_how_long_each_waited_is_told(self) -> None:
        hall = Hall("a")
        full(hall)
        hall.ask(1)
        free(hall, hall.all[0], after=0.25)
        assert hall.waited == pytest.approx([0.25])


def drains(asked: Asked) -> None:
    asked.hall.drain()


def ends(asked: Asked) -> None:
    if asked.running:
        asked.end()


def asks_again(asked: Asked) -> None:
    asked.then = None
    asked.hall.ask(77, blocks=1)


def withdraws_all(asked: Asked) -> None:
    for ticket in list(asked.hall.queue._tickets):
        asked.hall.queue.withdraw(ticket)


class TestWhatIsSetOffMeanwhile:
    """Sending may fail at once, and whoever is told may leave, come back or stir the queue."""

    @pytest.mark.parametrize("then", [drains, asks_again])
    def test_everyone_is_sent_once(self, then: Callable[[Asked], None]) -> None:
        hall = Hall("a", "b")
        full(hall)
        asked = [hall.ask(number, blocks=2, then=then) for number in range(6)]
        for _ in range(4):
            for worker in hall.all:
                free(hall, worker)
        assert [len(one.told) for one in asked] == [1] * 6
        assert len(hall.queue) == 0

    def test_who_fails_at_once_makes_room_at_once(self) -> None:
        hall = Hall("a")
        full(hall)
        asked = [hall.ask(n, blocks=20, then=ends) for n in range(5)]
        free(hall, hall.all[0])
        assert [one.worker for one in asked] == [hall.all[0]] * 5

    def test_one_may_take_others_along(self) -> None:
        hall = Hall("a")
        full(hall)
        first = hall.ask(1, blocks=1, then=withdraws_all)
        others = [hall.ask(number, blocks=2) for number in (2, 3)]
        free(hall, hall.all[0])
        assert first.worker is hall.all[0]
        assert [one.told for one in others] == [[], []]
        assert len(hall.queue) == 0

    @pytest.mark.parametrize("ending", ["close", "expire", "no worker"])
    def test_one_that_is_turned_away_may_take_others_along(self, ending: str) -> None:
        hall = Hall("a")
        full(hall)
        first = hall.ask(1, blocks=1, then=withdraws_all)
        others = [hall.ask(number, blocks=2) for number in (2, 3)]
        if ending == "close":
            hall.queue.close(SHUTTING_DOWN)
        elif ending == "expire":
            hall.expire(1e6)
        else:
            hall.up = []
            hall.drain()
        assert first.error is not None
        assert [one.told for one in others] == [[], []]

    def test_one_that_is_turned_away_may_come_back(self) -> None:
        hall = Hall("a", timeout_s=10.0)
        full(hall)
        hall.ask(1, then=asks_again)
        hall.expire(11.0)
        assert len(hall.queue) == 1
        free(hall, hall.all[0])
        assert len(hall.sent) == 1

    def test_a_defect_in_one_does_not_stop_the_queue(self) -> None:
        def fails(asked: Asked) -> None:
            raise ZeroDivisionError

        hall = Hall("a")
        full(hall)
        hall.ask(1, blocks=20, then=fails)
        other = hall.ask(2, blocks=30)
        with pytest.raises(ZeroDivisionError):
            free(hall, hall.all[0])
        free(hall, hall.all[0])
        assert other.worker is hall.all[0]


class QueueMachine(RuleBasedStateMachine):
    """Requests come, are answered, refused, or leave; workers come and go, get slower and lose their caches.

    That a worker has room for what it is sent is looked at by `Hall.check_room`, each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hall = Hall("a", "b", "c", max_inflight=3, limit=8, timeout_s=20.0)
        self.asked: list[Asked] = []
        self.turned_back: set[tuple[str, int]] = set()

    def one(self, data: st.DataObject, kind: Callable[[Asked], bool]) -> Asked | None:
        found = [asked for asked in self.asked if kind(asked)]
        return data.draw(st.sampled_from(found)) if found else None

    def admit(self, asked: Asked, step: Callable[[Asked], None]) -> None:
        try:
            step(asked)
        except RouterError as error:
            self.turned_back.add((error.code, len(self.hall.queue)))

    @rule(
        parts=st.lists(st.integers(0, 2), max_size=3),
        blocks=st.sampled_from([0, 3, 8, 20]),
        tenant=st.sampled_from(["", "x", "y"]),
        priority=st.integers(0, 1),
        model=st.sampled_from("mn"),
        then=st.sampled_from([None, None, drains, ends]),
        seconds=st.sampled_from([0.0, 0.01, 0.3]),
    )
    @precondition(lambda self: self.hall.up)
    def arrive(self, parts: list[int], then: Then | None, seconds: float, **rest: Any) -> None:
        self.hall.now += seconds
        asked = Asked(self.hall, self.hall.question(*parts, **rest), then)
        self.asked.append(asked)
        self.admit(asked, self.hall.admit)

    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.05]))
    def first_token(self, data: st.DataObject, seconds: float) -> None:
        asked = self.one(data, lambda one: one.running)
        if asked is not None:
            self.hall.now += seconds
            asked.first_token()

    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.05]))
    def end(self, data: st.DataObject, seconds: float) -> None:
        asked = self.one(data, lambda one: one.running)
        if asked is not None:
            self.hall.now += seconds
            asked.end()

    @rule(data=st.data())
    @precondition(lambda self: self.hall.up)
    def refuse(self, data: st.DataObject) -> None:
        asked = self.one(data, lambda one: one.running)
        if asked is not None:
            self.admit(asked, self.hall.retry)
            self.hall.drain()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        asked = self.one(data, lambda one: one.waiting)
        if asked is not None:
            told = list(asked.told)
            self.hall.queue.withdraw(asked)
            assert asked.told == told
            self.asked.remove(asked)

    @rule(names=st.sets(st.sampled_from([0, 1, 2])))
    def workers_change(self, names: set[int]) -> None:
        self.hall.up = [self.hall.all[name] for name in sorted(names)]
        self.hall.drain()

    @rule(name=st.integers(0, 2), factor=st.sampled_from([0.3, 1.0, 4.0]))
    def learn(self, name: int, factor: float) -> None:
        learned(self.hall.cost.rates, {self.hall.all[name]: factor}, times=10)
        self.hall.drain()

    @rule(name=st.integers(0, 2), count=st.integers(0, 3))
    def others(self, name: int, count: int) -> None:
        """Somebody else uses a worker."""
        self.hall.all[name].load.foreign = count
        self.hall.drain()

    @rule(name=st.integers(0, 2), usage=st.sampled_from([None, 0.2, 0.9]))
    def metrics(self, name: int, usage: float | None) -> None:
        worker = self.hall.all[name]
        worker.report = WorkerReport({"m": {}}, kv_tokens=10_000)
        worker.load.kv_usage = usage
        self.hall.drain()

    @rule(name=st.integers(0, 2))
    def restart(self, name: int) -> None:
        self.hall.index.clear(self.hall.all[name].id)
        self.hall.drain()

    @rule(seconds=st.sampled_from([0.1, 3.0, 15.0]))
    def expire(self, seconds: float) -> None:
        self.hall.expire(seconds)
        oldest = self.hall.now - self.hall.options.timeout_s
        assert all(one.question.arrived_at > oldest for one in self.asked if one.waiting)
        self.hall.drain()

    @invariant()
    def everyone_is_told_once_and_waits_until_then(self) -> None:
        assert all(one.waits - 1 <= len(one.told) <= one.waits for one in self.asked)
        assert len(self.hall.queue) == sum(one.waiting for one in self.asked)

    @invariant()
    def only_a_full_queue_turns_back(self) -> None:
        assert self.turned_back <= {("queue_full", self.hall.options.limit)}

    @invariant()
    def no_worker_has_more_than_it_may(self) -> None:
        for worker in self.hall.all:
            assert worker.load.inflight <= self.hall.options.max_inflight
            assert worker.load.pending_tokens(self.hall.now) <= ROOM + 2000

    @invariant()
    def nobody_waits_while_all_workers_idle(self) -> None:
        if not any(worker.load.inflight + worker.load.foreign for worker in self.hall.up):
            assert len(self.hall.queue) == 0

    def teardown(self) -> None:
        self.hall.queue.close(SHUTTING_DOWN)
        assert len(self.hall.queue) == 0
        assert not any(one.waiting for one in self.asked)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
