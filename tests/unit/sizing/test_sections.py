"""Which figures are told of which model."""

from dataclasses import replace

from router.sizing.sections import Line, sections
from router.sizing.sizing import Around, answer
from tests.unit.sizing.questions import WANTED, hardware, model, sizing


def lines(*arguments: str, **wanted: float) -> dict[str, Line]:
    """By label; later sections win."""
    made = sizing(*arguments, **wanted)  # type: ignore[arg-type]
    return {line.label: line for section in sections(made) for line in section.lines}


def test_bytes_of_the_model_are_exact_and_what_rests_on_the_reserve_is_not() -> None:
    told = lines()
    exact = {label for label, line in told.items() if not line.estimate}
    assert {"parameters", "weights", "KV cache per token", "usable"} <= exact
    assert not exact & {
        "reserve",
        "KV tokens",
        "requests at once",
        "TPOT",
        "moving",
        "keeps up with",
    }


def test_a_reserve_that_was_seen_makes_the_cache_exact() -> None:
    asked = replace(hardware(), reserve_gib=2.0)
    made = answer(model(), asked, WANTED, Around(64.0, 50.0), None)
    told = {line.label: line for section in sections(made) for line in section.lines}
    assert told["reserve"] == Line("reserve", "2.0 GiB", "as told")
    assert not told["KV cache"].estimate
    assert not told["KV tokens"].estimate


def test_a_window_is_told_beside_the_rest() -> None:
    told = lines("gpt-oss-20b")
    assert told["KV cache per token"].value == "24 KiB"
    assert told["  within the window"].note == "the last 128 tokens"
    assert "KV cache per token" not in lines("mistral-7b")


def test_a_state_is_told() -> None:
    assert lines("qwen3-next-80b", "h200", gpus=4)["state per request"].value == "73.69 MiB"


def test_a_model_that_does_not_fit_has_no_speeds() -> None:
    assert "TPOT" not in lines("llama-3.3-70b")


def test_an_encoder_has_neither_answers_nor_tiers() -> None:
    told = lines("bge-m3", context=512)
    assert not {"TPOT", "KV tokens", "pays"} & told.keys()
    assert "prefill" in told


def test_a_rate_is_told_in_workers() -> None:
    told = lines(rate=1.0)
    assert told["for 1 requests/s"].value.endswith("workers")
    assert "hit rate 60 %" in told["for 1 requests/s"].note
    assert lines(rate=1e9)["for 1e+09 requests/s"].value == "no number of workers"


def test_round_robin_is_told_where_there_are_several_workers() -> None:
    assert "  with round robin" in lines(gpus=2, tp=1)
    assert "  with round robin" not in lines()
