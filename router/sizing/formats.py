"""In which numbers weights and KV cache are kept (pure)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from router.sizing.fields import ConfigError, Fields


class Format(NamedTuple):
    """Bytes per parameter, scales included, and which arithmetic multiplies it."""

    name: str
    bytes: float
    arithmetic: str = "bf16"
    """bf16, fp8 or int8: weights of 4 bits are multiplied in bf16."""
    experts_only: bool = False


FORMATS = {
    each.name: each
    for each in (
        Format("fp32", 4.0),
        Format("bf16", 2.0),
        Format("fp8", 1.0, "fp8"),
        Format("int8", 1.0, "int8"),
        Format("int4", 0.5 + 2.5 / 128),  # AWQ and GPTQ: a scale and a zero per 128
        Format("mxfp4", 0.5 + 1 / 32, experts_only=True),  # one byte of scale per 32
        Format("nvfp4", 0.5 + 1 / 16),  # one byte of scale per 16
    )
}
"""By name."""

KV_BYTES = {"bf16": 2, "fp8": 1}
"""Bytes per number in the KV cache."""


def weight_format(fields: Fields) -> Format:
    """What the checkpoint is in: `quantization_config`, else its dtype."""
    quantization = fields.table("quantization_config") or fields.table("compression_config")
    if quantization:
        return FORMATS[_quantized(quantization)]
    dtype = str(fields.get("dtype") or fields.get("torch_dtype") or "")
    if dtype.endswith("float32"):
        fields.assume("weights are served in 16 bits, to which vLLM casts a float32 checkpoint")
    elif "float8" in dtype:
        raise ConfigError(
            f"`dtype` (`torch_dtype`) is {dtype}, and `quantization_config` does not say how; say --weights"
        )
    elif not dtype:
        fields.assume("weights are bf16: neither `dtype` nor `quantization_config` says")
    return FORMATS["bf16"]


def kv_format(fields: Fields) -> str:
    """fp8 where the checkpoint brings scales for it, as vLLM then does, else bf16."""
    scheme = fields.table("quantization_config").get("kv_cache_scheme")
    return "fp8" if isinstance(scheme, dict) and scheme.get("num_bits") == 8 else "bf16"


def _quantized(quantization: Mapping[str, Any]) -> str:
    method = str(quantization.get("quant_method") or "").lower()
    if method in ("fp8", "fbgemm_fp8", "mxfp4"):
        return "mxfp4" if method == "mxfp4" else "fp8"
    if method == "compressed-tensors":
        return _compressed(quantization)
    if method.startswith(("gptq", "awq", "auto-round", "bitsandbytes")):
        four = quantization.get("load_in_4bit") or str(quantization.get("bits", 4)) == "4"
        return "int4" if four and not quantization.get("load_in_8bit") else "int8"
    if method.startswith("modelopt"):
        return "nvfp4" if "FP4" in str(quantization.get("quant_algo") or method).upper() else "fp8"
    raise ConfigError(
        f"`quantization_config.quant_method` is {method or 'missing'!r}, which is not known; say --weights"
    )


def _compressed(quantization: Mapping[str, Any]) -> str:
    groups = quantization.get("config_groups")
    group: Any = next(iter(groups.values()), {}) if isinstance(groups, dict) else {}
    weights: Any = group.get("weights") if isinstance(group, dict) else None
    said = weights if isinstance(weights, dict) else {}
    kind, bits = said.get("type"), said.get("num_bits")
    name = {("float", 8): "fp8", ("int", 8): "int8", ("int", 4): "int4", ("float", 4): "nvfp4"}.get(
        (str(kind), bits if isinstance(bits, int) else 0)
    )
    if name is None:
        raise ConfigError(
            f"`quantization_config.config_groups` has weights of {bits} bits ({kind}), which is not known; say --weights"
        )
    return name
