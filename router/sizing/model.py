"""A model as its config.json describes it (pure)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from router.sizing import parameters
from router.sizing.fields import ConfigError, Fields
from router.sizing.formats import FORMATS, Format, kv_format, weight_format
from router.sizing.layers import ENCODERS, STATES, Layer, Mixer, Mlp, layers, window
from router.sizing.parameters import Parameters

CHECKED = frozenset(
    {"llama", "llama4_text", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "qwen3_next"}
    | {
        "deepseek_v2",
        "deepseek_v3",
        "kimi_k2",
        "glm4_moe",
        "gpt_oss",
        "gemma2",
        "gemma3_text",
        "jamba",
        "phi3",
    }
    | {"xlm-roberta", "bert"}
)
"""Families whose count is tested against the published one, or built alike."""


@dataclass(frozen=True, slots=True)
class Model:
    """What sizing needs to know of a model."""

    name: str
    layers: tuple[Layer, ...]
    kinds: dict[Mixer, int]
    """How many layers mix tokens in which way."""
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    latent: int
    """Numbers per token and layer of an MLA cache; 0 for other attention."""
    pair_flop: int
    """Arithmetic for one token that looks at one other, per layer."""
    window: int
    vocab: int
    context: int
    """Longest, in tokens; 0 where the config does not say."""
    parameters: Parameters
    expert_count: int
    expert_choice: int
    mlp_width: int
    """Of all MLPs that one token passes in a layer, side by side."""
    state_bytes: int
    """Per request, whatever its length: states of Mamba and linear attention."""
    weights: Format
    kv: str
    assumed: tuple[str, ...]

    def count(self, *mixers: Mixer) -> int:
        """Layers of these kinds."""
        return sum(self.kinds.get(mixer, 0) for mixer in mixers)

    def stored(self, weights: str | None, kv: str | None) -> "Model":
        """The same model in other numbers."""
        return replace(
            self, weights=FORMATS[weights] if weights else self.weights, kv=kv or self.kv
        )


def read_model(config: Mapping[str, Any], weights: str | None = None) -> Model:
    """From the content of config.json; `weights` names another format than the checkpoint's.

    Raises `ConfigError`, which names what is wrong.
    """
    fields = Fields(config)
    stack = layers(fields)
    experts = fields.number("num_experts", 0)
    if experts and fields.positive("num_experts_per_tok") > experts:
        raise ConfigError(
            f"`num_experts_per_tok` is more than the {experts} experts that there are"
        )
    if fields.kind not in CHECKED:
        fields.assume(f"{fields.kind} is built like a Llama where its config says nothing else")
    heads, size = fields.positive("num_attention_heads"), parameters.head_dim(fields)
    latent = _latent(fields)
    model = Model(
        name=_name(config, fields),
        layers=stack,
        kinds=dict(Counter(layer.mixer for layer in stack if layer.mixer is not Mixer.NONE)),
        hidden=fields.positive("hidden_size"),
        heads=heads,
        kv_heads=parameters.kv_heads(fields),
        head_dim=size,
        latent=latent,
        pair_flop=2 * heads * (_latent_pair(fields) if latent else 2 * size),
        window=window(fields),
        vocab=fields.positive("vocab_size"),
        context=fields.number("max_position_embeddings", 0),
        parameters=parameters.count(fields, stack),
        expert_count=experts,
        expert_choice=fields.number("num_experts_per_tok", 0) if experts else 0,
        mlp_width=_mlp_width(fields, stack),
        state_bytes=sum(_state(fields, layer.mixer) for layer in stack),
        weights=FORMATS[weights] if weights else weight_format(fields),
        kv=kv_format(fields),
        assumed=(),
    )
    return replace(model, assumed=tuple(_assumptions(config, fields, stack)))


def _assumptions(config: Mapping[str, Any], fields: Fields, stack: tuple[Layer, ...]) -> list[str]:
    has_tower = any(config.get(name) for name in ("vision_config", "audio_config"))
    found = ["the towers for images and sound are not counted"] if has_tower else []
    if fields.get("num_key_value_heads") is None and fields.kind not in ENCODERS:
        found.append("`num_key_value_heads` is missing: as many as query heads")
    if any(layer.mixer in STATES for layer in stack):
        found.append(
            "prefixes are kept as cheaply as attention's; vLLM also keeps a copy of the state for each "
            "place that a prompt may go on from"
        )
    return fields.assumed + found


def _name(config: Mapping[str, Any], fields: Fields) -> str:
    named = config.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else fields.kind
    return name.encode("ascii", "replace").decode()[:80]


def _latent(fields: Fields) -> int:
    if not fields.get("kv_lora_rank"):
        return 0
    return fields.positive("kv_lora_rank") + fields.positive("qk_rope_head_dim")


def _latent_pair(fields: Fields) -> int:
    query = fields.positive("qk_nope_head_dim") + fields.positive("qk_rope_head_dim")
    return query + fields.positive("v_head_dim")


def _mlp_width(fields: Fields, stack: tuple[Layer, ...]) -> int:
    mlps = {layer.mlp for layer in stack}
    dense = parameters.mlp_width(fields) if Mlp.DENSE in mlps else 0
    experts = parameters.expert_width(fields) * fields.number("num_experts_per_tok", 0)
    return max(dense, experts if Mlp.EXPERTS in mlps else 0)


def _state(fields: Fields, mixer: Mixer) -> int:
    """Bytes per request: the recurrent state in fp32, the convolution's tail in bf16."""
    if mixer not in STATES:
        return 0
    if mixer is Mixer.MAMBA:
        inner = fields.number("mamba_expand", 2) * fields.positive("hidden_size")
        return inner * (4 * fields.number("mamba_d_state", 16) + 2 * 3)
    if mixer is Mixer.MAMBA2:
        heads, size, state, groups, conv = parameters.mamba2(fields)
        mixed = heads * size + 2 * groups * state
        return 4 * heads * size * state + 2 * mixed * (conv - 1)
    key, value = fields.positive("linear_key_head_dim"), fields.positive("linear_value_head_dim")
    keys, values = (
        fields.positive("linear_num_key_heads"),
        fields.positive("linear_num_value_heads"),
    )
    tail = (2 * keys * key + values * value) * (fields.number("linear_conv_kernel_dim", 4) - 1)
    return 4 * values * key * value + 2 * tail
