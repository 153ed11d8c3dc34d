"""The JSON has every figure and every run, and is always the same."""

import json
from dataclasses import asdict, replace

from router.simulate.report_json import FORMAT, as_json
from router.simulate.run_options import Outage
from tests.unit.simulate.studies import EVEN, study_of, workload

WORK = workload(requests=60)


def test_its_fields() -> None:
    study = study_of(WORK)
    document = json.loads(as_json(study, "1.2"))
    runs = document.pop("runs")
    assert document.pop("scenario")["hardware"] == asdict(EVEN.hardware)
    assert document == {
        "format": FORMAT,
        "version": "1.2",
        "trace": "rag",
        "requests": 60,
        "load_1_speed": 1.5,
    }
    for run, outcome in zip(runs, study.outcomes, strict=True):
        assert run == {
            "policy": outcome.policy,
            "load": outcome.load,
            "speed": outcome.speed,
            **asdict(outcome.figures),
        }


def test_the_scenario_is_there() -> None:
    odd = replace(EVEN, seed=3, slow={1: 0.5}, outages=(Outage(0, 1.0, 2.0),), knowledge="none")
    scenario = json.loads(as_json(study_of(WORK, levels=[1.0], scenario=odd), ""))["scenario"]
    del scenario["hardware"]
    assert scenario == {
        "workers": 2,
        "seed": 3,
        "knowledge": "none",
        "metrics_s": 0.05,
        "slow": {"1": 0.5},
        "outages": [{"worker": 0, "start_s": 1.0, "end_s": 2.0}],
        "routers": 1,
        "sharing": "all",
        "sharing_s": 0.005,
    }


def test_it_is_always_the_same() -> None:
    assert as_json(study_of(WORK), "") == as_json(study_of(WORK), "")


def test_speeds_have_no_load() -> None:
    document = json.loads(as_json(study_of(WORK, levels=[3.0], capacity=None), ""))
    assert document["load_1_speed"] is None
    assert {(run["load"], run["speed"]) for run in document["runs"]} == {(None, 3.0)}
