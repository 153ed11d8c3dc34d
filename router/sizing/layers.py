"""Which layer of a model does what: only some of them keep a KV cache, or all of it (pure)."""

from enum import StrEnum
from typing import Any, NamedTuple

from router.sizing.fields import ConfigError, Fields


class Mixer(StrEnum):
    """How a layer lets tokens see each other."""

    FULL = "full attention"
    SLIDING = "attention within a window"
    MAMBA = "Mamba"
    MAMBA2 = "Mamba-2"
    LINEAR = "linear attention"
    ENCODER = "attention without a cache"
    NONE = "none"


class Mlp(StrEnum):
    """What a layer does to each token."""

    DENSE = "dense"
    EXPERTS = "experts"
    NONE = "none"


class Layer(NamedTuple):
    """One layer."""

    mixer: Mixer
    mlp: Mlp


STATES = (Mixer.MAMBA, Mixer.MAMBA2, Mixer.LINEAR)
"""These keep a state of fixed size per request."""

ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "distilbert"})
"""Embedding and reranking models: every prompt is one step, nothing is kept."""

_MOST = 1000
"""Layers."""

_NAMES = {
    "full_attention": Mixer.FULL,
    "attention": Mixer.FULL,
    "sliding_attention": Mixer.SLIDING,
    "chunked_attention": Mixer.SLIDING,
    "linear_attention": Mixer.LINEAR,
    "mamba": Mixer.MAMBA,
    "mamba2": Mixer.MAMBA2,
}
_PATTERN = {
    "M": Layer(Mixer.MAMBA2, Mlp.NONE),
    "*": Layer(Mixer.FULL, Mlp.NONE),
    "-": Layer(Mixer.NONE, Mlp.DENSE),
    "E": Layer(Mixer.NONE, Mlp.EXPERTS),
}
"""Nemotron-H's letters."""


def layers(fields: Fields) -> tuple[Layer, ...]:
    """Every layer, in order."""
    count = fields.positive("num_hidden_layers")
    if count > _MOST:
        raise ConfigError(f"`num_hidden_layers` is {count}, more than any model has")
    if pattern := fields.get("hybrid_override_pattern"):
        return _from_pattern(str(pattern), count)
    mixers = _mixers(fields, count)
    return tuple(Layer(mixer, _mlp(fields, at)) for at, mixer in enumerate(mixers))


def window(fields: Fields) -> int:
    """Tokens that a windowed layer sees; 0 where no window is said."""
    name = "attention_chunk_size" if fields.kind.startswith("llama4") else "sliding_window"
    return fields.number(name, 0)


def _from_pattern(pattern: str, count: int) -> tuple[Layer, ...]:
    if len(pattern) != count or set(pattern) - _PATTERN.keys():
        raise ConfigError(f"`hybrid_override_pattern` does not name {count} layers by M, *, - or E")
    return tuple(_PATTERN[letter] for letter in pattern)


def _mixers(fields: Fields, count: int) -> list[Mixer]:
    if fields.kind in ENCODERS:
        return [Mixer.ENCODER] * count
    if named := fields.listed("layer_types") or fields.listed("layers_block_type"):
        return _named(fields, named, count)
    if fields.get("attn_layer_period"):  # Jamba
        period = fields.positive("attn_layer_period")
        return _every(period, count, Mixer.MAMBA, _offset(fields, period))
    if fields.get("full_attention_interval"):  # Qwen3-Next
        return _every(fields.positive("full_attention_interval"), count, Mixer.LINEAR)
    return _windowed(fields, count)


def _offset(fields: Fields, period: int) -> int:
    offset = fields.number("attn_layer_offset", 0)
    if offset >= period:
        raise ConfigError(
            f"`attn_layer_offset` is {offset}, and `attn_layer_period` {period}: no layer attends"
        )
    return offset


def _named(fields: Fields, names: list[Any], count: int) -> list[Mixer]:
    if len(names) != count:
        raise ConfigError(f"`layer_types` names {len(names)} layers of {count}")
    second = fields.get("mamba_num_heads")
    mixers = []
    for name in names:
        if not isinstance(name, str) or name not in _NAMES:
            raise ConfigError(f"`layer_types` has {name!r}, of which the size is not known")
        mixer = _NAMES[name]
        mixers.append(Mixer.MAMBA2 if mixer is Mixer.MAMBA and second else mixer)
    if Mixer.SLIDING in mixers and not window(fields):
        raise ConfigError("`sliding_window` is missing, and `layer_types` has windowed layers")
    return mixers


def _every(period: int, count: int, others: Mixer, offset: int | None = None) -> list[Mixer]:
    """Full attention in one layer of each `period`: the last, unless an offset says which."""
    at = period - 1 if offset is None else offset
    return [Mixer.FULL if index % period == at else others for index in range(count)]


_PERIODS = {"gpt_oss": 2, "gemma2": 2, "llama4_text": 4}
"""Families that see everything in one layer of so many, where the config does not say."""


def _windowed(fields: Fields, count: int) -> list[Mixer]:
    if not window(fields):
        return [Mixer.FULL] * count
    period = fields.number("sliding_window_pattern", _PERIODS.get(fields.kind, 0))
    if period:
        return _every(period, count, Mixer.SLIDING)
    qwen = fields.kind.startswith("qwen")
    if not fields.flag("use_sliding_window", default=not qwen):
        return [Mixer.FULL] * count
    first = fields.number("max_window_layers", 0) if qwen else 0
    return [Mixer.FULL if index < first else Mixer.SLIDING for index in range(count)]


def _mlp(fields: Fields, at: int) -> Mlp:
    """Whether layer `at` has experts: each family says it in its own way."""
    if not fields.number("num_experts", 0):
        return Mlp.DENSE
    rules = (
        at < fields.number("first_k_dense_replace", 0),
        at in fields.listed("mlp_only_layers"),
        _off(at + 1, fields.number("decoder_sparse_step", 1), 0),
        _off(at + 1, fields.number("interleave_moe_layer_step", 1), 0),
        _off(at, fields.number("expert_layer_period", 1), fields.number("expert_layer_offset", 0)),
    )
    return Mlp.DENSE if any(rules) else Mlp.EXPERTS


def _off(at: int, period: int, offset: int) -> bool:
    return period > 1 and at % period != offset % period
