"""Requests that wait for less busy workers."""

from collections.abc import Callable, Sequence

import pytest

from router.errors import SHUTTING_DOWN, RouterError, no_worker
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.index.union import UnionIndex
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, Rates
from router.routing.options import QueueOptions
from router.routing.peers.held import Gate, Rule, dynamo_fcfs, dynamo_wspt, llmd_fc
from router.routing.policies import Tools
from router.routing.policy import Decision, Question
from router.telemetry.metrics import Histogram
from tests.unit.routing.table import NOW, decode, prefill, prompt, question
from tests.unit.support import workers_of


class Asked:
    """A `Waiter` that keeps what it is told, and does what `then` says when it goes."""

    def __init__(self, then: Callable[[Decision], None] | None = None) -> None:
        self.decision: Decision | None = None
        self.error: RouterError | None = None
        self._then = then

    def go(self, decision: Decision) -> None:
        self.decision = decision
        if self._then is not None:
            self._then(decision)

    def turn_away(self, error: RouterError) -> None:
        self.error = error


class Door:
    """A gate over `workers` with an index of what `sent` says."""

    def __init__(
        self, make: Callable[[Tools], Rule], workers: Sequence[Worker], **options: float
    ) -> None:
        self.workers = list(workers)
        self.index = UnionIndex()
        cost = CostModel(Rates())
        chooser = Chooser(self.index, cost, Histogram((1.0,)))
        rule = make(Tools(cost, lambda request: None, seed=1))
        self.gate = Gate("held", rule, chooser, self.candidates, QueueOptions(**options))  # type: ignore[arg-type]
        self.waited: list[float] = []
        self.gate.on_leave = self.waited.append

    def candidates(self, model: str | None) -> Sequence[Worker]:
        if not self.workers:
            raise no_worker("None is up.")
        return self.workers

    def asked(self, *parts: int, now: float = NOW, model: str = "m", blocks: int = 10) -> Question:
        keys = prompt(*parts, blocks=blocks)
        asked = question(self.workers, None, keys, now=now, model=model)
        asked.overlaps = self.index.lookup(asked.identity)
        return asked

    def wait(
        self, *parts: int, then: Callable[[Decision], None] | None = None, **rest: object
    ) -> Asked:
        waiter = Asked(then)
        self.gate.wait(self.asked(*parts, **rest), waiter)  # type: ignore[arg-type]
        return waiter


def taken(decision: Decision) -> None:
    """The request is on its way: its worker is full."""
    tokens = decision.uncached_tokens
    decision.worker.load.enter(PendingPrefill(1.0, max(tokens, 9000.0), streams=True), NOW)


class TestDynamo:
    def test_sends_at_once_while_one_worker_has_little_to_do(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, 9000.0)
        prefill(b, 8192.0)
        door = Door(dynamo_fcfs, [a, b])
        decision = door.gate.offer(door.asked(1))
        assert decision is not None
        assert decision.policy == "held"
        assert decision.worker is b

    def test_waits_while_all_are_busy(self) -> None:
        a, b = workers_of("a", "b")
        pending = prefill(a, 9000.0)
        prefill(b, 9000.0)
        door = Door(dynamo_fcfs, [a, b])
        assert door.gate.offer(door.asked(1)) is None
        waiter = door.wait(1)
        assert len(door.gate) == 1
        a.load.prefilled(pending, NOW + 2)
        door.gate.drain(NOW + 2)
        assert waiter.decision is not None
        assert waiter.decision.worker is a
        assert len(door.gate) == 0
        assert door.waited == [2.0]

    def test_running_answers_are_no_reason_to_wait(self) -> None:
        (a,) = workers_of("a")
        decode(a, 100, context=1e6)
        door = Door(dynamo_fcfs, [a])
        assert door.gate.offer(door.asked(1)) is not None

    def test_the_choice_is_made_over_all_workers(self) -> None:
        a, b = workers_of("a", "b")
        pending = prefill(a, 8500.0)
        prefill(b, 9000.0)
        door = Door(dynamo_fcfs, [a, b])
        waiter = door.wait(1)
        decode(a, context=20_000.0)
        a.load.prefilled(pending, NOW)
        door.gate.drain(NOW)
        assert waiter.decision is not None
        assert waiter.decision.worker is b

    @pytest.mark.parametrize(("make", "order"), [(dynamo_fcfs, "abc"), (dynamo_wspt, "bca")])
    def test_order(self, make: Callable[[Tools], Rule], order: str) -> None:
        (worker,) = workers_of("w")
        pending = prefill(worker, 9000.0)
        door = Door(make, [worker])
        door.index.sent(worker.id, door.asked(2, blocks=19).identity)
        went: list[str] = []
        for number, (name, part, blocks) in enumerate((("a", 1, 10), ("b", 2, 20), ("c", 3, 5))):
            door.wait(
                part, blocks=blocks, now=NOW + number, then=lambda d, name=name: went.append(name)
            )
        assert went == []
        worker.load.prefilled(pending, NOW + 9)
        door.gate.drain(NOW + 9)
        assert "".join(went) == order

    def test_one_after_the_other(self) -> None:
        (worker,) = workers_of("w")
        pending = prefill(worker, 9000.0)
        door = Door(dynamo_fcfs, [worker])
        first, second = door.wait(1, then=taken), door.wait(2, then=taken)
        worker.load.prefilled(pending, NOW)
        door.gate.drain(NOW)
        assert first.decision is not None
        assert second.decision is None
        assert len(door.gate) == 1

    def test_caches_are_looked_up_when_it_goes(self) -> None:
        a, b = workers_of("a", "b")
        pending = [prefill(a, 9000.0), prefill(b, 9000.0)]
        door = Door(dynamo_fcfs, [a, b])
        waiter = door.wait(1)
        door.index.sent(b.id, door.asked(1).identity)
        a.load.prefilled(pending[0], NOW)
        b.load.prefilled(pending[1], NOW)
        door.gate.drain(NOW)
        assert waiter.decision is not None
        assert waiter.decision.worker is b
        assert waiter.decision.blocks == 10


class TestLlmd:
    def door(self, *workers: Worker) -> Door:
        return Door(llmd_fc, workers)

    @pytest.mark.parametrize(("queues", "sent"), [((9, 0), True), ((9, 1), False)])
    def test_the_mean_queue_decides(self, queues: tuple[int, int], sent: bool) -> None:
        a, b = workers_of("a", "b")
        a.load.reported_waiting, b.load.reported_waiting = queues
        door = self.door(a, b)
        assert (door.gate.offer(door.asked(1)) is not None) is sent

    @pytest.mark.parametrize(("usage", "sent"), [(0.79, True), (0.81, False)])
    def test_so_does_kv_usage(self, usage: float, sent: bool) -> None:
        (a,) = workers_of("a")
        a.load.kv_usage = usage
        door = self.door(a)
        assert (door.gate.offer(door.asked(1)) is not None) is sent

    def test_the_larger_of_both_counts(self) -> None:
        a, b = workers_of("a", "b")
        a.load.reported_waiting, a.load.kv_usage = 5, 0.1
        b.load.reported_waiting, b.load.kv_usage = 1, 0.8
        door = self.door(a, b)
        assert door.gate.offer(door.asked(1)) is None

    def test_what_was_sent_since_the_last_metrics_counts(self) -> None:
        (a,) = workers_of("a")
        a.load.reported_waiting, a.load.reported_running = 0, 2
        decode(a, 6)
        door = self.door(a)
        assert door.gate.offer(door.asked(1)) is not None
        decode(a)
        assert door.gate.offer(door.asked(1)) is None

    def test_without_metrics_waiting_requests_count(self) -> None:
        (a,) = workers_of("a")
        decode(a, 50)
        for _ in range(4):
            prefill(a)
        door = self.door(a)
        assert door.gate.offer(door.asked(1)) is not None
        prefill(a)
        assert door.gate.offer(door.asked(1)) is None

    def test_a_saturated_worker_is_not_chosen(self) -> None:
        a, b = workers_of("a", "b")
        a.load.kv_usage, b.load.kv_usage = 0.85, 0.3
        door = self.door(a, b)
        door.index.sent(a.id, door.asked(1).identity)
        decision = door.gate.offer(door.asked(1))
        assert decision is not None
        assert decision.worker is b
        a.load.kv_usage = 0.75
        decision = door.gate.offer(door.asked(1))
        assert decision is not None
        assert decision.worker is a


class TestGate:
    @pytest.fixture
    def worker(self) -> Worker:
        return workers_of("w")[0]

    @pytest.fixture
    def pending(self, worker: Worker) -> PendingPrefill:
        return prefill(worker, 9000.0)

    @pytest.fixture
    def door(self, worker: Worker, pending: PendingPrefill) -> Door:
        return Door(dynamo_fcfs, [worker], limit=3, timeout_s=10.0)

    def test_who_comes_later_waits_too(
        self, door: Door, worker: Worker, pending: PendingPrefill
    ) -> None:
        door.wait(1)
        worker.load.prefilled(pending, NOW)
        assert door.gate.offer(door.asked(2)) is None

    def test_models_wait_apart(self, door: Door, worker: Worker, pending: PendingPrefill) -> None:
        door.wait(1, model="x")
        worker.load.prefilled(pending, NOW)
        assert door.gate.offer(door.asked(2, model="y")) is not None

    def test_it_may_be_one_s_turn_at_once(
        self, door: Door, worker: Worker, pending: PendingPrefill
    ) -> None:
        worker.load.prefilled(pending, NOW)
        assert door.wait(1).decision is not None
        assert len(door.gate) == 0

    def test_too_many_are_turned_away(self, door: Door) -> None:
        for number in range(3):
            door.wait(number)
        with pytest.raises(RouterError) as caught:
            door.wait(4)
        assert caught.value.code == "queue_full"
        assert len(door.gate) == 3

    def test_who_left_is_passed_over(
        self, door: Door, worker: Worker, pending: PendingPrefill
    ) -> None:
        first, second = door.wait(1), door.wait(2)
        door.gate.withdraw(first)
        door.gate.withdraw(first)
        worker.load.prefilled(pending, NOW)
        door.gate.drain(NOW)
        assert first.decision is None
        assert second.decision is not None

    def test_after_all_left_the_next_is_sent_at_once(
        self, door: Door, worker: Worker, pending: PendingPrefill
    ) -> None:
        door.gate.withdraw(door.wait(1))
        worker.load.prefilled(pending, NOW)
        assert door.gate.offer(door.asked(2)) is not None

    def test_waiting_has_an_end(self, door: Door) -> None:
        first, second = door.wait(1, now=NOW), door.wait(2, now=NOW + 5)
        door.gate.expire(NOW + 9)
        assert first.error is None
        door.gate.expire(NOW + 10)
        assert first.error is not None
        assert first.error.code == "queue_timeout"
        assert second.error is None
        assert len(door.gate) == 1

    def test_closing_turns_everybody_away(self, door: Door) -> None:
        waiters = [door.wait(number) for number in range(3)]
        door.gate.close(SHUTTING_DOWN)
        assert [waiter.error for waiter in waiters] == [SHUTTING_DOWN] * 3
        assert len(door.gate) == 0

    def test_without_workers_all_are_told(self, door: Door) -> None:
        waiters = [door.wait(number) for number in range(2)]
        door.workers.clear()
        door.gate.drain(NOW)
        assert all(waiter.error is not None for waiter in waiters)
        assert len(door.gate) == 0

    def test_who_refused_it_is_not_asked_again_while_there_are_others(self) -> None:
        a, b = workers_of("a", "b")
        door = Door(dynamo_fcfs, [a, b])
        pending = prefill(b, 9000.0)
        asked, waiter = door.asked(1), Asked()
        asked.tried = (a,)
        asked.candidates = [b]
        assert door.gate.offer(asked) is None
        door.gate.wait(asked, waiter)
        assert waiter.decision is None  # a is idle
        b.load.prefilled(pending, NOW)
        door.gate.drain(NOW)
        assert waiter.decision is not None
        assert waiter.decision.worker is b

    def test_it_is_if_nobody_else_is_left(self) -> None:
        (a,) = workers_of("a")
        door, waiter = Door(dynamo_fcfs, [a]), Asked()
        asked = door.asked(1)
        asked.tried = (a,)
        door.gate.wait(asked, waiter)
        assert waiter.decision is not None

    def test_what_a_sent_request_sets_off_is_taken_up(
        self, door: Door, worker: Worker, pending: PendingPrefill
    ) -> None:
        later: list[Asked] = []

        def another(decision: Decision) -> None:
            later.append(door.wait(2))

        door.wait(1, then=another)
        worker.load.prefilled(pending, NOW)
        door.gate.drain(NOW)
        assert later[0].decision is not None
        assert len(door.gate) == 0
