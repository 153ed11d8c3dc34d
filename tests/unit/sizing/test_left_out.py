"""Which modules a quantized checkpoint keeps in 16 bits."""

from typing import Any

import pytest

from router.sizing.fields import Fields
from router.sizing.left_out import Left, left_out

DENSE = Fields({"num_hidden_layers": 2})
EXPERTS = Fields({"num_hidden_layers": 2, "num_experts": 4})


@pytest.mark.parametrize(
    "ignore",
    [
        [],
        ["lm_head"],
        ["lm_head", "re:.*vision_tower.*", "re:.*mlp.gate$", "model.layers.1.mlp.gate"],
        ["re:visual.*", "model.embed_tokens", "re:.*router"],
    ],
)
@pytest.mark.parametrize("name", ["ignore", "modules_to_not_convert", "exclude_modules"])
def test_what_is_small_or_not_counted_does_not_matter(name: str, ignore: list[str]) -> None:
    assert left_out(DENSE, {name: ignore}) is Left.NOTHING


@pytest.mark.parametrize(
    "ignore",
    [
        ["re:.*self_attn.*"],
        ["model.layers.*.self_attn"],
        ["*self_attn*"],
        [f"model.layers.{at}.self_attn.{name}_proj" for at in range(2) for name in "qkvo"],
        ["self_attn"],
    ],
)
def test_attention_left_out_leaves_the_experts(ignore: list[str]) -> None:
    assert left_out(EXPERTS, {"ignore": ignore}) is Left.ALL_BUT_EXPERTS
    assert left_out(DENSE, {"ignore": ignore}) is Left.SOMETHING


@pytest.mark.parametrize(
    "quantization",
    [
        {"ignore": ["model.layers.0.self_attn"]},
        {"ignore": ["re:.*self_attn.*", "re:.*experts.*"]},
        {"ignore": ["re:.*self_attn.*", "re:.*linear_attn.*"]},
        {"ignore": ["re:("]},
        {"extra_config": {"model.layers.0": {"bits": 8}}},
        {"dynamic": {"-:.*": {}}},
        {"store_dtype": "mxfp4"},  # MiMo-V2.5
        {"config_groups": {"group_0": {}, "group_1": {}}},
    ],
)
def test_anything_else_is_unsure(quantization: dict[str, Any]) -> None:
    assert left_out(EXPERTS, quantization) is Left.SOMETHING
