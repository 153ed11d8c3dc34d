"""The set of workers, and who can serve what."""

import logging

import pytest

from router.engines.base import WorkerReport
from router.errors import RouterError
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from tests.unit.support import fleet_of, workers_of

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


def test_sweeping_and_closing_reach_every_pool() -> None:
    fleet = fleet_of("a", "b")
    fleet.sweep()
    fleet.close()
