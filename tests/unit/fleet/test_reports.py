"""What is left out of a worker's report, and what is kept of the one before."""

from router.engines.base import WorkerReport
from router.fleet.reports import allowed, completed
from router.fleet.target import Target


def test_what_is_not_said_this_time_is_as_it_was() -> None:
    before = WorkerReport({"m": {}}, 100, 16, 1.5, 2)
    assert completed(WorkerReport({"n": {}}), before) == WorkerReport({"n": {}}, 100, 16, 1.5, 2)
    assert completed(WorkerReport({}, 50, 32, 2.5, 1), before) == WorkerReport({}, 50, 32, 2.5, 1)


def test_only_models_that_are_to_be_asked_of_it_count() -> None:
    report = WorkerReport({"m": {"id": "m"}, "n": {}}, 100)
    assert allowed(report, Target(url="http://a")) is report
    only = allowed(report, Target(url="http://a", models=("m", "x")))
    assert (only.models, only.kv_tokens) == ({"m": {"id": "m"}}, 100)
