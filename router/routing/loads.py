"""How long lower tiers take to bring blocks back to a worker, learned from first tokens (pure)."""

from router.ids import Tier

_TOKEN_S = {Tier.GPU: 0.0, Tier.CPU: 6e-6, Tier.DISK: 1.5e-5, Tier.REMOTE: 1.5e-5}
"""Seconds per token beside the cost model's, about an 8B model's on an H100: 128 KiB per token, 20 GB/s from the host's
memory, 8 GB/s from further away. All below computing it, or a tier would never be tried.
"""

_FORGET = 0.9
_PRIOR_SECONDS = 0.005
_CLIP = 10.0


class LoadRates:
    """Observed over expected seconds, by tier; older samples are forgotten by a tenth each.

    A sample counts for at most ten times what was expected, or a tenth.
    """

    def __init__(self) -> None:
        self._expected: dict[Tier, float] = {}
        self._observed: dict[Tier, float] = {}

    def seconds(self, tier: Tier, tokens: float, scale: float) -> float:
        """For `tokens` of a prompt. A tier that was never used is taken to be as slow as the worker (`scale`)."""
        return tokens * _TOKEN_S[tier] * self._ratio(tier, scale)

    def learn(self, tier: Tier, tokens: float, observed_s: float, scale: float) -> None:
        """`tokens` were there after `observed_s`, all else taken off."""
        ratio = self._ratio(tier, scale)
        expected = tokens * _TOKEN_S[tier]
        clipped = min(max(observed_s, expected * ratio / _CLIP), expected * ratio * _CLIP)
        before, after = self._expected.get(tier, _PRIOR_SECONDS), self._observed.get(tier)
        self._expected[tier] = _FORGET * before + expected
        self._observed[tier] = _FORGET * (before * ratio if after is None else after) + clipped

    def _ratio(self, tier: Tier, scale: float) -> float:
        expected = self._expected.get(tier)
        return self._observed[tier] / expected if expected else scale

    def per_token_s(self) -> dict[str, float]:
        """What was learned: seconds per token of the tiers that were used."""
        return {tier.value: _TOKEN_S[tier] * self._ratio(tier, 1.0) for tier in self._expected}
