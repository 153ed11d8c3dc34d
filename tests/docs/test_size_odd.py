"""Configs and questions that strangers wrote: an answer that can be trusted or a message, never a traceback."""

import json
import math
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.sizing.command import size
from router.sizing.fields import ConfigError
from router.sizing.figures import figures
from router.sizing.gpus import GPUS
from router.sizing.layers import Mixer
from router.sizing.memory import token_bytes, weight_bytes, windowed_token_bytes
from tests.unit.sizing.questions import NAMES, config, model, sizing


def asked(content: str | dict[str, Any], *flags: str) -> Result:
    text = content if isinstance(content, str) else json.dumps(content)
    arguments = ["--model-config", "-", "--gpu", "l40s", *flags]
    return CliRunner().invoke(size, arguments, input=text.encode("utf-8", "surrogatepass"))


def llama(**changes: Any) -> dict[str, Any]:
    return {**config("llama-3.1-8b"), **changes}


def told(result: Result) -> str:
    """What was printed by a command that knew what it did."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


GROUPS = {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": "int8"}}}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(llama(vocab_size=10**400), id="a number beyond floats"),
        pytest.param(llama(quantization_config=GROUPS), id="a group that is a word"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["table", "json"])
def test_no_file_ends_in_a_traceback(content: str | dict[str, Any], flags: tuple[str, ...]) -> None:
    told(asked(content, *flags))


def test_half_a_character_is_printed_somehow() -> None:
    told(asked(llama(architectures=["\ud800"])))


def test_a_name_does_not_steer_the_terminal() -> None:
    printed = told(asked(llama(architectures=["\x1b[31m\r\nred"])))
    assert "\x1b" not in printed
    assert "\r" not in printed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tie_word_embeddings", "false"),
        ("quantization_config", "fp8"),
        ("quantization_config", [{"quant_method": "fp8"}]),
        ("dtype", "float8_e4m3fn"),
        ("num_key_value_heads", 64),
    ],
)
def test_a_field_of_a_wrong_kind_is_named(field: str, value: Any) -> None:
    try:
        made = model(**{field: value})
    except ConfigError as error:
        assert field in str(error)  # noqa: PT017 - either is right
    else:
        assert any(field in each or "dtype" in each for each in made.assumed)


def test_four_bits_are_four_bits_however_they_are_written() -> None:
    quantized = {"quant_method": "gptq", "bits": "4"}
    try:
        made = model(quantization_config=quantized)
    except ConfigError:
        return
    assert made.weights.name == "int4"


def test_an_offset_beyond_its_period_is_refused() -> None:
    with pytest.raises(ConfigError, match="attn_layer_offset"):
        model(attn_layer_period=8, attn_layer_offset=9)


NUMBERS = ("--rate", "--shared-prefix", "--utilization", "--reserve", "--cpu-gib", "--network", "--ttft", "--tpot")  # fmt: skip


@pytest.mark.parametrize("option", NUMBERS)
def test_what_is_no_number_is_refused(option: str) -> None:
    result = asked(llama(), option, "nan", "--json")
    assert result.exit_code == 2
    assert option in told(result)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rate", "inf"), ("--ttft", "inf"), ("--tpot", "inf"), ("--reserve", "inf"), ("--cpu-gib", "inf"), ("--network", "1e-308")],
)  # fmt: skip
def test_json_is_json(option: str, value: str) -> None:
    result = asked(llama(), option, value, "--json")
    printed = told(result)
    if result.exit_code == 2:
        return

    def refuse(word: str) -> object:
        raise AssertionError(word)

    json.loads(printed, parse_constant=refuse)


KEYS = {
    "fits", "remedies", "warnings", "exact", "model", "hardware", "asked", "tp", "workers", "why", "smallest_tp_that_fits", "memory",
    "sizes", "fleet", "lmcache", "disaggregation",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gpu", ["l4", "h200"])
def test_figures_have_the_same_names_whatever_fits(name: str, gpu: str) -> None:
    """Programs read them: a model that does not fit has all of them, too; every number is one."""
    found = figures(sizing(name, gpu), [])
    assert found.keys() == KEYS
    assert len({frozenset(each) for each in found["sizes"]}) == 1
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["fits"] == found["fits"]


def attention(hidden: int, heads: int, kv_heads: int, size: int) -> int:
    return 2 * hidden * heads * size + 2 * hidden * kv_heads * size


def test_a_llama_by_hand() -> None:
    """Llama 3.1 8B: 32 layers, 4096 wide, 32 heads of 128, 8 of them for keys and values, MLPs of 14336, 128256 tokens."""
    layer = attention(4096, 32, 8, 128) + 3 * 4096 * 14_336 + 2 * 4096
    parameters = 32 * layer + 4096 + 2 * 128_256 * 4096
    made = model("llama-3.1-8b")
    assert made.parameters.total == parameters == 8_030_261_248
    assert weight_bytes(made) == 2 * parameters
    assert token_bytes(made) == 32 * 2 * 8 * 128 * 2 == 131_072
    found = figures(sizing("llama-3.1-8b", "l40s"), [])
    kv = found["memory"]["kv_bytes"]
    assert found["memory"]["usable_bytes"] == int(GPUS["l40s"].memory_gib * 2**30 * 0.92)
    assert found["sizes"][0]["kv_tokens"] == kv // (131_072 * 16) * 16
    blocks = math.ceil(20_500 / 16)
    assert found["sizes"][0]["requests_at_once"] == kv // (131_072 * 16 * blocks)


def test_a_mixture_of_experts_by_hand() -> None:
    """Mixtral 8x7B: eight experts of 14336, of which two are used."""
    expert = 3 * 4096 * 14_336
    rest = attention(4096, 32, 8, 128) + 8 * 4096 + 2 * 4096
    made = model("mixtral-8x7b")
    assert made.parameters.total == 32 * (8 * expert + rest) + 4096 + 2 * 32_000 * 4096
    assert made.parameters.active == 32 * (2 * expert + rest) + 4096 + 32_000 * 4096


def test_a_latent_cache_by_hand() -> None:
    """DeepSeek-V3: 61 layers that keep 512 + 64 numbers per token, on each of the GPUs alike."""
    made = model("deepseek-v3")
    assert token_bytes(made) == token_bytes(made, 8) == 61 * (512 + 64) * 2
    assert made.weights.name == "fp8"
    assert made.parameters.total == pytest.approx(671_026_419_200, rel=1e-6)


def test_windows_by_hand() -> None:
    """GPT-OSS 20B: 24 layers of 8 heads of 64, every other one with a window of 128 tokens."""
    made = model("gpt-oss-20b")
    assert (made.count(Mixer.FULL), made.count(Mixer.SLIDING), made.window) == (12, 12, 128)
    assert token_bytes(made) == windowed_token_bytes(made) == 12 * 2 * 8 * 64 * 2


def test_a_size_without_workers_misses_something() -> None:
    """A program takes the first size that misses nothing."""
    sizes = figures(sizing("llama-3.1-8b", "l40s", gpus=3), [])["sizes"]
    assert all(each["misses"] for each in sizes if not each["workers"])
