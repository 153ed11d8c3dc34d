"""The heads of attention: how many, how large, and what of them is kept (pure)."""

from typing import NamedTuple

from router.sizing.fields import ConfigError, Fields
from router.sizing.layers import WINDOWED, Mixer


class Heads(NamedTuple):
    """Of one layer."""

    query: int
    kv: int
    key: int
    """Numbers per query and key."""
    value: int
    """Numbers per value."""
    shared: bool = False
    """One matrix makes keys and values; both are kept all the same."""

    @property
    def parameters_per_hidden(self) -> int:
        """Width of the four projections together."""
        made = self.key if self.shared else self.key + self.value
        return self.query * (self.key + self.value) + self.kv * made

    @property
    def pair_flop(self) -> int:
        """Arithmetic for one token that looks at one other."""
        return 2 * self.query * (self.key + self.value)


def heads(fields: Fields, mixer: Mixer = Mixer.FULL) -> Heads:
    """Of a layer that sees everything or, where those differ, of one with a window."""
    query, kv, size = fields.positive("num_attention_heads"), kv_heads(fields), head_dim(fields)
    value = size if fields.get("kv_lora_rank") else fields.positive("v_head_dim", size)
    if mixer in WINDOWED:  # MiMo
        key = fields.positive("swa_head_dim", size)
        found = Heads(
            fields.positive("swa_num_attention_heads", query),
            fields.positive("swa_num_key_value_heads", kv),
            key,
            fields.positive("swa_v_head_dim", key if fields.get("swa_head_dim") else value),
        )
    else:
        found = _global(fields, Heads(query, kv, size, value))
    if found.kv > found.query:
        raise ConfigError(f"more KV heads ({found.kv}) than attention heads ({found.query})")
    return found


def _global(fields: Fields, others: Heads) -> Heads:
    """Gemma 4's layers that see everything have heads of their own size, and with `attention_k_eq_v` their own number."""
    if fields.get("global_head_dim") is None:
        return others
    size, shared = fields.positive("global_head_dim"), fields.flag("attention_k_eq_v")
    kv = fields.positive("num_global_key_value_heads", others.kv)
    return Heads(others.query, kv if shared else others.kv, size, size, shared)


def kv_heads(fields: Fields) -> int:
    """As many as query heads where nothing else is said."""
    if fields.flag("multi_query") and not fields.flag("new_decoder_architecture"):
        return 1
    count = fields.positive("num_attention_heads")
    found = fields.positive("num_key_value_heads", count)
    if found > count:
        raise ConfigError(
            f"`num_key_value_heads` is {found}, more than the {count} attention heads"
        )
    return found


def head_dim(fields: Fields) -> int:
    """Of a query, key or value."""
    count = fields.positive("num_attention_heads")
    return fields.positive("head_dim", fields.positive("hidden_size") // count)


def latent(fields: Fields) -> int:
    """Numbers per token and layer of MLA's cache; 0 for other attention."""
    if not fields.get("kv_lora_rank"):
        return 0
    return fields.positive("kv_lora_rank") + fields.positive("qk_rope_head_dim")


def latent_pair_flop(fields: Fields) -> int:
    """As `Heads.pair_flop`, of MLA."""
    query = fields.positive("qk_nope_head_dim") + fields.positive("qk_rope_head_dim")
    return 2 * fields.positive("num_attention_heads") * (query + fields.positive("v_head_dim"))


def attention_parameters(fields: Fields, mixer: Mixer) -> int:
    """Of one layer."""
    if fields.get("kv_lora_rank"):
        return _latent_attention(fields)
    hidden, made = fields.positive("hidden_size"), heads(fields, mixer)
    if mixer in (Mixer.SHARED, Mixer.SHARED_SLIDING):  # neither keys nor values of their own
        return hidden * made.query * (made.key + made.value)
    gate = made.query * made.value * hidden if _gated(fields) else 0
    by_default = fields.kind.startswith(("qwen2", "gpt2"))
    bias = fields.flag("attention_bias", default=by_default)
    return hidden * made.parameters_per_hidden + gate + bias * (made.query + 2 * made.kv) * made.key


def _gated(fields: Fields) -> bool:
    """Whether a gate as wide as the queries follows the values."""
    known = fields.kind.startswith(("qwen3_next", "qwen3_5"))
    return fields.flag("attn_output_gate", default=known)


def latents(fields: Fields) -> int:
    """MLA's down projections of one layer."""
    return fields.positive("hidden_size") * (fields.number("q_lora_rank", 0) + latent(fields))


def _latent_attention(fields: Fields) -> int:
    """DeepSeek's: queries, keys and values go through small latents."""
    hidden, count = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    plain, value = fields.positive("qk_nope_head_dim"), fields.positive("v_head_dim")
    query = count * (plain + fields.positive("qk_rope_head_dim"))
    up = query * (fields.number("q_lora_rank", 0) or hidden)
    back = fields.positive("kv_lora_rank") * count * (plain + value)
    return latents(fields) + up + back + count * value * hidden
