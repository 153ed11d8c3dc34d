"""A study as JSON: the scenario, and the figures of each run."""

import json
from dataclasses import asdict
from typing import Any

from router.simulate.study import Study

FORMAT = 1


def as_json(study: Study, version: str) -> str:
    """Units are in the names; shares are from 0 to 1. The same study always gives the same text."""
    plan = study.plan
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": version,
        "trace": study.workload.name,
        "requests": study.requests,
        "load_1_speed": plan.capacity,
        "scenario": _scenario(study),
        "runs": [
            {
                "policy": outcome.policy,
                "load": outcome.load,
                "speed": outcome.speed,
                **asdict(outcome.figures),
            }
            for outcome in study.outcomes
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _scenario(study: Study) -> dict[str, Any]:
    scenario = asdict(study.plan.scenario)
    scenario["slow"] = {str(worker): speed for worker, speed in scenario["slow"].items()}
    return scenario
