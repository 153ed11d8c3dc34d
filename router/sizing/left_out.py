"""What a quantized checkpoint leaves in 16 bits: it names modules, by prefixes and patterns (pure)."""

import re
from collections.abc import Mapping
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import Any

from router.sizing.fields import Fields


class Left(Enum):
    """How much."""

    NOTHING = auto()
    """But embeddings, norms, routers and the towers for images, which are small or not counted."""
    ALL_BUT_EXPERTS = auto()
    SOMETHING = auto()
    """Of a size that is not known."""


_NAMES = ("ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules")
_SMALL = re.compile(
    r"lm_head|embed|norm|vis(ion|ual)|image|audio|tower|projector|mtp|nextn|router|conv1d|in_proj_(a|b|ba)\b"
    r"|(mlp|moe|block_sparse_moe|shared_expert)[\\.]*[._]gate\W*$"
)
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_LATENT = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")


def left_out(fields: Fields, quantization: Mapping[str, Any]) -> Left:
    """Ask for the modules of each layer whether they are named; what names none of them makes it unsure."""
    mixed = any(quantization.get(name) for name in ("extra_config", "dynamic", "store_dtype"))
    if mixed or _groups(quantization) > 1:
        return Left.SOMETHING
    entries = [each for name in _NAMES for each in _listed(quantization.get(name))]
    entries = [each for each in entries if not _SMALL.search(each)]
    if not entries:
        return Left.NOTHING
    parts = _parts(fields)
    found = {name for part in parts for name in part if any(_names(each, name) for each in entries)}
    unused = [each for each in entries if not any(_names(each, name) for name in found)]
    others, experts = parts
    whole = bool(experts) and found == set(others)
    return Left.ALL_BUT_EXPERTS if whole and not unused else Left.SOMETHING


def _groups(quantization: Mapping[str, Any]) -> int:
    groups = quantization.get("config_groups")
    return len(groups) if isinstance(groups, dict) else 0


def _listed(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _parts(fields: Fields) -> tuple[list[str], list[str]]:
    """Names of modules: those of every layer that are no routed experts, and the experts'."""
    count, experts = fields.positive("num_hidden_layers"), fields.number("num_experts", 0)
    first = fields.number("first_k_dense_replace", 0) if experts else count
    attention = _LATENT if fields.get("kv_lora_rank") else _ATTENTION
    shared = ["mlp.shared_experts"] if fields.number("n_shared_experts", 0) else []
    others, routed = [], []
    for at in range(min(count, 1000)):
        layer = f"model.layers.{at}"
        others += [f"{layer}.self_attn.{name}" for name in attention]
        blocks = ["mlp"] if at < first else shared
        others += [f"{layer}.{block}.{name}" for block in blocks for name in _MLP]
        if at >= first:
            routed += [f"{layer}.mlp.experts.0.{name}" for name in _MLP]
    return others, routed


def _names(entry: str, module: str) -> bool:
    """`re:` begins a pattern, `*` stands for anything, all else is a name or what a module lies in."""
    if entry.startswith("re:"):
        try:
            return re.match(entry[3:], module) is not None
        except re.error:
            return False
    if "*" in entry:
        return fnmatchcase(module, entry) or fnmatchcase(module, entry + ".*")
    return module == entry or f".{entry}." in f".{module}."
