"""How many parameters a model has, counted from its config (pure)."""

from collections import Counter
from dataclasses import dataclass

from router.sizing.fields import ConfigError, Fields
from router.sizing.layers import ENCODERS, Layer, Mixer, Mlp

_UNGATED = frozenset(
    {"gpt2", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "mpt", "starcoder2", "nemotron_h"}
    | {"bert", "roberta", "xlm-roberta", "distilbert"}
)
"""Two matrices per MLP, where all others have three."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Counts. `embedding` is the input table, `head` the output one (0 where they are the same)."""

    embedding: int
    head: int
    dense: int
    """Of the layers, without routed experts."""
    experts: int
    """Of all routed experts."""
    active_experts: int
    """Of those that one token uses."""
    tied: bool
    kv_projection: int
    """Within `dense`: copied where more GPUs than KV heads share a layer."""
    copied: int
    """Within `dense`: held by every GPU (MLA's down projections)."""

    @property
    def total(self) -> int:
        """All."""
        return self.embedding + self.head + self.dense + self.experts

    @property
    def output(self) -> int:
        """What makes logits of the last hidden state."""
        return self.embedding if self.tied else self.head

    @property
    def active(self) -> int:
        """What one token is multiplied with: all but the input table and the experts that it does not use."""
        return self.dense + self.active_experts + self.output


def count(fields: Fields, layers: tuple[Layer, ...]) -> Parameters:
    """From the config's fields."""
    hidden = fields.positive("hidden_size")
    vocab = fields.positive("vocab_size")
    kinds = Counter(layers)
    attending = sum(n for layer, n in kinds.items() if is_attention(layer.mixer))
    mixing = sum(n * _mixer(fields, layer.mixer) for layer, n in kinds.items())
    dense = sum(n for layer, n in kinds.items() if layer.mlp is Mlp.DENSE) * _dense_mlp(fields)
    sparse = sum(n for layer, n in kinds.items() if layer.mlp is Mlp.EXPERTS)
    every, one = _experts(fields) if sparse else (0, 0)
    norms = len(layers) * 2 * hidden
    tied = tie_embeddings(fields)
    mla = bool(fields.get("kv_lora_rank"))
    return Parameters(
        embedding=vocab * hidden + _positions(fields),
        head=0 if tied else vocab * hidden,
        dense=mixing + dense + sparse * every + norms + hidden,
        experts=sparse * one * fields.number("num_experts", 0),
        active_experts=sparse * one * fields.number("num_experts_per_tok", 1),
        tied=tied,
        kv_projection=0 if mla else attending * 2 * hidden * kv_heads(fields) * head_dim(fields),
        copied=attending * _latents(fields) if mla else 0,
    )


def is_attention(mixer: Mixer) -> bool:
    """Whether it has queries, keys and values."""
    return mixer in (Mixer.FULL, Mixer.SLIDING, Mixer.ENCODER)


def tie_embeddings(fields: Fields) -> bool:
    """Whether one table serves input and output. Encoders have no output table at all."""
    default = fields.kind in ENCODERS or fields.kind.startswith("gemma")
    return fields.flag("tie_word_embeddings", default=default)


def kv_heads(fields: Fields) -> int:
    """As many as query heads where nothing else is said."""
    if fields.flag("multi_query"):
        return 1
    heads = fields.positive("num_attention_heads")
    found = fields.positive("num_key_value_heads", heads)
    if found > heads:
        raise ConfigError(
            f"`num_key_value_heads` is {found}, more than the {heads} attention heads"
        )
    return found


def head_dim(fields: Fields) -> int:
    """Of a query, key or value."""
    heads = fields.positive("num_attention_heads")
    return fields.positive("head_dim", fields.positive("hidden_size") // heads)


def mamba2(fields: Fields) -> tuple[int, int, int, int, int]:
    """Heads, their size, state size, groups and convolution of a Mamba-2 layer."""
    return (
        fields.positive("mamba_num_heads"),
        fields.positive("mamba_head_dim"),
        fields.positive("ssm_state_size"),
        fields.positive("n_groups", 1),
        fields.positive("conv_kernel", 4),
    )


def _positions(fields: Fields) -> int:
    """Learned positions: of BERT's relatives and GPT-2."""
    if fields.kind not in ("bert", "roberta", "xlm-roberta", "gpt2", "opt"):
        return 0
    return fields.number("max_position_embeddings", 0) * fields.positive("hidden_size")


def _mixer(fields: Fields, mixer: Mixer) -> int:
    if is_attention(mixer):
        return _latent_attention(fields) if fields.get("kv_lora_rank") else _attention(fields)
    if mixer is Mixer.MAMBA:
        return _mamba(fields)
    if mixer is Mixer.MAMBA2:
        return _mamba2(fields)
    return _delta_net(fields) if mixer is Mixer.LINEAR else 0


def _attention(fields: Fields) -> int:
    hidden, size = fields.positive("hidden_size"), head_dim(fields)
    query, kv = fields.positive("num_attention_heads") * size, kv_heads(fields) * size
    gate = 2 if fields.kind in ("qwen3_next", "qwen3_5", "qwen3_5_moe") else 1
    bias = fields.flag("attention_bias", default=fields.kind in ("qwen2", "qwen2_moe", "gpt2"))
    return hidden * (gate * query + 2 * kv) + query * hidden + bias * (query + 2 * kv)


def _latents(fields: Fields) -> int:
    """MLA's down projections of one layer."""
    hidden = fields.positive("hidden_size")
    rank = fields.positive("kv_lora_rank") + fields.positive("qk_rope_head_dim")
    return hidden * (fields.number("q_lora_rank", 0) + rank)


def _latent_attention(fields: Fields) -> int:
    """DeepSeek's: queries, keys and values go through small latents."""
    hidden, heads = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    plain, value = fields.positive("qk_nope_head_dim"), fields.positive("v_head_dim")
    query = heads * (plain + fields.positive("qk_rope_head_dim"))
    up = (fields.number("q_lora_rank", 0) or hidden) * query
    back = fields.positive("kv_lora_rank") * heads * (plain + value)
    return _latents(fields) + up + back + heads * value * hidden


def _mamba(fields: Fields) -> int:
    hidden = fields.positive("hidden_size")
    inner = fields.number("mamba_expand", 2) * hidden
    state, conv = fields.number("mamba_d_state", 16), fields.number("mamba_d_conv", 4)
    rank = fields.number("mamba_dt_rank", -(-hidden // 16))
    return inner * (3 * hidden + conv + (rank + 2 * state) + rank + state + 3)


def _mamba2(fields: Fields) -> int:
    heads, size, state, groups, conv = mamba2(fields)
    hidden, inner = fields.positive("hidden_size"), heads * size
    mixed = inner + 2 * groups * state
    return hidden * (inner + mixed + heads) + mixed * (conv + 1) + 3 * heads + inner * (hidden + 1)


def _delta_net(fields: Fields) -> int:
    """Qwen3-Next's gated delta rule."""
    hidden, values = fields.positive("hidden_size"), fields.positive("linear_num_value_heads")
    key = fields.positive("linear_num_key_heads") * fields.positive("linear_key_head_dim")
    value = values * fields.positive("linear_value_head_dim")
    conv = (2 * key + value) * fields.number("linear_conv_kernel_dim", 4)
    return hidden * (2 * key + 2 * value + 2 * values) + conv + value * hidden


def _matrices(fields: Fields) -> int:
    return 2 if fields.kind in _UNGATED else 3


def mlp_width(fields: Fields) -> int:
    """Of a dense layer's MLP."""
    if fields.get("intermediate_size_mlp") is not None:  # Llama 4
        return fields.positive("intermediate_size_mlp")
    default = 4 * fields.positive("hidden_size") if fields.kind == "gpt2" else None
    return fields.positive("intermediate_size", default)


def expert_width(fields: Fields) -> int:
    """Of one expert's MLP."""
    return fields.number("moe_intermediate_size", fields.number("intermediate_size", 0))


def _dense_mlp(fields: Fields) -> int:
    return _matrices(fields) * fields.positive("hidden_size") * mlp_width(fields)


def _experts(fields: Fields) -> tuple[int, int]:
    """Per layer: what every token uses (router, shared experts), and one routed expert."""
    hidden, width, each = fields.positive("hidden_size"), expert_width(fields), _matrices(fields)
    shared = fields.number("shared_expert_intermediate_size", 0)
    shared = shared or width * fields.number("n_shared_experts", int(fields.kind == "llama4_text"))
    bias = 2 * width + hidden if fields.kind == "gpt_oss" else 0
    router = hidden * fields.number("num_experts")
    return router + each * hidden * shared, each * hidden * width + bias
