"""What a config says about the KV cache or the parameters that is not understood here (pure)."""

import re

from router.sizing.fields import ConfigError, Fields
from router.sizing.layers import ENCODERS

_FAMILIES = """
    apertus arcee axk1 bamba bert bloom cohere cohere2 cwm deepseek_v2 deepseek_v3 ernie4_5 ernie4_5_moe exaone4
    exaone_moe falcon falcon_h1 flex_olmo gemma gemma2 gemma3_text gemma4_text glm glm4 glm4_moe glm4_moe_lite
    gpt2 gpt_neox gpt_oss granite granitemoe granitemoehybrid granitemoeshared helium hy_v3 hyperclovax jais2
    jamba kimi_k2 kimi_linear llama llama4_text mellum mimo_v2 mimo_v2_flash minimax_m2 ministral3 mistral
    mixtral nemotron_h olmo olmo2 olmo3 olmoe opt phi phi3 phimoe qwen2 qwen2_5_vl qwen2_5_vl_text qwen2_moe
    qwen2_vl qwen2_vl_text qwen3 qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next qwen3_vl_moe_text
    qwen3_vl_text roberta seed_oss smollm3 solar_open stablelm starcoder2 vaultgemma xlm-roberta
"""
CHECKED = frozenset(_FAMILIES.split())
"""Families whose count is that of transformers' own model, or tested against the published one."""

_DECISIVE = re.compile(
    r"attn|attention|kv|head|layer|block|window|sliding|local|global|mamba|ssm|state|conv_|linear|recurren|lru|expert"
    r"|moe|mlp|hidden|inner|intermediate|ffn|_rank|latent|compress|index_|cross|mixer|hybrid|pattern|shared|_dims?$"
    r"|_size$|width|depth|loop|memory|sparse|delta|altup|laurel|freq"
)
"""Names of fields that may decide either."""

_SHAPING = re.compile(
    r"pattern|(layer|block|attn|attention|mixer)\w*_(types?|configs?|idxs?|indices|ids|list|layers|interval|period)$"
    r"|every_n|layer_group|linear_attn|lru|mamba|ssm|recurren|cross_attention|kv_shar|shared_kv|compress|sliding"
    r"|window|per_layer|double_wide|altup|laurel"
)
"""Of these such that say which layers keep what, or hide whole matrices: figures could be several times too large."""

_OTHERS = """
    _sliding_window_pattern attention_type attn_temperature_tuning block_size chunk_size classifier_proj_size
    ep_size hidden_mamba_act image_size index_topk_freq intermediate_size_mlp layer_rope_theta layer_switch
    mamba_chunk_size mamba_conv_bias mamba_d_ssm mamba_dt_init_floor mamba_dt_max mamba_dt_min mamba_dt_rank
    mamba_expand mamba_hidden_act mamba_inner_layernorms mamba_norm_before_gate mamba_proj_bias mamba_rms_norm
    mamba_ssm_cache_dtype mamba_ssm_dtype mamba_use_mlp max_batch_size max_window_layers mlp_multipliers
    moe_capacity moe_layer_end_index moe_layers no_rope_layer_interval no_rope_layers nope_layer_interval
    num_expert_group num_nextn_predict_layers padded_vocab_size patch_size qk_head_dim qk_norm_type
    query_pre_attn_scalar rotary_dim sliding_window_size ssm_multipliers swa_rope_theta time_step_rank
    type_vocab_size unpadded_vocab_size use_bidirectional_attention use_mamba_kernels use_sliding_window
    word_embed_proj_dim
"""
_HARMLESS = frozenset(_OTHERS.split())
"""Decide neither, or say again what others do."""

_SCALES = re.compile(
    r"(_multipliers?|_factor|_coeff?|_scale|_scaling|_prob|dropout|_token_id|_token_index|_range|_eps|_epsilon|_theta"
    r"|_dtype|_std|_limit|_method|_func|_act|_alpha|_beta)$|^(mtp_|num_mtp|vision|image|video|audio|mm_)"
)
"""Names of what scales numbers without making more of them, and of parts that are not counted."""

_LISTS = (
    "hybrid_override_pattern",
    "layer_types",
    "hybrid_layer_pattern",
    "linear_attn_config",
    "layers_block_type",
)
_TOLD = frozenset(
    {
        "full_attention_interval",
        "sliding_window_pattern",
        "global_attn_every_n_layers",
        "attention_chunk_size",
    }
    | {
        "layer_types",
        "layers_block_type",
        "attn_layer_period",
        "attn_layer_offset",
        "full_attn_idxs",
    }
)
"""Say again what such a list has said layer by layer."""


def not_understood(fields: Fields) -> list[str]:
    """In words, what may make figures wrong; ask when all has been read.

    Raises `ConfigError` where they could be wrong by far.
    """
    unread = [name for name in sorted(fields.unread()) if _decides(fields, name)]
    shaping = [name for name in unread if _SHAPING.search(name)]
    if shaping and fields.kind not in ENCODERS:
        raise ConfigError(
            f"{_quoted(shaping)} may decide which layers keep a KV cache, or how large they are, in a way that is not "
            "known here: figures would be wrong by far"
        )
    family = []
    if fields.kind not in CHECKED:
        family = [f"the family {fields.kind}, taken for a Llama where its config says nothing else"]
    return family + ([_quoted(unread)] if unread else [])


def _quoted(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:8])


def _decides(fields: Fields, name: str) -> bool:
    """Floats scale what is there; what is false, zero or empty is not; words and switches seldom mean sizes."""
    value = fields.get(name)
    if not value or value == -1 or isinstance(value, float) or name in _HARMLESS:
        return False
    if _SCALES.search(name) or not _DECISIVE.search(name):
        return False
    if isinstance(value, str | bool) and not _SHAPING.search(name):
        return False
    return not (name in _TOLD and any(fields.get(each) for each in _LISTS))
