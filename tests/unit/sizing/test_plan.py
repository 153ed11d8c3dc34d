"""Which tensor parallel size is taken, and why."""

from dataclasses import replace

import pytest

from router.sizing.plan import plan, sizes
from tests.unit.sizing.questions import WANTED, hardware, model


def test_heads_must_divide() -> None:
    assert sizes(model()) == [1, 2, 4, 8]
    assert sizes(model("qwen2.5-7b")) == [1, 2, 4]  # 28 heads
    assert sizes(model("llama-4-scout")) == [1, 2, 4, 8]
    assert sizes(model("deepseek-v3")) == [1, 2, 4, 8]


def test_the_smallest_that_meets_all_and_does_nearly_the_most_is_taken() -> None:
    made = plan(model("gpt-oss-20b"), hardware(gpus=8), WANTED)
    assert (made.chosen.tp, made.smallest) == (1, 1)
    assert made.why == "meets the objectives"


def test_a_wider_one_is_taken_where_it_does_much_more() -> None:
    made = plan(model("llama-3.3-70b").stored("fp8", None), hardware("h100", 8), WANTED)
    assert made.chosen.tp == 4
    assert made.why == (
        "meets the objectives; TP 1 does not fit; TP 2 keeps up with fewer requests/s"
    )


def test_why_a_smaller_one_is_not() -> None:
    made = plan(
        model("llama-3.3-70b"), hardware("h100", 8), replace(WANTED, context=2000, concurrency=200)
    )
    assert made.chosen.tp == 4
    assert made.why == ("meets the objectives; TP 1 does not fit; TP 2 misses concurrency")


def test_the_nearest_is_taken_where_none_meets_all() -> None:
    made = plan(model("llama-3.3-70b"), hardware(gpus=8), WANTED)
    assert made.fits
    assert made.why == "nearest to the objectives; misses " + ", ".join(made.chosen.misses())


def test_what_needs_more_gpus_does_not_fit() -> None:
    made = plan(model("llama-3.3-70b"), hardware(gpus=2), WANTED)
    assert (made.fits, made.smallest, made.chosen.tp) == (False, 4, 4)


def test_what_fits_nowhere() -> None:
    made = plan(model("deepseek-v3"), hardware("l4", 8), WANTED)
    assert (made.fits, made.smallest) == (False, None)


def test_the_one_that_was_asked_for_is_taken() -> None:
    made = plan(model(), hardware(gpus=4), WANTED, 4)
    assert (made.chosen.tp, made.why, made.fits) == (4, "as asked", True)
    assert not plan(model(), hardware(gpus=2), WANTED, 4).fits


def test_what_cannot_be_cut_so_is_said() -> None:
    with pytest.raises(
        ValueError, match="28 heads and 4 KV heads can be cut into 1, 2, 4, not into 8"
    ):
        plan(model("qwen2.5-7b"), hardware(gpus=8), WANTED, 8)


def test_bridges_join_pairs_and_more_gpus_are_as_slow_as_pcie() -> None:
    made = hardware("h100-nvl", 8)
    assert [made.link_of(tp).name for tp in (1, 2, 4, 8)] == [
        "nvlink3",
        "nvlink3",
        "pcie5",
        "pcie5",
    ]
    assert hardware("h100", 8).link_of(8).name == "nvlink4"
    options = plan(model("llama-3.3-70b"), made, WANTED).options
    assert [each.speed.link.name for each in options] == ["nvlink3", "nvlink3", "pcie5", "pcie5"]


def test_windows_of_other_heads_must_be_cut_too() -> None:
    made = model("mimo-v2-flash", swa_num_attention_heads=12, swa_num_key_value_heads=4)
    assert sizes(made) == [1, 2, 4]
