"""Which models workers serve, and which are missed since their last worker left."""

from dataclasses import replace
from typing import Any

import pytest

from router.engines.base import WorkerReport
from router.errors import RouterError
from router.fleet import fleet as module
from router.fleet.fleet import Fleet
from router.fleet.models import MISSED_S, Missed, serving
from router.fleet.target import Service
from tests.unit.support import fleet_of


def fleet(**models: tuple[str, ...]) -> Fleet:
    """Workers that serve these models."""
    made = fleet_of(*models)
    for worker, names in zip(made, models.values(), strict=True):
        made.set_report(worker, WorkerReport({name: {} for name in names}))
    return made


class TestServing:
    def test_each_model_has_those_that_are_up(self) -> None:
        known = fleet(a=("m", "n"), b=("m",), c=("n",))
        known.mark_down([*known][2], "away")
        assert known.model_workers() == {"m": 2, "n": 1}

    def test_a_server_of_several_ranks_is_one(self) -> None:
        known = fleet(a=("m",))
        (worker,) = known
        known.set_report(worker, WorkerReport({"m": {}}, ranks=3))
        assert known.model_workers() == {"m": 1}

    def test_what_stands_in_is_no_worker(self) -> None:
        known = fleet(a=("m",))
        (worker,) = known
        worker.target = replace(worker.target, service=Service(models={"m": "n"}))
        assert known.model_workers() == {}

    def test_of_those_that_left_none(self) -> None:
        known = fleet(a=("m",), b=("n", "o"))
        known.set_workers(["http://a:8000"])
        assert known.model_workers() == {"m": 1, "n": 0, "o": 0}
        assert serving([], ["x"]) == {"x": 0}


class TestMissed:
    def refused(self, known: Fleet, model: str) -> tuple[int, str]:
        with pytest.raises(RouterError) as caught:
            known.candidates(model)
        return caught.value.status, caught.value.code

    def test_a_model_whose_last_worker_left_is_away_for_an_hour(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client takes 404 for a wrong name, and does not try again."""
        known = fleet(a=("m",), b=("n",))
        now = module.perf_counter()
        known.set_workers(["http://a:8000"])
        assert self.refused(known, "n") == (503, "no_worker_available")
        assert self.refused(known, "x") == (404, "model_not_found")
        assert known.knows_model("n")
        monkeypatch.setattr(module, "perf_counter", lambda: now + MISSED_S + 60)
        assert self.refused(known, "n") == (404, "model_not_found")
        assert not known.knows_model("n")
        assert known.model_workers() == {"m": 1}

    def test_while_others_serve_it_nothing_is_missed(self) -> None:
        known = fleet(a=("m",), b=("m",))
        known.set_workers(["http://a:8000"])
        (a,) = known
        assert [worker.id for worker in known.candidates("m")] == [a.id]
        assert known.model_workers() == {"m": 1}

    def test_an_adapter_that_was_unloaded_is_no_model_any_more(self) -> None:
        known = fleet(a=("m", "adapter"))
        (worker,) = known
        known.set_report(worker, WorkerReport({"m": {}}))
        assert self.refused(known, "adapter") == (404, "model_not_found")
        assert known.model_workers() == {"m": 1}

    def test_a_service_that_goes_is_not_missed(self) -> None:
        missed = Missed()
        (worker,) = fleet(a=("m",))
        worker.target = replace(worker.target, service=Service(models={"m": "n"}))
        missed.left([worker], 0.0)
        assert (missed.misses("m", 1.0), missed.names(1.0)) == (False, [])

    @pytest.mark.parametrize("model", [None, "x"])
    def test_what_was_never_served_is_not_missed(self, model: Any) -> None:
        assert not Missed().misses(model, 0.0)
