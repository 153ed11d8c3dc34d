"""Layers that keep a state of fixed size instead of a cache: their parameters and that state (pure)."""

from router.sizing.fields import ConfigError, Fields
from router.sizing.layers import Mixer


def state_parameters(fields: Fields, mixer: Mixer) -> int:
    """Of one layer's; 0 for one that only attends."""
    if mixer is Mixer.MAMBA:
        return _mamba(fields)
    if mixer in (Mixer.MAMBA2, Mixer.BESIDE):
        return _mamba2(fields)
    if mixer is Mixer.KDA:
        return _kda(fields)
    return _delta_net(fields) if mixer is Mixer.LINEAR else 0


def state_bytes(fields: Fields, mixer: Mixer) -> int:
    """Per request: the recurrent state in fp32, the convolution's tail in bf16."""
    if mixer is Mixer.MAMBA:
        inner = fields.number("mamba_expand", 2) * fields.positive("hidden_size")
        return inner * (4 * fields.number("mamba_d_state", 16) + 2 * 3)
    if mixer in (Mixer.MAMBA2, Mixer.BESIDE):
        heads, size, state, groups, conv = mamba2(fields)
        return 4 * heads * size * state + 2 * (heads * size + 2 * groups * state) * (conv - 1)
    if mixer is Mixer.KDA:
        heads, size, conv = _kda_shape(fields)
        return 4 * heads * size * size + 2 * 3 * heads * size * (conv - 1)
    if mixer is Mixer.LINEAR:
        return _delta_state(fields)
    return 0


def mamba2(fields: Fields) -> tuple[int, int, int, int, int]:
    """Heads, their size, state size, groups and convolution of a Mamba-2 layer."""
    heads = fields.positive("mamba_num_heads")
    inner = fields.number("mamba_d_ssm", 0) or _expanded(fields)
    automatic = fields.get("mamba_head_dim") == "auto"
    return (
        heads,
        inner // heads if automatic else fields.positive("mamba_head_dim"),
        fields.positive("ssm_state_size"),
        fields.positive("n_groups", 1),
        fields.positive("conv_kernel", 4),
    )


def _expanded(fields: Fields) -> int:
    return fields.number("mamba_expand", 2) * fields.positive("hidden_size")


def _mamba(fields: Fields) -> int:
    hidden, inner = fields.positive("hidden_size"), _expanded(fields)
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


def _delta_state(fields: Fields) -> int:
    key, value = fields.positive("linear_key_head_dim"), fields.positive("linear_value_head_dim")
    keys = fields.positive("linear_num_key_heads")
    values = fields.positive("linear_num_value_heads")
    tail = (2 * keys * key + values * value) * (fields.number("linear_conv_kernel_dim", 4) - 1)
    return 4 * values * key * value + 2 * tail


def _kda_shape(fields: Fields) -> tuple[int, int, int]:
    """Heads, their size, and the convolution's length."""
    said = fields.table("linear_attn_config")
    found = [said.get(name) for name in ("num_heads", "head_dim", "short_conv_kernel_size")]
    if not said:
        names = ("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim")
        found = [fields.positive(name) for name in names]
    whole = [each for each in found if type(each) is int and 0 < each < 10**6]
    if len(whole) < len(found):
        raise ConfigError(
            "`linear_attn_config` lacks `num_heads`, `head_dim` or `short_conv_kernel_size`"
        )
    return whole[0], whole[1], whole[2]


def _kda(fields: Fields) -> int:
    """Kimi Delta Attention: queries, keys, values and output, two gates of low rank, convolutions."""
    hidden, (heads, size, conv) = fields.positive("hidden_size"), _kda_shape(fields)
    inner = heads * size
    gates = 2 * size * (hidden + inner)
    return 4 * hidden * inner + gates + hidden * heads + inner * (3 * conv + 1) + heads + size
