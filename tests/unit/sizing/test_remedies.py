"""What does fit instead."""

from dataclasses import replace

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


def test_what_fits_no_machine() -> None:
    (only,) = remedies(model("deepseek-v3"), hardware("l4"), replace(WANTED, context=10**7), 1)
    assert "several" in only
