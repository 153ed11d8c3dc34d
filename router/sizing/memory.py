"""What fits into the memory of the GPUs that hold a model together (pure).

The tensor parallel size `tp` is how many GPUs share a worker. Figures are bytes of one of them unless said otherwise.
"""

from dataclasses import dataclass

from router.sizing.attention import Heads
from router.sizing.formats import KV_BYTES
from router.sizing.gpus import GIB, Gpu
from router.sizing.layers import Mixer
from router.sizing.model import Model

BLOCK = 16
"""Tokens per block: vLLM's default on GPUs."""

CONTEXT_GIB = 0.5
"""CUDA's context and libraries; as much again for NCCL where GPUs work together."""

GRAPH_GIB = 0.02
"""CUDA graphs, per layer."""

FULL_BYTES = 2.0
"""Of a parameter that is not quantized."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Where a GPU's memory goes, in bytes. `reserve` is an estimate, the rest arithmetic."""

    usable: float
    weights: float
    reserve: float

    @property
    def kv(self) -> float:
        """Left for the KV cache: not below 0."""
        return max(0.0, self.usable - self.weights - self.reserve)


def memory(
    model: Model, gpu: Gpu, tp: int, utilization: float, reserve_gib: float | None = None
) -> Memory:
    """Of each GPU of a worker. `reserve_gib`: what vLLM was seen to need beside weights and KV cache."""
    return Memory(
        usable=gpu.memory_gib * GIB * utilization,
        weights=weights_per_gpu(model, tp),
        reserve=reserve(model, gpu, tp) if reserve_gib is None else reserve_gib * GIB,
    )


def weight_bytes(model: Model) -> float:
    """The checkpoint. Embeddings stay in bf16 when layers are quantized, and all but experts in MXFP4."""
    parts = model.parameters
    return (
        table_bytes(model) * parts.tables
        + dense_bytes(model) * parts.dense
        + model.weights.bytes * parts.experts
    )


def table_bytes(model: Model) -> float:
    """Per parameter of the embeddings."""
    return max(FULL_BYTES, model.weights.bytes)


def dense_bytes(model: Model) -> float:
    """Per parameter outside experts and embeddings."""
    if model.weights.experts_only and model.parameters.experts:
        return FULL_BYTES
    return model.weights.bytes


def weights_per_gpu(model: Model, tp: int) -> float:
    """An equal share, but for what every GPU holds: MLA's down projections, and KV heads when there are too few."""
    extra = model.parameters.copied * (tp - 1)
    if not model.latent:
        extra += sum(_copied_heads(model, tp, mixer) for mixer in (Mixer.FULL, Mixer.SLIDING))
    return (weight_bytes(model) + dense_bytes(model) * extra) / tp


def _copied_heads(model: Model, tp: int, mixer: Mixer) -> int:
    """Parameters of KV heads that are there more than once, over all GPUs."""
    each = _heads(model, mixer)
    copies = kv_heads_per_gpu(model, tp, mixer) * tp - each.kv
    return model.count(mixer) * model.hidden * copies * (each.key + each.value)


def _heads(model: Model, mixer: Mixer) -> Heads:
    return model.windowed if mixer is Mixer.SLIDING else model.full


def kv_heads_per_gpu(model: Model, tp: int, mixer: Mixer = Mixer.FULL) -> int:
    """At least one: with fewer KV heads than GPUs, heads are copied."""
    return max(1, -(-_heads(model, mixer).kv // tp))


def layer_token_bytes(model: Model, tp: int, mixer: Mixer = Mixer.FULL) -> int:
    """Of one token in one attending layer. MLA's latent is held by every GPU."""
    each = _heads(model, mixer)
    numbers = model.latent or kv_heads_per_gpu(model, tp, mixer) * (each.key + each.value)
    return numbers * KV_BYTES[model.kv]


def token_bytes(model: Model, tp: int = 1) -> int:
    """Of one token in all layers that keep everything."""
    return model.count(Mixer.FULL) * layer_token_bytes(model, tp)


def windowed_token_bytes(model: Model, tp: int = 1) -> int:
    """Of one token in the layers that keep a window only."""
    return model.count(Mixer.SLIDING) * layer_token_bytes(model, tp, Mixer.SLIDING)


def request_bytes(model: Model, tp: int, tokens: int) -> float:
    """Of a request of so many tokens: whole blocks, windows, and states."""
    windowed = min(_in_blocks(tokens), _in_blocks(model.window) + BLOCK)
    return (
        token_bytes(model, tp) * _in_blocks(tokens)
        + windowed_token_bytes(model, tp) * windowed
        + model.state_bytes / tp
    )


def _in_blocks(tokens: int) -> int:
    return -(-tokens // BLOCK) * BLOCK


def kv_tokens(model: Model, tp: int, kv: float, tokens: int) -> int:
    """How many tokens `kv` bytes hold in requests of `tokens`, in whole blocks; 0 where nothing is kept."""
    return kv_blocks(model, tp, kv, tokens) * BLOCK


def kv_blocks(model: Model, tp: int, kv: float, tokens: int) -> int:
    """The same in blocks."""
    if not model.count(Mixer.SLIDING) and not model.state_bytes:
        each = token_bytes(model, tp) * BLOCK
        return int(kv // each) if each else 0
    return int(kv * _in_blocks(tokens) / BLOCK / request_bytes(model, tp, tokens))


def at_once(model: Model, tp: int, kv: float, tokens: int) -> int | None:
    """How many requests of so many tokens fit, of which none shares anything; None: the model keeps nothing."""
    each = request_bytes(model, tp, tokens)
    return int(kv // each) if each else None


def reserve(model: Model, gpu: Gpu, tp: int) -> float:
    """Activations of the largest step, logits, CUDA graphs, CUDA itself: an estimate, in bytes.

    Activations: 4 times the hidden state, once more for each expert of a token, and 3 times an MLP's width per token
    of a step; logits: 6 bytes per number.
    """
    hidden = (4 + model.expert_choice) * model.hidden
    step = gpu.step_tokens * (hidden + 3 * model.mlp_width / tp) * FULL_BYTES
    logits = min(gpu.max_requests, 256) * model.vocab * 6 / tp
    context = CONTEXT_GIB * (2 if tp > 1 else 1)
    return step + logits + (GRAPH_GIB * len(model.layers) + context) * GIB
