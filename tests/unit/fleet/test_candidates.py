"""Who is asked: those that serve, then who stands in for them, then whoever may be back."""

import pytest

from router.engines.base import Condition
from router.errors import RouterError
from router.fleet.candidates import able, services
from router.fleet.fleet import Fleet
from router.fleet.target import Role, Service, Target
from router.fleet.worker import Worker
from tests.unit.support import drain, fleet_of

SERVICE = Target(url="https://cloud.example", service=Service({"m": "there"}, "key"))


def mixed(*names: str) -> Fleet:
    """Workers of these names that serve `m`, and a service that stands in for it."""
    fleet = fleet_of(*names)
    fleet.set_targets([*(worker.target for worker in fleet), SERVICE])
    return fleet


def ids(workers: tuple[Worker, ...]) -> list[str]:
    return [worker.id for worker in workers]


def test_a_service_is_there_at_once_and_is_asked_nothing() -> None:
    fleet = Fleet(None, connect_s=1.0, idle_s=4.0)
    fleet.set_targets([SERVICE])
    (worker,) = fleet
    assert worker.serves
    assert fleet.ready
    assert fleet.processes() == []
    assert fleet.model_cards()["m"]["root"] == "m"
    assert "key" not in repr(worker.target)


def test_it_stands_in_while_nobody_serves() -> None:
    fleet = mixed("a")
    a = next(iter(fleet))
    assert ids(fleet.candidates("m")) == ["a:8000"]
    fleet.mark_down(a, "gone")
    assert ids(fleet.candidates("m")) == ["cloud.example:443"]
    fleet.mark_up(a)
    assert ids(fleet.candidates("m")) == ["a:8000"]


@pytest.mark.parametrize("how", ["drained", "leaving", "asleep", "ejected"])
def test_whatever_keeps_workers_from_serving(how: str) -> None:
    fleet = mixed("a")
    a = next(iter(fleet))
    if how == "drained":
        drain(fleet, a)
    elif how == "leaving":
        fleet.set_targets([Target(url=a.url, leaving=True), SERVICE])
    elif how == "asleep":
        fleet.set_condition(a, Condition.ASLEEP)
    else:
        while not a.circuit.open_for(0.0):
            a.circuit.failed(0.0)
        a.circuit.pause(1000.0, 10_000_000.0)
        fleet.hold_back(a)
    assert ids(fleet.candidates("m")) == ["cloud.example:443"]


def test_it_does_not_stand_in_for_other_models() -> None:
    fleet = mixed("a")
    with pytest.raises(RouterError) as refused:
        fleet.candidates("other")
    assert refused.value.status == 404


class TestOrder:
    def test_workers_that_leave_come_last(self) -> None:
        fleet = fleet_of("a", "b")
        a, b = fleet
        fleet.set_targets([Target(url=a.url, leaving=True), b.target])
        assert ids(able(fleet, "m")) == ["b:8000"]
        fleet.mark_down(b, "gone")
        assert ids(able(fleet, "m")) == ["b:8000"], "it may be back; the other will be gone"
        fleet.set_targets([Target(url=a.url, leaving=True)])
        assert ids(able(fleet, "m")) == ["a:8000"]

    def test_one_that_somebody_drained_gets_nothing(self) -> None:
        fleet = fleet_of("a")
        (a,) = fleet
        fleet.set_targets([Target(url=a.url, drained=True)])
        assert able(fleet, "m") == ()
        with pytest.raises(RouterError, match="drained"):
            fleet.candidates("m")

    def test_workers_for_prefill_alone_get_no_whole_requests(self) -> None:
        fleet = fleet_of("a", "b")
        a, b = fleet
        fleet.set_targets(
            [Target(url=a.url, role=Role.PREFILL), Target(url=b.url, role=Role.DECODE)]
        )
        assert ids(able(fleet, "m")) == ["b:8000"]

    def test_only_models_that_are_to_be_asked_of_it(self) -> None:
        fleet = fleet_of("a", models=("m", "n"))
        (a,) = fleet
        fleet.set_targets([Target(url=a.url, models=("n",))])
        assert able(fleet, "m") == ()
        assert ids(able(fleet, "n")) == ["a:8000"]

    def test_services_alone(self) -> None:
        fleet = mixed("a")
        assert ids(services(fleet, "m")) == ["cloud.example:443"]
        assert services(fleet, None) == services(fleet, "other") == ()
        drain(fleet, list(fleet)[1])
        assert services(fleet, "m") == ()

    def test_what_names_no_model_is_for_no_service(self) -> None:
        fleet = mixed("a")
        fleet.mark_down(next(iter(fleet)), "gone")
        assert ids(able(fleet, None)) == ["a:8000"]

    def test_a_service_s_models_may_change(self) -> None:
        fleet = mixed("a")
        changed = Target(url=SERVICE.url, service=Service({"n": "n"}))
        fleet.set_targets([changed])
        assert list(fleet.model_cards()) == ["n"]


def test_nobody_is_there_at_all() -> None:
    with pytest.raises(RouterError) as caught:
        fleet_of().candidates("m")
    assert caught.value.message.startswith("There are no workers: ")
    silent = fleet_of("a", models=())
    with pytest.raises(RouterError) as caught:
        silent.candidates("m")
    assert caught.value.message.endswith("none of them has answered /v1/models.")
