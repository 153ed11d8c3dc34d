"""Formulas have the question's numbers in them, and give its results."""

import re

from router.sizing.formulas import formulas
from tests.unit.sizing.questions import NAMES, sizing


def test_the_numbers_are_the_model_s() -> None:
    shown = formulas(sizing())
    assert "= 32 x 2 x 8 x 128 x 2 = 131,072" in shown
    assert "= 1,050,673,152 x 2 + 6,979,588,096 x 2 + 0 x 2 = 16,060,522,496" in shown


def test_blocks_can_be_checked_by_hand() -> None:
    made = re.search(r"= ([\d,]+) / ([\d,]+) = ([\d,]+)\n", formulas(sizing()))
    assert made is not None
    room, each, blocks = (int(number.replace(",", "")) for number in made.groups())
    assert room // each == blocks


def test_a_latent_has_its_own() -> None:
    assert "= 61 x 576 x 2 = 70,272" in formulas(sizing("deepseek-v3", "h200", 8))


def test_talking_is_told_where_there_is_any() -> None:
    assert "all-reduces = 2 x layers" in formulas(sizing(gpus=4, tp=4))
    assert "all-reduces = 2 x layers" not in formulas(sizing())


def test_every_model_has_them() -> None:
    for name in NAMES:
        assert formulas(sizing(name, "h200", 8)).startswith("Formulas\n")
        assert formulas(sizing(name, "l4")).startswith("Formulas\n")


def test_layers_with_other_heads_have_their_own() -> None:
    """Gemma 4's are all of a size, MiMo's values are smaller than its keys."""
    shown = formulas(sizing("gemma-4-31b", "h200"))
    assert "= layers that see everything x 2 x KV heads of it x head size x bytes" in shown
    assert "= 10 x 2 x 4 x 512 x 2 = 81,920" in shown
    assert "= windowed layers x 2 x KV heads of it x head size x bytes" in shown
    assert "= 50 x 2 x 16 x 256 x 2 = 819,200" in shown
    shown = formulas(sizing("mimo-v2-flash", "h200", 8, 4))
    assert "= 9 x 1 x (192 + 128) x 2 = 5,760" in shown
    assert "= 39 x 2 x (192 + 128) x 2 = 49,920" in shown
