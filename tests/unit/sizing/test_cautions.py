"""Warnings."""

import pytest

from router.sizing.cautions import cautions
from router.sizing.figures import figures
from router.sizing.table import verdict
from tests.unit.sizing.questions import answered, model, sizing


def test_a_well_known_model_has_none() -> None:
    assert cautions(sizing()) == []


@pytest.mark.parametrize("gpu", ["l4", "h200"])
def test_a_context_beyond_the_model_s_is_said_whether_it_fits_or_not(gpu: str) -> None:
    asked = answered(model(max_position_embeddings=40_960), gpu, context=200_000)
    assert asked.plan.fits is (gpu == "h200")
    assert "Warning: the model's longest context is 40,960 tokens." in verdict(asked)
    assert figures(asked, [])["warnings"] == ["the model's longest context is 40,960 tokens"]
    assert figures(asked, [])["model"]["longest_context"] == 40_960
