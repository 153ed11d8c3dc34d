"""Presets are the figures of the study, in SI units."""

import pytest

from router.simulate.hardware import NETWORK_S, PRESETS

# ms, ms, us, ns, ns, tokens, requests, tokens, s, ms
STUDY = {
    "h100-8b": (3, 6, 29.5, 49, 1.3, 8192, 1024, 390_000, 2, 50),
    "h100x4-70b": (4, 14, 79, 33, 1.65, 8192, 1024, 375_000, 4, 150),
    "l4-8b": (3, 32, 133, 510, 8.7, 2048, 256, 84_000, 4, 150),
}


@pytest.mark.parametrize("name", STUDY)
def test_presets(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert (
        preset.base_s * 1e3,
        preset.weights_s * 1e3,
        preset.token_s * 1e6,
        preset.kv_s * 1e9,
        preset.attention_s * 1e9,
        preset.budget,
        preset.max_seqs,
        preset.kv_tokens,
        preset.slo_ttft_s,
        preset.slo_itl_s * 1e3,
    ) == pytest.approx(STUDY[name])


def test_nothing_else_is_a_preset() -> None:
    assert set(PRESETS) == set(STUDY)
    assert NETWORK_S == 0.005
