"""How many parameters a model has, counted from its config (pure)."""

from collections import Counter
from dataclasses import dataclass

from router.sizing.attention import attention_parameters, latents
from router.sizing.fields import Fields
from router.sizing.layers import ENCODERS, EVERYTHING, WINDOWED, Layer, Mixer, Mlp
from router.sizing.states import state_parameters

_UNGATED = frozenset(
    {"gpt2", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "mpt", "starcoder2", "nemotron_h"}
    | {"apertus", "arcee", "jais2", "nemotron", "persimmon", "nanochat", "gpt_bigcode"}
    | {"bert", "roberta", "xlm-roberta", "distilbert"}
)
"""Two matrices per MLP, where all others have three."""

_TIED = frozenset(
    {"cohere", "cohere2", "ernie4_5", "ernie4_5_moe", "falcon", "gpt2", "gpt_bigcode", "opt"}
    | {"smollm3", "starcoder2", "bloom"}
)
"""Families that have one table for input and output unless they say otherwise; all of Gemma's, too."""


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
    copied: int
    """Within `dense`: held by every GPU (MLA's down projections)."""
    looked_up: int = 0
    """Gemma's further input table, of which each layer has a part."""

    @property
    def total(self) -> int:
        """All."""
        return self.tables + self.dense + self.experts

    @property
    def tables(self) -> int:
        """Of all embeddings."""
        return self.embedding + self.head + self.looked_up

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
    dense = sum(n * _dense_mlps(fields, layer) for layer, n in kinds.items())
    sparse = sum(n for layer, n in kinds.items() if layer.mlp is Mlp.EXPERTS)
    every, one = _experts(fields) if sparse else (0, 0)
    norms = len(layers) * 2 * hidden
    tied, looking = tie_embeddings(fields), len(layers) * _per_layer(fields)
    return Parameters(
        embedding=vocab * hidden + _positions(fields),
        head=0 if tied else vocab * hidden,
        dense=mixing + dense + sparse * every + norms + hidden + 3 * looking * hidden,
        experts=sparse * one * fields.number("num_experts", 0),
        active_experts=sparse * one * fields.number("num_experts_per_tok", 1),
        tied=tied,
        copied=attending * latents(fields) if fields.get("kv_lora_rank") else 0,
        looked_up=fields.number("vocab_size_per_layer_input", vocab) * looking,
    )


def is_attention(mixer: Mixer) -> bool:
    """Whether it has queries, keys and values."""
    return mixer in (*EVERYTHING, *WINDOWED, Mixer.BESIDE)


def tie_embeddings(fields: Fields) -> bool:
    """Whether one table serves input and output. Encoders have no output table at all."""
    if fields.get("tie_word_embeddings") is None and fields.kind in _TIED:
        fields.assume(f"`tie_word_embeddings` is true: transformers' default for {fields.kind}")
    default = fields.kind in ENCODERS | _TIED or fields.kind.startswith("gemma")
    return fields.flag("tie_word_embeddings", default=default)


def _positions(fields: Fields) -> int:
    """Learned positions: of BERT's relatives and GPT-2."""
    if fields.kind not in ("bert", "roberta", "xlm-roberta", "gpt2", "opt"):
        return 0
    return fields.number("max_position_embeddings", 0) * fields.positive("hidden_size")


def _mixer(fields: Fields, mixer: Mixer) -> int:
    attention = attention_parameters(fields, mixer) if is_attention(mixer) else 0
    return attention + state_parameters(fields, mixer)


def _matrices(fields: Fields) -> int:
    return 2 if fields.kind in _UNGATED else 3


def mlp_width(fields: Fields) -> int:
    """Of a dense layer's MLP."""
    if fields.get("intermediate_size_mlp") is not None:  # Llama 4
        return fields.positive("intermediate_size_mlp")
    if fields.kind == "granitemoehybrid" and fields.get("shared_intermediate_size"):
        return fields.positive("shared_intermediate_size")
    by_default = fields.kind in ("gpt2", "gpt_bigcode", "falcon", "bloom")
    return fields.positive(
        "intermediate_size", 4 * fields.positive("hidden_size") if by_default else None
    )


def expert_width(fields: Fields) -> int:
    """Of one expert's MLP."""
    return fields.number("moe_intermediate_size", fields.number("intermediate_size", 0))


def _per_layer(fields: Fields) -> int:
    """Numbers that Gemma 4's further table has per token for each layer, with three matrices of that width."""
    return fields.number("hidden_size_per_layer_input", 0) if fields.kind == "gemma4_text" else 0


def _dense_mlps(fields: Fields, layer: Layer) -> int:
    """Of a layer: none, one, or one twice as wide where Gemma 4 shares a cache."""
    if layer.mlp is not Mlp.DENSE:
        return 0
    shares = layer.mixer in (Mixer.SHARED, Mixer.SHARED_SLIDING)
    return _dense_mlp(fields) * (2 if shares and fields.flag("use_double_wide_mlp") else 1)


def _dense_mlp(fields: Fields) -> int:
    return _matrices(fields) * fields.positive("hidden_size") * mlp_width(fields)


def _experts(fields: Fields) -> tuple[int, int]:
    """Per layer: what every token uses (router, shared experts), and one routed expert."""
    hidden, width, each = fields.positive("hidden_size"), expert_width(fields), _matrices(fields)
    shared = fields.number("shared_expert_intermediate_size", 0)
    if fields.kind == "gemma4_text":  # each layer has a dense MLP beside its experts
        shared = fields.positive("intermediate_size")
    count = fields.number("n_shared_experts", int(fields.kind == "llama4_text"))
    shared = shared or width * count
    bias = 2 * width + hidden if fields.kind == "gpt_oss" else 0
    router = hidden * fields.number("num_experts")
    return router + each * hidden * shared, each * hidden * width + bias
