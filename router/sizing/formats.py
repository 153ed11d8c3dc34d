"""In which numbers weights and KV cache are kept (pure)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from router.sizing.fields import ConfigError, Fields, shown
from router.sizing.left_out import Left, left_out


class Format(NamedTuple):
    """Bytes per parameter, scales included, and which arithmetic multiplies it."""

    name: str
    bytes: float
    arithmetic: str = "bf16"
    """bf16, fp8, int8 or fp4; weights that are only kept smaller are multiplied in bf16."""
    experts_only: bool = False
    unsure: bool = False
    """Whether the checkpoint leaves parts out whose size is not known here."""


FORMATS = {
    each.name: each
    for each in (
        Format("fp32", 4.0),
        Format("bf16", 2.0),
        Format("fp8", 1.0, "fp8"),
        Format("int8", 1.0, "int8"),
        Format("w8a16", 1.0),  # int8 that bf16 activations are multiplied with
        Format("int4", 0.5 + 2.5 / 128),  # AWQ and GPTQ: a scale and a zero per 128
        Format("mxfp4", 0.5 + 1 / 32, experts_only=True),  # one byte of scale per 32
        Format("nvfp4", 0.5 + 1 / 16, "fp4"),  # one byte of scale per 16
    )
}
"""By name."""

KV_BYTES = {"bf16": 2, "fp8": 1}
"""Bytes per number in the KV cache."""


def weight_format(fields: Fields) -> Format:
    """What the checkpoint is in: `quantization_config`, else its dtype."""
    quantization = fields.table("quantization_config") or fields.table("compression_config")
    if quantization:
        return _with_left_out(
            fields, quantization, _grouped(_quantized(quantization), quantization)
        )
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


def _quantized(quantization: Mapping[str, Any]) -> Format:
    method = str(quantization.get("quant_method") or "").lower()
    if method in ("fp8", "fbgemm_fp8", "mxfp4"):
        return FORMATS["mxfp4" if method == "mxfp4" else "fp8"]
    if method == "compressed-tensors":
        return _compressed(quantization)
    if method.startswith(("gptq", "awq", "auto-round", "bitsandbytes")):
        four = quantization.get("load_in_4bit") or str(quantization.get("bits", 4)) == "4"
        return FORMATS["int4" if four and not quantization.get("load_in_8bit") else "w8a16"]
    if method.startswith("modelopt"):
        return _modelopt(quantization, method)
    raise ConfigError(
        f"`quantization_config.quant_method` is {method or 'missing'!r}, which is not known; say --weights"
    )


def _modelopt(quantization: Mapping[str, Any], method: str) -> Format:
    named = str(quantization.get("quant_algo") or method).upper()
    if "FP4" in named:
        return FORMATS["nvfp4"]
    if "FP8" in named or named == "MODELOPT":
        return FORMATS["fp8"]
    raise ConfigError(
        f"`quantization_config.quant_algo` is {shown(named)}, which is not known; say --weights"
    )


_COMPRESSED = {("float", 8): "fp8", ("int", 8): "int8", ("int", 4): "int4", ("float", 4): "nvfp4"}


def _compressed(quantization: Mapping[str, Any]) -> Format:
    group, said = _group(quantization)
    kind, bits = said.get("type"), said.get("num_bits")
    name = _COMPRESSED.get((str(kind), bits if isinstance(bits, int) else 0))
    if name is None:
        raise ConfigError(
            f"`quantization_config.config_groups` has weights of {bits} bits ({kind}), which is not known; say --weights"
        )
    if group.get("input_activations"):
        return FORMATS[name]
    return FORMATS["w8a16"] if name == "int8" else FORMATS[name]._replace(arithmetic="bf16")


def _with_left_out(fields: Fields, quantization: Mapping[str, Any], made: Format) -> Format:
    """What a checkpoint keeps in 16 bits; MXFP4's do so with all but experts anyway."""
    left = Left.NOTHING if made.experts_only else left_out(fields, quantization)
    return made._replace(
        experts_only=made.experts_only or left is Left.ALL_BUT_EXPERTS,
        unsure=left is Left.SOMETHING,
    )


def _group(quantization: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The first group of compressed-tensors, and what it says of weights."""
    groups = quantization.get("config_groups")
    group: Any = next(iter(groups.values()), {}) if isinstance(groups, dict) else {}
    group = group if isinstance(group, dict) else {}
    weights = group.get("weights")
    return group, weights if isinstance(weights, dict) else {}


def _grouped(format_: Format, quantization: Mapping[str, Any]) -> Format:
    """Scales of the checkpoint's own group size; they have 16 bits, and zeros as many as the weights."""
    said = _group(quantization)[1] or quantization
    size = said.get("group_size")
    bits = {"int4": 4, "int8": 8, "w8a16": 8}.get(format_.name)
    if bits is None or type(size) is not int or not -1 <= size <= 10**6:
        return format_
    zero = 0 if said.get("symmetric") is True or said.get("zero_point") is False else bits / 8
    return format_._replace(bytes=bits / 8 + ((2 + zero) / size if size > 0 else 0))
