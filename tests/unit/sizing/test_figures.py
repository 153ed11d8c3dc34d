"""The answer for programs."""

import json

import pytest

from router.sizing.figures import figures
from tests.unit.sizing.questions import NAMES, sizing


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gpu", ["l4", "h200"])
def test_it_is_json(name: str, gpu: str) -> None:
    made = sizing(name, gpu, 2)
    told = json.loads(json.dumps(figures(made, ["x"]), allow_nan=False))
    assert told["fits"] is made.plan.fits
    assert told["model"]["parameters"] == made.model.parameters.total
    assert told["remedies"] == ["x"]


def test_every_size_is_told() -> None:
    told = figures(sizing(gpus=4), [])
    assert [each["tp"] for each in told["sizes"]] == [1, 2, 4, 8]
    assert told["memory"]["kv_bytes"] > 0
    assert told["fleet"]["capacity"] > told["fleet"]["capacity_round_robin"]
