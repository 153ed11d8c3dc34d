"""Layers with states."""

import pytest

from router.sizing.fields import ConfigError, Fields
from router.sizing.layers import Mixer
from router.sizing.states import mamba2, state_bytes, state_parameters
from tests.unit.sizing.questions import config, model


def test_kimi_delta_attention() -> None:
    """32 heads of 128: a state of 128 x 128 in fp32 each, and three tokens of three convolutions."""
    fields = Fields(config("kimi-linear-48b"))
    assert state_bytes(fields, Mixer.KDA) == 4 * 32 * 128 * 128 + 2 * 3 * 32 * 128 * 3
    made = model("kimi-linear-48b")
    assert made.state_bytes == 20 * state_bytes(fields, Mixer.KDA)
    assert (made.count(Mixer.FULL), made.count(Mixer.KDA)) == (7, 20)


def test_kimi_delta_attention_as_transformers_saves_it() -> None:
    saved = {"linear_num_heads": 32, "linear_head_dim": 128, "linear_conv_kernel_dim": 4}
    ours = Fields(config("kimi-linear-48b"))
    theirs = Fields({"hidden_size": 2304, **saved})
    assert state_parameters(theirs, Mixer.KDA) == state_parameters(ours, Mixer.KDA)


@pytest.mark.parametrize("size", [None, 0, "128", True])
def test_a_shape_that_is_missing_is_named(size: object) -> None:
    said = {**config("kimi-linear-48b")["linear_attn_config"], "head_dim": size}
    with pytest.raises(ConfigError, match="`linear_attn_config` lacks"):
        model("kimi-linear-48b", linear_attn_config=said)


def test_falcon_h1_has_mamba_2_beside_the_attention_of_each_layer() -> None:
    made = model("falcon-h1-34b")
    assert made.count(Mixer.FULL) == made.count(Mixer.BESIDE) == 72
    assert made.state_bytes == 72 * (4 * 32 * 128 * 256 + 2 * (4096 + 2 * 2 * 256) * 3)


def test_heads_may_be_as_large_as_needed() -> None:
    fields = Fields({**config("falcon-h1-34b"), "mamba_d_head": "auto"})
    assert mamba2(fields)[:2] == (32, 128)
