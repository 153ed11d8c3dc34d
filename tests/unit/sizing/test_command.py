"""`prefix-router size`: what is asked, what is printed, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router.sizing.command import size
from tests.unit.sizing.questions import CONFIGS

SMALL = str(CONFIGS / "llama-3.1-8b.json")
MEDIUM = str(CONFIGS / "llama-3.3-70b.json")


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(size, arguments, input=text)


def test_what_fits_ends_with_0() -> None:
    result = run("--model-config", SMALL, "--gpu", "l40s")
    assert result.exit_code == 0, result.output
    assert "fits, 1 worker of TP 1" in result.output
    assert "Formulas" not in result.output


def test_what_does_not_fit_ends_with_1_and_says_what_does() -> None:
    result = run("--model-config", MEDIUM, "--gpu", "l40s")
    assert result.exit_code == 1
    assert "--gpus 4" in result.output


def test_an_instance_brings_its_gpus_and_memory() -> None:
    result = run("--model-config", SMALL, "--gpu", "g6e.12xlarge", "--tp", "2", "--json")
    told = json.loads(result.output)
    assert (told["hardware"]["gpu"], told["hardware"]["gpus"], told["workers"]) == ("l40s", 4, 2)
    assert told["lmcache"]["cpu_gib"] == 384 / 2 / 2


def test_formats_can_be_others_than_the_checkpoint_s() -> None:
    result = run(
        "--model-config", SMALL, "--gpu", "l40s", "--weights", "int4", "--kv", "fp8", "--json"
    )
    told = json.loads(result.output)["model"]
    assert (told["weights"], told["kv_bytes_per_token"]) == ("int4", 65_536)


def test_an_unknown_quantization_can_be_overruled(tmp_path: Path) -> None:
    config = json.loads(Path(SMALL).read_text()) | {
        "quantization_config": {"quant_method": "novel"}
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused = run("--model-config", str(tmp_path), "--gpu", "l40s")
    assert refused.exit_code == 1
    assert "'novel', which is not known; say --weights" in refused.output
    assert run("--model-config", str(tmp_path), "--gpu", "l40s", "--weights", "fp8").exit_code == 0


def test_the_config_may_come_from_standard_input() -> None:
    assert run("--model-config", "-", "--gpu", "l40s", text=Path(SMALL).read_text()).exit_code == 0


def test_formulas_follow_the_table() -> None:
    result = run("--model-config", SMALL, "--gpu", "l40s", "--formulas")
    assert result.output.index("Model\n") < result.output.index("Formulas\n")


def test_the_list_needs_nothing_else() -> None:
    result = run("--list")
    assert result.exit_code == 0
    assert "g6e.12xlarge" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give --model-config FILE and --gpu NAME."),
        (("--model-config", SMALL), "Give --model-config FILE"),
        (("--model-config", SMALL, "--gpu", "abacus"), "--gpu 'abacus' is not known: l4, a10g"),
        (("--model-config", SMALL, "--gpu", "l40s", "--gpus", "9"), "--gpus"),
        (("--model-config", SMALL, "--gpu", "l40s", "--context", "0"), "--context"),
        (("--model-config", SMALL, "--gpu", "l40s", "--ttft", "0"), "--ttft"),
        (
            ("--model-config", str(CONFIGS / "qwen2.5-7b.json"), "--gpu", "l40s", "--tp", "8"),
            "28 heads and 4 KV heads",
        ),
    ],
)
def test_a_wrong_question_ends_with_2(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("\xff\x00", "is not JSON"),
        ("[]", "is not an object"),
        ("{}", "`num_hidden_layers` is missing"),
        ('{"num_hidden_layers": 2, "vocab_size": "x"}', "`num_attention_heads` is missing"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    result = run("--model-config", str(tmp_path), "--gpu", "l40s")
    assert result.exit_code == 1
    assert "config.json" in result.output
    assert message in result.output


def test_a_file_that_is_not_there() -> None:
    result = run("--model-config", "nowhere.json", "--gpu", "l40s")
    assert result.exit_code == 1
    assert "nowhere.json: No such file or directory" in result.output
