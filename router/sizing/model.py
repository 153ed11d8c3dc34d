"""A model as its config.json describes it (pure)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from router.sizing import attention, parameters
from router.sizing.attention import Heads, heads
from router.sizing.fields import ConfigError, Fields
from router.sizing.formats import FORMATS, Format, kv_format, weight_format
from router.sizing.layers import ENCODERS, STATES, Layer, Mixer, Mlp, layers, window
from router.sizing.parameters import Parameters
from router.sizing.states import state_bytes
from router.sizing.understood import not_understood


@dataclass(frozen=True, slots=True)
class Model:
    """What sizing needs to know of a model."""

    name: str
    layers: tuple[Layer, ...]
    kinds: dict[Mixer, int]
    """How many layers mix tokens in which way."""
    hidden: int
    full: Heads
    """Of layers that see everything."""
    windowed: Heads
    """Of layers with a window."""
    latent: int
    """Numbers per token and layer of an MLA cache; 0 for other attention."""
    pair_flop: int
    """Arithmetic for one token that looks at one other, per layer that sees everything."""
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
    not_understood: tuple[str, ...]
    """What may make the figures wrong, in words."""

    @property
    def unsure(self) -> bool:
        """Whether even what is counted may be wrong."""
        return bool(self.not_understood)

    def count(self, *mixers: Mixer) -> int:
        """Layers of these kinds; those with full attention beside something else count as that, too."""
        wanted = {*mixers, Mixer.BESIDE} if Mixer.FULL in mixers else mixers
        return sum(self.kinds.get(mixer, 0) for mixer in wanted)

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
    full, latent = heads(fields), attention.latent(fields)
    model = Model(
        name=_name(config, fields),
        layers=stack,
        kinds=dict(Counter(layer.mixer for layer in stack if layer.mixer is not Mixer.NONE)),
        hidden=fields.positive("hidden_size"),
        full=full,
        windowed=heads(fields, Mixer.SLIDING),
        latent=latent,
        pair_flop=attention.latent_pair_flop(fields) if latent else full.pair_flop,
        window=window(fields),
        vocab=fields.positive("vocab_size"),
        context=_context(fields),
        parameters=parameters.count(fields, stack),
        expert_count=experts,
        expert_choice=fields.number("num_experts_per_tok", 0) if experts else 0,
        mlp_width=_mlp_width(fields, stack),
        state_bytes=sum(state_bytes(fields, layer.mixer) for layer in stack),
        weights=FORMATS[weights] if weights else weight_format(fields),
        kv=kv_format(fields),
        assumed=(),
        not_understood=(),
    )
    return replace(
        model,
        assumed=tuple(_assumptions(config, fields, stack)),
        not_understood=tuple(not_understood(fields)),
    )


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


_AS_IT_IS = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""Kinds of scaled positions of which vLLM takes the longest context as it stands."""


def _context(fields: Fields) -> int:
    """As vLLM takes it: other kinds of scaling (linear, dynamic) make it so many times longer."""
    longest = fields.number("max_position_embeddings", 0)
    scaling = fields.table("rope_scaling") or fields.table("rope_parameters")
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if kind in _AS_IT_IS or fields.kind.startswith("gemma3") or not isinstance(factor, int | float):
        return longest
    return int(longest * factor) if 1 <= factor < 10**6 else longest


def _name(config: Mapping[str, Any], fields: Fields) -> str:
    named = config.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else fields.kind
    return name.encode("ascii", "replace").decode()[:80]


def _mlp_width(fields: Fields, stack: tuple[Layer, ...]) -> int:
    mlps = {layer.mlp for layer in stack}
    dense = parameters.mlp_width(fields) if Mlp.DENSE in mlps else 0
    dense *= 2 if fields.flag("use_double_wide_mlp") and fields.kind == "gemma4_text" else 1
    experts = parameters.expert_width(fields) * fields.number("num_experts_per_tok", 0)
    return max(dense, experts if Mlp.EXPERTS in mlps else 0)
