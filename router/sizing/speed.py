"""How fast a worker is, from first principles: arithmetic and bytes over what the GPU does per second (pure).

Estimates. The shares of the data sheet that are reached are the simulator's (`router.simulate.hardware`).
"""

from dataclasses import dataclass

from router.sizing.gpus import Gpu, Link
from router.sizing.layers import EVERYTHING, WINDOWED, Mixer
from router.sizing.memory import (
    FULL_BYTES,
    dense_bytes,
    request_bytes,
    table_bytes,
)
from router.sizing.model import Model

COMPUTE = 0.55
"""Of the peak arithmetic, in matrix products of a prefill."""
ATTENTION = 0.4
"""Of the bf16 peak, in attention."""
BANDWIDTH = 0.8
"""Of the memory's bandwidth."""
LINK = 0.75
"""Of a link's bandwidth."""
STEP_S = 0.003
"""A step without any work: scheduling, launching, sampling."""
ALL_REDUCES = 2
"""Per layer: after attention and after the MLP."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A model on `tp` GPUs of a kind."""

    model: Model
    gpu: Gpu
    link: Link
    tp: int

    def prefill_s(self, tokens: int, cached: int = 0) -> float:
        """Seconds for the rest of a prompt of which `cached` tokens are there."""
        new = tokens - cached
        if new <= 0:
            return STEP_S
        steps = -(-new // self.gpu.step_tokens)
        linear = max(self.linear_s(new), steps * self.read_s(self.gpu.step_tokens))
        return steps * STEP_S + linear + self.attention_s(tokens, cached) + self.reduce_s(new)

    def linear_s(self, tokens: int) -> float:
        """Matrix products: 2 FLOP per parameter that a token uses."""
        parts, format_ = self.model.parameters, self.model.weights
        bf16, fast = self.gpu.bf16, self.gpu.flop_per_s(format_.arithmetic)
        flop = 2 * tokens * (parts.dense + parts.active_experts)
        return flop / (self.tp * fast * COMPUTE) + 2 * parts.output / (self.tp * bf16 * COMPUTE)

    def attention_s(self, tokens: int, cached: int = 0) -> float:
        """Each new token looks at all before it, or at a window of them."""
        new, model = tokens - cached, self.model
        if new <= 0:
            return 0.0
        everything = new * cached + new * new / 2
        if model.count(Mixer.ENCODER):
            everything = new * new
        seen = min(everything, new * model.window)
        flop = model.count(*EVERYTHING) * everything * model.pair_flop
        flop += model.count(*WINDOWED) * seen * model.windowed.pair_flop
        return flop / (self.tp * self.gpu.bf16 * ATTENTION)

    def reduce_bytes(self, tokens: int) -> float:
        """What a GPU sends for one all-reduce of a step's hidden states: a ring's 2 (N - 1) / N of them."""
        return tokens * self.model.hidden * FULL_BYTES * 2 * (self.tp - 1) / self.tp

    def reduce_s(self, tokens: int) -> float:
        """All all-reduces of a prefill or, with its requests as tokens, of a decoding step."""
        if self.tp == 1:
            return 0.0
        each = self.reduce_bytes(tokens) / (self.link.bytes_per_s * LINK)
        steps = -(-tokens // self.gpu.step_tokens)
        hops = steps * 2 * (self.tp - 1) * self.link.hop_s
        return ALL_REDUCES * len(self.model.layers) * (each + hops)

    def read_bytes(self, tokens: int) -> float:
        """Weights that a step of so many tokens reads: all that are not experts, and the experts that any token uses."""
        model, parts = self.model, self.model.parameters
        used = 1.0
        if model.expert_count:
            used -= (1 - model.expert_choice / model.expert_count) ** tokens
        experts = used * parts.experts * model.weights.bytes
        return dense_bytes(model) * parts.dense + table_bytes(model) * parts.output + experts

    def read_s(self, tokens: int) -> float:
        """Reading them."""
        return self.read_bytes(tokens) / (self.tp * self.gpu.bandwidth * BANDWIDTH)

    def step_s(self, requests: int, context: int) -> float:
        """One token for each of so many requests of that context: time per output token without prefills."""
        kv = requests * request_bytes(self.model, self.tp, context)
        reading = kv / (self.gpu.bandwidth * BANDWIDTH)
        work = max(self.read_s(requests), self.linear_s(requests))
        return STEP_S + work + reading + self.reduce_s(requests)

    def mixed_step_s(self, requests: int, context: int) -> float:
        """The same with a full chunk of someone's prefill in it: the longest time between two tokens."""
        chunk = min(context, self.gpu.step_tokens)
        behind = max(0, context - chunk)
        chunk_s = self.prefill_s(context, behind) - STEP_S
        return self.step_s(requests, context) + max(0.0, chunk_s - self.read_s(requests))

    def moved_bytes(self, tokens: int) -> float:
        """KV cache of so many tokens on all GPUs together; MLA's copies are moved once."""
        copies = 1 if self.model.latent else self.tp
        return request_bytes(self.model, self.tp, tokens) * copies

    def prefill_rate(self, tokens: int) -> float:
        """Tokens/s of a prompt of this length of which nothing is cached."""
        return tokens / self.prefill_s(tokens)
