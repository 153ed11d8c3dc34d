"""What a simulated worker runs on: how long a step takes, and what fits (pure).

The presets are estimates from first principles, not measurements: token time from 2 FLOP per parameter at
about half the peak rate, weight and KV times from bytes over memory bandwidth, attention from its FLOP at 40 %
of the peak. Budget and sequences are the defaults of vLLM's server for that memory size.
"""

from dataclasses import dataclass

NETWORK_S = 0.005
"""From the router to a worker, and back."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """A worker with its model.

    A step lasts `base_s` + max(`weights_s`, tokens * `token_s`) + `kv_s` per KV token that its decodes read
    + `attention_s` * n * (computed + n / 2) for each part of n tokens of a prompt.
    """

    name: str
    base_s: float
    """A step without any work."""
    weights_s: float
    """Reading the weights once."""
    token_s: float
    kv_s: float
    attention_s: float
    budget: int
    """Tokens per step (vLLM: max_num_batched_tokens)."""
    max_seqs: int
    """Requests that run at once (vLLM: max_num_seqs)."""
    kv_tokens: int
    """Tokens that the KV cache holds."""
    slo_ttft_s: float
    slo_itl_s: float


PRESETS = {
    preset.name: preset
    for preset in (
        Hardware(  # bf16 on one H100
            name="h100-8b",
            base_s=3e-3,
            weights_s=6e-3,
            token_s=29.5e-6,
            kv_s=49e-9,
            attention_s=1.3e-9,
            budget=8192,
            max_seqs=1024,
            kv_tokens=390_000,
            slo_ttft_s=2.0,
            slo_itl_s=0.05,
        ),
        Hardware(  # bf16 on four H100, tensor parallel
            name="h100x4-70b",
            base_s=4e-3,
            weights_s=14e-3,
            token_s=79e-6,
            kv_s=33e-9,
            attention_s=1.65e-9,
            budget=8192,
            max_seqs=1024,
            kv_tokens=375_000,
            slo_ttft_s=4.0,
            slo_itl_s=0.15,
        ),
        Hardware(  # fp8 on one L4
            name="l4-8b",
            base_s=3e-3,
            weights_s=32e-3,
            token_s=133e-6,
            kv_s=510e-9,
            attention_s=8.7e-9,
            budget=2048,
            max_seqs=256,
            kv_tokens=84_000,
            slo_ttft_s=4.0,
            slo_itl_s=0.15,
        ),
    )
}
"""By name."""
