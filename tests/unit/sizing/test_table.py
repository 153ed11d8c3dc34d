"""The answer as text."""

from router.sizing.table import LEGEND, listing_lines, table, verdict
from tests.unit.sizing.questions import NAMES, sizing


def test_it_begins_with_whether_it_fits_and_ends_with_what_is_estimated() -> None:
    shown = table(sizing(), [])
    assert shown.startswith("LlamaForCausalLM on 1 x l40s (pcie4): fits, 1 worker of TP 1.\n")
    assert shown.endswith(LEGEND)


def test_what_does_not_fit_says_why_and_what_does() -> None:
    shown = table(sizing("llama-3.3-70b"), ["--gpus 4"])
    assert "does not fit. It needs 4 GPUs." in shown
    assert "Any of these does:\n  --gpus 4\n" in shown


def test_why_weights_do_not_fit() -> None:
    assert "Weights and reserve take" in verdict(sizing("deepseek-v3", "l4"))


def test_why_a_request_does_not_fit() -> None:
    shown = verdict(sizing(gpu="l4", context=120_000, tp=1))
    assert "tokens, a request has 120,500." in shown


def test_a_prompt_that_is_too_long_for_the_model_is_said() -> None:
    shown = verdict(sizing("bge-m3", context=20_000))
    assert "Warning: the model's longest context is 8,194 tokens." in shown


def test_what_is_assumed_is_said() -> None:
    assert "Assumed: vocab_size is 262,208" in table(sizing("gemma-3-27b", "h200"), [])


def test_every_model_s_lines_are_short_and_plain() -> None:
    answers = [sizing(name, "h200", 8) for name in NAMES]
    answers.append(sizing("llama-3.3-70b", "l40s", 8, rate=0.5))
    for answer in answers:
        for line in table(answer, []).splitlines():
            assert len(line) <= 100, line
            assert line == line.rstrip()
            assert line.isascii()


def test_columns() -> None:
    rows = [("name", "n"), ("a", "10")]
    assert list(listing_lines(rows)) == ["  name   n", "  a     10"]


def test_bridged_pairs_are_told_from_what_talks_over_pcie() -> None:
    shown = " ".join(table(sizing("llama-3.3-70b", "h100-nvl", 8), []).split())
    assert "over NVLink at 300 GB/s each way (2 GPUs; more of them over PCIe at 64 GB/s" in shown
    assert "more of them" not in table(sizing("llama-3.3-70b", "h100", 8), [])
