"""Which layer of a model does what: only some of them keep a KV cache, or all of it (pure)."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from router.sizing.fields import ConfigError, Fields


class Mixer(StrEnum):
    """How a layer lets tokens see each other."""

    FULL = "full attention"
    SLIDING = "attention within a window"
    MAMBA = "Mamba"
    MAMBA2 = "Mamba-2"
    LINEAR = "linear attention"
    KDA = "Kimi Delta Attention"
    BESIDE = "full attention beside Mamba-2"
    ENCODER = "attention without a cache"
    SHARED = "full attention to another layer's cache"
    SHARED_SLIDING = "windowed attention to another layer's cache"
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


EVERYTHING = (Mixer.FULL, Mixer.ENCODER, Mixer.SHARED)
"""These look at all tokens."""

WINDOWED = (Mixer.SLIDING, Mixer.SHARED_SLIDING)
"""These look at the last ones."""

STATES = (Mixer.MAMBA, Mixer.MAMBA2, Mixer.LINEAR, Mixer.KDA, Mixer.BESIDE)
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
_BESIDE = frozenset({"falcon_h1"})
"""Families whose every layer has both, whatever they call it."""
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
    mixers = _sharing(fields, _mixers(fields, count))
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
    if fields.kind in _BESIDE:
        return [Mixer.BESIDE] * count
    said = next((read for name, read in _SAID if fields.get(name)), _windowed)
    return said(fields, count)


_SHARING = {Mixer.FULL: Mixer.SHARED, Mixer.SLIDING: Mixer.SHARED_SLIDING}


def _sharing(fields: Fields, mixers: list[Mixer]) -> list[Mixer]:
    """Gemma 4's last layers look at the cache of the last layer of their kind before them."""
    shared = fields.number("num_kv_shared_layers", 0) if fields.kind == "gemma4_text" else 0
    own = len(mixers) - shared
    if shared and (own < 1 or not set(mixers[own:]) <= set(mixers[:own])):
        raise ConfigError(
            f"`num_kv_shared_layers` is {shared}, which leaves no layer to share with"
        )
    return mixers[:own] + [_SHARING.get(mixer, mixer) for mixer in mixers[own:]]


def _jamba(fields: Fields, count: int) -> list[Mixer]:
    period = fields.positive("attn_layer_period")
    return _every(period, count, Mixer.MAMBA, _offset(fields, period))


def _qwen3_next(fields: Fields, count: int) -> list[Mixer]:
    return _every(fields.positive("full_attention_interval"), count, Mixer.LINEAR)


def _offset(fields: Fields, period: int) -> int:
    offset = fields.number("attn_layer_offset", 0)
    if offset >= period:
        raise ConfigError(
            f"`attn_layer_offset` is {offset}, and `attn_layer_period` {period}: no layer attends"
        )
    return offset


def _named(fields: Fields, count: int) -> list[Mixer]:
    names = fields.listed("layer_types") or fields.listed("layers_block_type")
    if len(names) != count:
        raise ConfigError(f"`layer_types` names {len(names)} layers of {count}")
    mixers = []
    for name in names:
        if not isinstance(name, str) or name not in _NAMES:
            raise ConfigError(f"`layer_types` has {name!r}, of which the size is not known")
        mixers.append(_variant(fields, _NAMES[name]))
    if Mixer.SLIDING in mixers and not window(fields):
        raise ConfigError("`sliding_window` is missing, and `layer_types` has windowed layers")
    return mixers


def _marked(fields: Fields, count: int) -> list[Mixer]:
    """MiMo: 1 for each layer with a window, 0 for the others."""
    marks = fields.listed("hybrid_layer_pattern")
    if len(marks) != count or any(mark not in (0, 1) for mark in marks):
        raise ConfigError(f"`hybrid_layer_pattern` does not name {count} layers by 0 or 1")
    if any(marks) and not window(fields):
        raise ConfigError(
            "`sliding_window` is missing, and `hybrid_layer_pattern` has windowed layers"
        )
    return [Mixer.SLIDING if mark else Mixer.FULL for mark in marks]


def _delta(fields: Fields, count: int) -> list[Mixer]:
    """Kimi Linear: two lists of layers, counted from 1."""
    said = fields.table("linear_attn_config")
    full, kda = said.get("full_attn_layers"), said.get("kda_layers")
    if not isinstance(full, list) or not isinstance(kda, list):
        raise ConfigError("`linear_attn_config` lacks `full_attn_layers` or `kda_layers`")
    numbers = [each for each in (*full, *kda) if type(each) is int]
    if sorted(numbers) != list(range(1, count + 1)) or len(numbers) < len(full) + len(kda):
        raise ConfigError(f"`linear_attn_config` does not name each of {count} layers once")
    return [Mixer.FULL if at + 1 in full else Mixer.KDA for at in range(count)]


def _variant(fields: Fields, mixer: Mixer) -> Mixer:
    """Families call unlike layers alike; the fields that they bring tell."""
    heads = fields.get("mamba_num_heads")
    if mixer is Mixer.LINEAR and not fields.get("linear_num_value_heads"):
        if fields.get("linear_num_heads"):
            return Mixer.KDA
        return Mixer.MAMBA2 if heads else mixer
    return Mixer.MAMBA2 if mixer is Mixer.MAMBA and heads else mixer


def _numbered(fields: Fields, count: int) -> list[Mixer]:
    """MiniMax: 1 for each layer with full attention."""
    if fields.listed("attn_type_list") != [1] * count:
        raise ConfigError(
            f"`attn_type_list` is not {count} ones: MiniMax's lightning attention is not known"
        )
    return [Mixer.FULL] * count


def _indexed(fields: Fields, count: int) -> list[Mixer]:
    """Bamba: a list of the layers that attend, counted from 0."""
    full = fields.listed("attn_layer_indices")
    if any(type(each) is not int or not 0 <= each < count for each in full):
        raise ConfigError(f"`attn_layer_indices` does not name some of {count} layers")
    return [Mixer.FULL if at in full else Mixer.MAMBA2 for at in range(count)]


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


_SAID: tuple[tuple[str, Callable[[Fields, int], list[Mixer]]], ...] = (
    ("hybrid_layer_pattern", _marked),
    ("linear_attn_config", _delta),
    ("layer_types", _named),
    ("layers_block_type", _named),
    ("attn_layer_indices", _indexed),
    ("attn_type_list", _numbered),
    ("attn_layer_period", _jamba),
    ("full_attention_interval", _qwen3_next),
)
"""Fields that say which layer does what, and who reads them."""


def _mlp(fields: Fields, at: int) -> Mlp:
    """Whether layer `at` has experts: each family says it in its own way."""
    if not fields.number("num_experts", 0):
        return Mlp.DENSE
    marks = fields.get("moe_layer_freq")
    if named := fields.listed("mlp_layer_types"):
        return Mlp.EXPERTS if named[at : at + 1] == ["sparse"] else Mlp.DENSE
    if isinstance(marks, list):  # MiMo: 1 for each layer with experts
        return Mlp.EXPERTS if at < len(marks) and marks[at] else Mlp.DENSE
    rules = (
        at < fields.number("moe_layer_start_index", 0),
        _off(at + 1, fields.number("moe_layer_interval", 1), 0),
        _off(at, fields.number("moe_layer_freq", 1), 0),
        at < fields.number("first_k_dense_replace", 0),
        at in fields.listed("mlp_only_layers"),
        _off(at + 1, fields.number("decoder_sparse_step", 1), 0),
        _off(at + 1, fields.number("interleave_moe_layer_step", 1), 0),
        _off(at, fields.number("expert_layer_period", 1), fields.number("expert_layer_offset", 0)),
    )
    return Mlp.DENSE if any(rules) else Mlp.EXPERTS


def _off(at: int, period: int, offset: int) -> bool:
    return period > 1 and at % period != offset % period
