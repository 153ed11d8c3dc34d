"""Which numbers a checkpoint is in."""

from typing import Any

import pytest

from router.sizing.fields import ConfigError, Fields
from router.sizing.formats import FORMATS, kv_format, weight_format


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
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "awq"}, "int4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
        ({"quant_method": "compressed-tensors", "config_groups": group("float", 8)}, "fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": group("int", 8)}, "int8"),
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
