"""What does fit instead."""

from dataclasses import replace

import pytest

from router.sizing.remedies import remedies
from tests.unit.sizing.questions import WANTED, hardware, model


def test_more_gpus_fewer_bytes_or_a_larger_gpu() -> None:
    assert remedies(model("llama-3.3-70b"), hardware(), WANTED, None) == [
        "--gpus 4: it fits with tensor parallelism over 4",
        "--weights fp8 --gpus 2",
        "--weights int4 --gpus 2",
        "--gpu b200",
    ]


def test_fewer_bytes_on_the_same_gpu() -> None:
    asked = replace(WANTED, context=2000)
    found = remedies(model("qwen3-30b-a3b"), hardware(), asked, None)
    assert "--weights fp8" in found
    assert "--weights int4" in found


def test_a_shorter_context() -> None:
    asked = replace(WANTED, context=120_000)
    found = remedies(model(), hardware("l4"), asked, None)
    assert "--kv fp8" not in found
    (shorter,) = (each for each in found if each.startswith("--context"))
    room = int(shorter.split()[1])
    assert not remedies_needed(room)
    assert remedies_needed(room + 2048)


def remedies_needed(context: int) -> bool:
    from router.sizing.plan import plan

    return not plan(model(), hardware("l4"), replace(WANTED, context=context)).fits


def test_a_size_that_was_asked_for_in_vain() -> None:
    assert "--gpus 4" in remedies(model(), hardware(gpus=2), WANTED, 4) or "--tp 1" in remedies(
        model(), hardware(gpus=2), WANTED, 4
    )


@pytest.mark.parametrize(
    ("gpus", "tp", "expected"),
    [
        (1, 2, ["--tp 1", "--gpus 2"]),
        (3, 8, ["--tp 1", "--gpus 8"]),
    ],
)
def test_a_size_that_needs_more_gpus_than_there_are(
    gpus: int, tp: int, expected: list[str]
) -> None:
    """Llama 3.1 8B fits one L40S, whatever size was asked for."""
    assert remedies(model(), hardware(gpus=gpus), WANTED, tp)[:2] == expected


def test_a_size_that_is_too_small_for_a_70b() -> None:
    """Of each other one both the size and the GPUs are said, and all of them fit."""
    found = remedies(model("llama-3.3-70b"), hardware(gpus=2), WANTED, 2)
    assert found[0] == "--tp 4 --gpus 4"
    assert "--weights int4" in found
    found = remedies(model("llama-3.3-70b"), hardware(), WANTED, 1)
    assert "--weights fp8 --tp 2 --gpus 2" in found


def test_a_checkpoint_in_4_bits_is_not_told_to_be_one() -> None:
    """Kimi K2 Thinking on eight H100: its experts are in `int4` already."""
    found = remedies(model("kimi-k2-thinking"), hardware("h100", 8), WANTED, None)
    assert not any("int4" in each for each in found)


def test_what_fits_no_machine() -> None:
    (only,) = remedies(model("deepseek-v3"), hardware("l4"), replace(WANTED, context=10**7), 1)
    assert "several" in only
