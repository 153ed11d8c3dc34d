"""The set of workers, and who can serve what."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from router.engines.base import Condition, WorkerReport
from router.errors import RouterError
from router.fleet.circuit import CircuitOptions, State
from router.fleet.fleet import Fleet
from router.fleet.worker import WORKER_STATES, Worker
from tests.unit.support import drain, fleet_of, workers_of

URLS = ["http://a:8000", "http://b:8000/base/"]


def empty() -> Fleet:
    return Fleet(None, connect_s=1.0, idle_s=4.0)


def ids(workers: tuple[Worker, ...]) -> set[str]:
    return {worker.id for worker in workers}


class TestWorkers:
    def test_they_are_named_by_their_address(self) -> None:
        fleet = empty()
        fleet.set_workers([*URLS, "https://c", "http://[::1]:9"])
        assert {worker.id for worker in fleet} == {
            "a:8000",
            "b:8000/base",
            "c:443",
            "[::1]:9",
        }
        assert len(fleet) == 4
        worker = fleet.get("b:8000/base")
        assert worker is not None
        assert (worker.url, worker.authority) == ("http://b:8000/base/", b"b:8000")
        assert fleet.get("b:8000") is None

    def test_the_same_worker_twice_is_one(self) -> None:
        fleet = empty()
        fleet.set_workers(["http://a:8000", "a:8000/", "http://A:8000"])
        assert len(fleet) == 1

    def test_known_workers_keep_their_state(self) -> None:
        fleet = empty()
        fleet.set_workers(URLS)
        a = fleet.get("a:8000")
        assert a is not None
        fleet.mark_up(a)
        fleet.set_workers(["http://a:8000", "http://c:8000"])
        assert fleet.get("a:8000") is a
        assert a.up
        assert fleet.get("b:8000/base") is None

    def test_who_leaves_is_told(self) -> None:
        fleet, left = empty(), list[Worker]()
        fleet.on_removed = left.append
        fleet.set_workers(URLS)
        fleet.set_workers(URLS[:1])
        assert [worker.id for worker in left] == ["b:8000/base"]

    def test_whatever_changes_who_can_serve_is_told(self) -> None:
        fleet, seen = empty(), list[tuple[bool, ...]]()
        fleet.on_change = lambda: seen.append(tuple(worker.up for worker in fleet))
        fleet.set_workers(URLS[:1])
        (worker,) = fleet
        report = WorkerReport({"m": {}})
        for _ in range(2):
            fleet.set_report(worker, report)
            fleet.mark_up(worker)
        for _ in range(2):
            fleet.mark_down(worker, "gone")
        fleet.set_workers([])
        assert seen == [(False,), (False,), (True,), (False,), ()]

    def test_they_are_in_the_order_given(self) -> None:
        fleet = empty()
        fleet.set_workers(f"http://{name}:1" for name in "qwertyuiop")
        assert "".join(worker.id[0] for worker in fleet) == "qwertyuiop"
        assert [worker.order for worker in fleet] == list(range(10))

    def test_orders_are_never_given_twice(self) -> None:
        fleet = empty()
        for name in "abcd":
            fleet.set_workers([f"http://{name}:1", "http://z:1"])
        orders = {worker.order for worker in fleet}
        assert len(orders) == 2
        assert max(orders) == 4

    def test_a_wrong_url_changes_nothing(self) -> None:
        fleet = empty()
        fleet.set_workers(URLS)
        with pytest.raises(ValueError, match="scheme"):
            fleet.set_workers(["ftp://x"])
        assert len(fleet) == 2

    def test_the_set_may_change_while_it_is_gone_through(self) -> None:
        fleet = fleet_of("a", "b")
        for _ in fleet:
            fleet.set_workers([])
        assert len(fleet) == 0

    def test_its_repr_is_made_for_operators(self) -> None:
        (worker,) = workers_of("a")
        assert repr(worker) == "<Worker a:8000 up, 0 in flight>"


class TestHealth:
    def test_a_worker_is_down_until_it_passes(self) -> None:
        fleet = fleet_of("a", up=False)
        assert not fleet.ready
        (worker,) = fleet
        fleet.mark_up(worker)
        assert fleet.ready

    def test_a_worker_without_a_model_does_not_make_the_fleet_ready(self) -> None:
        fleet = fleet_of("a", models=())
        assert not fleet.ready

    def test_down_and_up_again(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        fleet = fleet_of("a")
        (worker,) = fleet
        fleet.mark_down(worker, "refused")
        fleet.mark_down(worker, "refused")
        assert (worker.up, worker.failures, worker.last_error) == (False, 2, "refused")
        fleet.mark_up(worker)
        fleet.mark_up(worker)
        assert (worker.up, worker.failures, worker.last_error) == (True, 0, None)
        assert [r.getMessage() for r in caplog.records if "down" in r.message] == [
            "worker a:8000 is down: refused"
        ]

    def test_a_worker_that_never_was_up_is_told_of_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        fleet = fleet_of("a", up=False)
        (worker,) = fleet
        for _ in range(3):
            fleet.mark_down(worker, "refused")
        assert len(caplog.records) == 1

    def test_reports_are_told_only_when_they_change(self) -> None:
        fleet, told = empty(), list[Worker]()
        fleet.on_report = told.append
        fleet.set_workers(URLS[:1])
        (worker,) = fleet
        for tokens in (1000, 1000, 2000):
            fleet.set_report(worker, WorkerReport({"m": {"id": "m"}}, tokens))
        assert told == [worker, worker]

    def test_what_a_worker_does_not_say_this_time_is_as_it_was(self) -> None:
        """Its metrics came too late, perhaps."""
        fleet = fleet_of("a")
        (worker,) = fleet
        whole = WorkerReport({"m": {}}, 1000, 16, 5.0, 1)
        fleet.set_report(worker, whole)
        fleet.set_report(worker, WorkerReport({"m": {}, "n": {}}))
        assert worker.report == replace(whole, models={"m": {}, "n": {}})


def ranks_of(number: int | None) -> WorkerReport:
    return WorkerReport({"m": {}}, ranks=number)


def served_by(fleet: Fleet) -> str:
    return " ".join(worker.id for worker in fleet)


class TestRanks:
    """`a` has several, `b` has one."""

    def fleet(self, ranks: int = 3) -> Fleet:
        fleet = fleet_of("a", "b")
        fleet.set_report(fleet.processes()[0], ranks_of(ranks))
        return fleet

    def test_all_know_what_they_serve_before_anybody_is_told(self) -> None:
        fleet, seen = fleet_of("a"), list[list[str]]()
        (worker,) = fleet

        def fails(worker: Worker) -> None:
            seen.append([model for rank in fleet for model in rank.models])
            raise RuntimeError

        fleet.on_report = fails
        with pytest.raises(RuntimeError):
            fleet.set_report(worker, ranks_of(2))
        assert seen == [["m", "m"]]

    def test_each_is_a_worker_beside_its_first(self) -> None:
        fleet = self.fleet()
        assert served_by(fleet) == "a:8000 a:8000#1 a:8000#2 b:8000"
        assert [worker.rank for worker in fleet] == [0, 1, 2, None]
        first, second, third, other = fleet
        assert fleet.get("a:8000#1") is second
        assert (second.wire_id, second.process) == (b"a:8000#1", "a:8000")
        assert {(each.url, each.authority, each.pool) for each in (first, second, third)} == {
            ("http://a:8000", b"a:8000", first.pool)
        }
        assert len({id(worker.load) for worker in fleet}) == 4
        assert len({worker.order for worker in fleet}) == 4
        assert fleet.processes() == [first, other]
        assert fleet.ranks(third) == (first, second, third)

    def test_all_can_be_sent_requests(self) -> None:
        fleet = self.fleet(2)
        assert ids(fleet.candidates("m")) == {"a:8000", "a:8000#1", "b:8000"}
        assert list(fleet.model_cards()) == ["m"]

    def test_they_are_up_and_down_together(self, caplog: pytest.LogCaptureFixture) -> None:
        fleet = self.fleet()
        for worker in fleet.ranks(fleet.processes()[0]):
            fleet.mark_down(worker, "refused")
            assert [(each.up, each.last_error) for each in fleet] == [
                *[(False, "refused")] * 3,
                (True, None),
            ]
            assert ids(fleet.candidates("m")) == {"b:8000"}
            fleet.mark_up(worker)
            assert [(each.up, each.failures, each.last_error) for each in fleet] == [
                (True, 0, None)
            ] * 4
        assert caplog.messages == ["worker a:8000 is down: refused"] * 3

    def test_new_ones_are_as_well_as_their_first(self) -> None:
        fleet = fleet_of("a")
        (first,) = fleet
        fleet.mark_down(first, "slow")
        fleet.set_report(first, ranks_of(2))
        assert [(each.up, each.last_error) for each in fleet] == [(False, "slow")] * 2

    @pytest.mark.parametrize(
        ("number", "left"),
        [
            (1, "a:8000 b:8000"),
            (2, "a:8000 a:8000#1 b:8000"),
            (4, "a:8000 a:8000#1 a:8000#2 a:8000#3 b:8000"),
            (None, "a:8000 a:8000#1 a:8000#2 b:8000"),
        ],
    )
    def test_their_number_may_change(self, number: int | None, left: str) -> None:
        fleet, gone = self.fleet(), list[str]()
        before = list(fleet)
        fleet.on_removed = lambda worker: gone.append(worker.id)
        fleet.set_report(fleet.processes()[0], ranks_of(number))
        assert served_by(fleet) == left
        assert gone == [worker.id for worker in before if worker not in fleet]
        assert {worker for worker in fleet if worker.id in {each.id for each in before}} <= {
            *before
        }
        assert fleet.processes()[0].rank == (None if number == 1 else 0)

    def test_a_report_is_every_rank_s(self) -> None:
        fleet, told = fleet_of("a", "b"), list[tuple[str, int]]()
        fleet.on_report = lambda worker: told.append((worker.id, len(fleet)))
        for _ in range(2):
            fleet.set_report(fleet.processes()[0], ranks_of(2))
        assert told == [("a:8000", 3), ("a:8000#1", 3)]
        assert {worker.report.ranks for worker in fleet.ranks(fleet.processes()[0])} == {2}

    def test_all_leave_with_their_server(self) -> None:
        fleet, gone = self.fleet(), list[tuple[str, int]]()
        fleet.on_removed = lambda worker: gone.append((worker.id, len(fleet)))
        fleet.set_workers(["http://b:8000"])
        assert gone == [("a:8000", 1), ("a:8000#1", 1), ("a:8000#2", 1)]
        assert served_by(fleet) == "b:8000"

    def test_all_stay_with_their_server(self) -> None:
        fleet = self.fleet()
        before = list(fleet)
        fleet.set_workers(["http://a:8000", "http://b:8000"])
        assert list(fleet) == before

    def test_who_left_moves_nobody_that_is_there(self) -> None:
        fleet = self.fleet(2)
        _, late, _ = fleet
        fleet.set_report(fleet.processes()[0], ranks_of(1))
        fleet.mark_down(late, "lost")
        fleet.set_report(late, ranks_of(5))
        assert fleet.ranks(late) == (late,)
        assert served_by(fleet) == "a:8000 b:8000"
        assert all(worker.up for worker in fleet)


class TestCandidates:
    def test_those_that_serve_the_model(self) -> None:
        fleet = fleet_of("a", "b", "c")
        b = fleet.get("b:8000")
        assert b is not None
        fleet.set_report(b, WorkerReport({"other": {"id": "other"}}))
        assert ids(fleet.candidates("m")) == {"a:8000", "c:8000"}
        assert fleet.candidates("other") == (b,)
        assert len(fleet.candidates(None)) == 3

    def test_those_that_are_up(self) -> None:
        fleet = fleet_of("a", "b")
        a = fleet.get("a:8000")
        assert a is not None
        fleet.mark_down(a, "refused")
        assert ids(fleet.candidates("m")) == {"b:8000"}
        assert ids(fleet.candidates(None)) == {"b:8000"}
        fleet.mark_up(a)
        assert len(fleet.candidates("m")) == 2

    def test_all_when_none_is_up(self) -> None:
        fleet = fleet_of("a", "b", up=False)
        assert len(fleet.candidates("m")) == 2
        assert len(fleet.candidates(None)) == 2

    def test_a_worker_that_left_is_none(self) -> None:
        fleet = fleet_of("a", "b")
        assert len(fleet.candidates("m")) == 2
        fleet.set_workers(["http://a:8000"])
        assert ids(fleet.candidates("m")) == {"a:8000"}

    def test_a_new_adapter_is_served_at_once(self) -> None:
        fleet = fleet_of("a")
        with pytest.raises(RouterError):
            fleet.candidates("lora")
        (worker,) = fleet
        fleet.set_report(worker, WorkerReport({"m": {}, "lora": {}}))
        assert fleet.candidates("lora") == (worker,)

    def test_an_unknown_model_is_the_client_s_mistake(self) -> None:
        with pytest.raises(RouterError) as caught:
            fleet_of("a", models=("m", "n")).candidates("x")
        assert (caught.value.status, caught.value.code) == (404, "model_not_found")
        assert "`m`, `n`" in caught.value.message

    @pytest.mark.parametrize("model", ["m", None])
    def test_before_any_worker_has_answered_nobody_can_tell(self, model: str | None) -> None:
        with pytest.raises(RouterError) as caught:
            empty().candidates(model)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
        fleet = empty()
        fleet.set_workers(URLS)
        if model:
            with pytest.raises(RouterError) as caught:
                fleet.candidates(model)
            assert caught.value.status == 503

    def test_models_asked_for_are_not_kept_unless_served(self) -> None:
        fleet = fleet_of("a")
        for number in range(10):
            with pytest.raises(RouterError):
                fleet.candidates(f"x{number}")
        assert len(fleet._serving) == 0
        assert fleet.serves("m")
        assert not fleet.serves("x1")


class Doctored:
    """A fleet of workers in states that are set by hand; one failure opens a circuit. `now` is its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.now = 100.0
        monkeypatch.setattr("router.fleet.fleet.perf_counter", lambda: self.now)
        self.fleet = Fleet(
            None, connect_s=1.0, idle_s=4.0, circuits=CircuitOptions(failures=1, open_s=5.0)
        )
        self.fleet.set_workers(f"http://{name}:8000" for name in names)
        for worker in self.fleet:
            self.fleet.set_report(worker, WorkerReport({"m": {"id": "m"}}))
            self.fleet.mark_up(worker)

    def be(self, name: str, state: str) -> None:
        """Put a worker into a state."""
        worker = self.fleet.get(f"{name}:8000")
        assert worker is not None
        if state == "drained":
            drain(self.fleet, worker)
        elif state == "down":
            self.fleet.mark_down(worker, "gone")
        elif state == "ejected":
            worker.circuit.failed(self.now)
            self.fleet.hold_back(worker)
        elif state == "retry-after":
            worker.circuit.pause(5.0, self.now)
            self.fleet.hold_back(worker)
        elif state == "elsewhere":
            self.fleet.set_report(worker, WorkerReport({"n": {"id": "n"}}))
        elif state != "up":
            self.fleet.set_condition(worker, Condition(state))

    @property
    def asked(self) -> str:
        """Who can be sent something; `-`: nobody."""
        try:
            return "".join(worker.id[0] for worker in self.fleet.candidates("m"))
        except RouterError:
            return "-"


NEVER = ("drained", "elsewhere")
STATES = ("up", "ejected", "asleep", "paused", "down", "draining", *NEVER)


class TestStates:
    @pytest.mark.parametrize(
        ("first", "second", "asked"),
        [
            ("up", "ejected", "a"),
            ("up", "retry-after", "a"),
            ("up", "asleep", "a"),
            ("up", "paused", "a"),
            ("up", "draining", "a"),
            ("up", "drained", "a"),
            ("up", "down", "a"),
            ("ejected", "ejected", "ab"),
            ("ejected", "retry-after", "ab"),
            ("ejected", "asleep", "a"),
            ("ejected", "down", "a"),
            ("ejected", "drained", "a"),
            ("asleep", "paused", "ab"),
            ("asleep", "down", "a"),
            ("paused", "draining", "a"),
            ("down", "down", "ab"),
            ("down", "draining", "a"),
            ("down", "drained", "a"),
            ("draining", "draining", "ab"),
            ("draining", "drained", "a"),
            ("drained", "drained", "-"),
            ("drained", "elsewhere", "-"),
        ],
    )
    def test_who_is_asked_of_two(
        self, monkeypatch: pytest.MonkeyPatch, first: str, second: str, asked: str
    ) -> None:
        doctored = Doctored(monkeypatch, "a", "b")
        doctored.be("a", first)
        doctored.be("b", second)
        assert doctored.asked == asked

    def test_somebody_is_asked_for_as_long_as_anybody_serves_the_model(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All states of three workers: never empty, never one that is drained, never a worse one beside a better."""
        for states in itertools.product(STATES, repeat=3):
            doctored = Doctored(monkeypatch, "a", "b", "c")
            for name, state in zip("abc", states, strict=True):
                doctored.be(name, state)
            able = {
                name: STATES.index(state)
                for name, state in zip("abc", states, strict=True)
                if state not in NEVER
            }
            asked = doctored.asked
            assert (asked == "-") is (not able), states
            if able:
                ranks = [able[name] for name in asked]
                # asleep and paused are as good as each other; nobody is preferred to what is better
                assert max(ranks) - min(able.values()) <= (1 if min(able.values()) == 2 else 0)

    def test_all_drained_is_no_unknown_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doctored = Doctored(monkeypatch, "a")
        doctored.be("a", "drained")
        for model in ("m", None):
            with pytest.raises(RouterError, match="drained") as raised:
                doctored.fleet.candidates(model)
            assert (raised.value.status, raised.value.retry_after_s) == (503, 1)
        with pytest.raises(RouterError) as raised:
            doctored.fleet.candidates("x")
        assert raised.value.status == 404

    def test_drained_and_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doctored = Doctored(monkeypatch, "a", "b")
        doctored.be("a", "drained")
        assert doctored.asked == "b"
        worker = doctored.fleet.get("a:8000")
        assert worker is not None
        assert not worker.serves
        drain(doctored.fleet, worker, drained=False)
        assert doctored.asked == "ab"

    @pytest.mark.parametrize("condition", ["draining", "asleep", "paused"])
    def test_a_condition_ends_when_another_is_found(
        self, monkeypatch: pytest.MonkeyPatch, condition: str
    ) -> None:
        doctored = Doctored(monkeypatch, "a", "b")
        doctored.be("a", condition)
        assert doctored.asked == "b"
        worker = doctored.fleet.get("a:8000")
        assert worker is not None
        doctored.fleet.set_condition(worker, Condition.SERVING)
        assert doctored.asked == "ab"

    def test_an_ejected_worker_comes_back_slowly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doctored = Doctored(monkeypatch, "a", "b")
        doctored.be("a", "ejected")
        doctored.now += 4.9
        assert doctored.asked == "b"
        doctored.now += 0.2
        assert doctored.asked == "ab"
        worker = doctored.fleet.get("a:8000")
        assert worker is not None
        worker.load.inflight += 1
        assert doctored.asked == "b", "one request at a time"
        worker.circuit.succeeded(doctored.now)
        assert doctored.asked == "ab"
        worker.load.inflight -= 1

    def test_who_is_plain_again_costs_nothing_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doctored = Doctored(monkeypatch, "a", "b")
        doctored.be("a", "retry-after")
        doctored.now += 6.0
        for _ in range(2):
            assert doctored.asked == "ab"
        assert not doctored.fleet._held_back

    def test_who_left_while_held_back_is_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doctored = Doctored(monkeypatch, "a", "b")
        doctored.be("a", "ejected")
        doctored.fleet.set_workers(["http://b:8000"])
        assert doctored.asked == "b"
        assert not doctored.fleet._held_back

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (drain, 1),
            (lambda fleet, worker: fleet.set_condition(worker, Condition.PAUSED), 1),
            (lambda fleet, worker: fleet.set_condition(worker, Condition.SERVING), 0),
        ],
    )
    def test_changes_are_told(self, change: Callable[[Fleet, Worker], None], told: int) -> None:
        fleet, changes = fleet_of("a"), list[None]()
        fleet.on_change = lambda: changes.append(None)
        (worker,) = fleet
        change(fleet, worker)
        assert len(changes) == told

    def test_ranks_share_all_of_it(self) -> None:
        fleet = fleet_of("a")
        (worker,) = fleet
        fleet.set_condition(worker, Condition.PAUSED)
        fleet.set_report(worker, WorkerReport({"m": {}}, ranks=3))
        assert {rank.condition for rank in fleet} == {Condition.PAUSED}
        assert len({id(rank.circuit) for rank in fleet}) == 1
        last = list(fleet)[-1]
        drain(fleet, last)
        fleet.set_condition(last, Condition.SERVING)
        assert {(rank.target.drained, rank.condition) for rank in fleet} == {
            (True, Condition.SERVING)
        }
        fleet.set_report(worker, WorkerReport({"m": {}}, ranks=4))
        assert [rank.target.drained for rank in fleet] == [True] * 4

    @pytest.mark.parametrize(
        ("states", "shown"),
        [
            (["up"], "up"),
            (["ejected"], "ejected"),
            (["retry-after"], "up"),
            (["paused"], "paused"),
            (["asleep", "ejected"], "asleep"),
            (["draining"], "draining"),
            (["drained"], "draining"),
            (["drained", "paused"], "draining"),
            (["drained", "down"], "down"),
            (["ejected", "down"], "down"),
        ],
    )
    def test_what_people_are_shown(
        self, monkeypatch: pytest.MonkeyPatch, states: list[str], shown: str
    ) -> None:
        doctored = Doctored(monkeypatch, "a")
        for state in states:
            doctored.be("a", state)
        (worker,) = doctored.fleet
        assert worker.state(doctored.now) == shown
        assert shown in WORKER_STATES
        if shown == "ejected":
            assert worker.circuit.state(doctored.now + 6.0) is State.PROBATION
            assert worker.state(doctored.now + 6.0) == "probation"


class TestModelCards:
    def test_the_first_worker_s_card_with_the_shortest_context(self) -> None:
        fleet = fleet_of("a", "b", "c")
        for worker, length in zip(fleet, (4096, 2048, None), strict=True):
            card = {"id": "m", "max_model_len": length, "owned_by": worker.id}
            fleet.set_report(worker, WorkerReport({"m": card}))
        first = next(iter(fleet))
        assert fleet.model_cards() == {
            "m": {"id": "m", "max_model_len": 2048, "owned_by": first.id}
        }
        assert first.report.models["m"]["max_model_len"] == 4096, "reports are not changed"

    def test_no_worker_no_model(self) -> None:
        assert empty().model_cards() == {}


class WatchedPool:
    """Notes when it is swept and looked at."""

    def __init__(self) -> None:
        self.swept = 0
        self.looks: list[tuple[float, bool]] = []
        self.busy = True
        self.retired = self.closed = False

    def sweep(self) -> None:
        self.swept += 1

    def look(self, now: float, *, up: bool) -> None:
        self.looks.append((now, up))

    def drop_idle(self) -> None:
        pass

    def retire(self) -> None:
        self.retired = True

    def close(self, reason: RouterError) -> None:
        self.closed = True


class TestSweeping:
    @staticmethod
    def watch(doctored: Doctored, name: str) -> WatchedPool:
        worker, pool = doctored.fleet.get(f"{name}:8000"), WatchedPool()
        assert worker is not None
        worker.pool = pool  # type: ignore[assignment]
        return pool

    def test_answers_are_looked_at_once_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doctored = Doctored(monkeypatch, "a", "b")
        a, b = self.watch(doctored, "a"), self.watch(doctored, "b")
        doctored.be("b", "down")
        for step in range(5):
            doctored.now = 200.0 + step * 0.5
            doctored.fleet.sweep()
        assert (a.swept, b.swept) == (5, 5)
        assert a.looks == [(200.0, True), (201.5, True)], "more than a second after the last"
        assert b.looks == [(200.0, False), (201.5, False)]

    def test_answers_of_who_left_are_still_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its running answers may end; one that never does would be held for ever."""
        doctored = Doctored(monkeypatch, "a", "b")
        a = self.watch(doctored, "a")
        doctored.fleet.set_workers(["http://b:8000"])
        assert a.retired
        doctored.now = 200.0
        doctored.fleet.sweep()
        assert len(a.looks) == 1
        doctored.fleet.close()
        assert a.closed, "with the others, when the router stops"
        a.busy, doctored.now = False, 210.0
        for _ in range(2):
            doctored.fleet.sweep()
            doctored.now += 10.0
        assert len(a.looks) == 1, "who has nothing open any more is forgotten"


def test_sweeping_and_closing_reach_every_pool() -> None:
    fleet = fleet_of("a", "b")
    fleet.sweep()
    fleet.close()
