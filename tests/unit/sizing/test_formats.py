"""Which numbers a checkpoint is in."""

from typing import Any

import pytest

from router.sizing.fields import ConfigError, Fields
from router.sizing.figures import figures
from router.sizing.formats import FORMATS, Format, kv_format, weight_format
from router.sizing.memory import weight_bytes
from router.sizing.table import table
from tests.unit.sizing.questions import answered, model


def named(**quantization: Any) -> str:
    return weight_format(Fields({"quantization_config": quantization})).name


def group(kind: str, bits: int) -> dict[str, Any]:
    return {"group_0": {"weights": {"type": kind, "num_bits": bits}}}


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "gptq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "w8a16"),
        ({"quant_method": "awq"}, "int4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "w8a16"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
        ({"quant_method": "compressed-tensors", "config_groups": group("float", 8)}, "fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": group("int", 8)}, "w8a16"),
        ({"quant_method": "compressed-tensors", "config_groups": group("int", 4)}, "int4"),
        ({"quant_method": "compressed-tensors", "config_groups": group("float", 4)}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
    ],
)
def test_quantization(quantization: dict[str, Any], name: str) -> None:
    assert named(**quantization) == name


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "aqlm"},
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "compressed-tensors", "config_groups": group("int", 3)},
    ],
)
def test_what_is_not_known_says_what_to_do(quantization: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="say --weights"):
        named(**quantization)


def test_without_quantization_weights_are_bf16() -> None:
    fields = Fields({"dtype": "bfloat16"})
    assert (weight_format(fields).name, fields.assumed) == ("bf16", [])


@pytest.mark.parametrize("config", [{}, {"torch_dtype": "float32"}])
def test_what_is_assumed_is_said(config: dict[str, Any]) -> None:
    fields = Fields(config)
    assert weight_format(fields).name == "bf16"
    assert len(fields.assumed) == 1


def test_a_checkpoint_with_scales_for_its_cache_has_it_in_fp8() -> None:
    scheme = {"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 8}}
    assert kv_format(Fields({"quantization_config": scheme})) == "fp8"
    assert kv_format(Fields({})) == "bf16"


def test_scales_count() -> None:
    assert FORMATS["mxfp4"].bytes == pytest.approx(4.25 / 8)
    assert FORMATS["nvfp4"].bytes == pytest.approx(4.5 / 8)
    assert FORMATS["int4"].bytes == pytest.approx(4.16 / 8, rel=0.001)


def kept(**quantization: Any) -> Format:
    return weight_format(Fields({"num_hidden_layers": 2, "quantization_config": quantization}))


def w8(activations: object, kind: str = "int") -> Format:
    each = {**group(kind, 8)["group_0"], "input_activations": activations}
    return kept(quant_method="compressed-tensors", config_groups={"group_0": each})


def test_weights_alone_in_8_bits_are_multiplied_in_bf16() -> None:
    assert (w8({"num_bits": 8}).name, w8({"num_bits": 8}).arithmetic) == ("int8", "int8")
    assert (w8(None).name, w8(None).arithmetic) == ("w8a16", "bf16")
    assert w8({"num_bits": 8}, "float").arithmetic == "fp8"
    assert w8(None, "float").arithmetic == "bf16"
    assert kept(quant_method="gptq", bits=8).arithmetic == "bf16"


def test_nvfp4_is_multiplied_in_4_bits() -> None:
    assert kept(quant_method="modelopt", quant_algo="NVFP4").arithmetic == "fp4"


@pytest.mark.parametrize(
    ("quantization", "size"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 0.5 + 2.5 / 128),
        ({"quant_method": "awq", "bits": 4, "group_size": 32}, 0.5 + 2.5 / 32),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, 1 + 3 / 128),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, 0.5),
        ({"quant_method": "gptq", "bits": 4, "group_size": "many"}, 0.5 + 2.5 / 128),
    ],
)
def test_scales_are_as_many_as_there_are_groups(quantization: dict[str, Any], size: float) -> None:
    assert kept(**quantization).bytes == pytest.approx(size)


def test_kimi_k2_thinking_has_its_experts_alone_in_4_bits() -> None:
    """The published checkpoint has 594 GB: scales per 32, and all but the experts in bf16."""
    made = model("kimi-k2-thinking")
    assert (made.weights.name, made.weights.experts_only, made.weights.unsure) == (
        "int4",
        True,
        False,
    )
    assert made.weights.bytes == pytest.approx(0.5625)
    assert weight_bytes(made) / 1e9 == pytest.approx(594, abs=1)


def test_parts_that_are_left_out_and_not_known_make_it_unsure() -> None:
    some = {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.self_attn"]}
    made = model(quantization_config=some)
    assert made.weights.unsure
    assert "~ 8.5 GiB" in table(answered(made), [])
    assert "Warning: not understood: which parts" in table(answered(made), [])
    assert figures(answered(made), [])["exact"] == [
        "model.parameters", "model.kv_bytes_per_token", "hardware", "asked", "memory.usable_bytes"
    ]  # fmt: skip
