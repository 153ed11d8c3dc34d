"""Whether a cache below the GPU pays, and whether prefills should have workers of their own (pure). Estimates."""

from dataclasses import dataclass

from router.sizing.fleet import Load
from router.sizing.gpus import GIB, LINKS
from router.sizing.layers import Mixer
from router.sizing.memory import token_bytes, windowed_token_bytes
from router.sizing.model import Model
from router.sizing.speed import LINK
from router.sizing.text import share, small
from router.sizing.worker import Worker

WORTH = 0.5
"""A tier should load in half the time that computing anew takes: it delays other requests' steps too."""

SHORT = 0.2
"""Moving a KV cache should take less than this share of the prefill that it saves a decoding worker."""

CROWDED = 0.3
"""Share of a worker's time in prefills from which answers visibly stutter."""


@dataclass(frozen=True, slots=True)
class Tier:
    """LMCache in the CPU's memory, of which each worker has `cpu_gib`."""

    cpu_gib: float
    tokens: int
    load_per_s: float
    """Tokens/s from there to the GPUs."""
    compute_per_s: float
    """Tokens/s computed anew."""
    break_even: float
    """Bytes/s of the way at which both are alike."""
    pays: bool
    why: str
    in_process: str | None
    """What LMCache's connector within the worker (`LMCacheConnectorV1`) does to this model; None: nothing."""


def tier(worker: Worker, cpu_gib: float) -> Tier | None:
    """For prompts' shared beginnings; workers share a machine's `cpu_gib`. None: no KV cache, or no CPU memory."""
    speed, wanted = worker.speed, worker.wanted
    tokens = max(16, wanted.prefix_tokens or wanted.context // 16 * 16)
    per_token = speed.moved_bytes(tokens) / tokens
    if not (token_bytes(speed.model) + windowed_token_bytes(speed.model)) or cpu_gib <= 0:
        return None
    way = LINKS[speed.gpu.host].bytes_per_s * LINK * (1 if speed.model.latent else speed.tp)
    compute_per_s = speed.prefill_rate(tokens)
    load_per_s = way / per_token
    faster = compute_per_s <= WORTH * load_per_s
    missing = wanted.prefixes > worker.prefixes * max(1, worker.workers)
    cpu_gib /= max(1, worker.workers)
    held = int(cpu_gib * GIB / per_token)
    return Tier(
        cpu_gib=cpu_gib,
        tokens=held,
        load_per_s=load_per_s,
        compute_per_s=compute_per_s,
        break_even=compute_per_s * per_token,
        pays=faster and missing and wanted.prefix_tokens > 0 and held >= tokens,
        why=_tier_why(worker, held // tokens, faster=faster, missing=missing),
        in_process=_in_process(speed.model),
    )


def _in_process(model: Model) -> str | None:
    """It switches vLLM's cache of unlike layers off."""
    if not model.count(Mixer.FULL):
        return None
    if model.state_bytes:
        return "vLLM does not start: it cannot keep states and a cache alike"
    if model.count(Mixer.SLIDING):
        least = token_bytes(model) + windowed_token_bytes(model)
        return f"windowed layers keep every token: {small(least)} per token, so that far less fits"
    return None


def _tier_why(worker: Worker, held: int, *, faster: bool, missing: bool) -> str:
    wanted = worker.wanted
    if not wanted.prefix_tokens:
        return "prompts share nothing that could be loaded"
    if not missing:
        return (
            f"the GPUs hold all {wanted.prefixes:,} prefixes already; it would only save restarts"
        )
    if not held:
        return "not even one prefix fits into the CPU's memory"
    if not faster:
        return "computing anew is about as fast as loading"
    return f"it holds {held:,} prefixes more per worker, of {wanted.prefixes:,}"


@dataclass(frozen=True, slots=True)
class Disaggregation:
    """Workers that only prefill beside workers that only decode."""

    moved_bytes: float
    transfer_s: float
    prefill_s: float
    """Of a prompt as it comes on average: partly cached."""
    step_s: float
    mixed_step_s: float
    """A step with a chunk of a prefill in it: the longest pause between two tokens."""
    prefill_share: float
    """Of a worker's time, today."""
    pays: bool
    why: str


def disaggregation(worker: Worker, load: Load, network_gbit: float) -> Disaggregation:
    """Compare moving a prompt's KV cache over the network with letting prefills hold up answers."""
    speed, wanted = worker.speed, worker.wanted
    moved = speed.moved_bytes(wanted.context)
    rate = network_gbit * 1e9 / 8 * LINK * (1 if speed.model.latent else speed.tp)
    transfer_s, running = moved / rate, max(1, worker.alongside)
    cached = int(load.hit_rate * wanted.context)
    prefill_s = speed.prefill_s(wanted.context, cached)
    mixed = speed.mixed_step_s(running, wanted.context)
    pays, why = _verdict(worker, load, transfer_s, prefill_s, mixed)
    return Disaggregation(
        moved, transfer_s, prefill_s, worker.tpot_s, mixed, load.prefill, pays, why
    )


def _verdict(
    worker: Worker, load: Load, transfer_s: float, prefill_s: float, mixed_s: float
) -> tuple[bool, str]:
    objections = (
        (not transfer_s, "there is no KV cache to move"),
        (
            transfer_s > SHORT * prefill_s,
            f"moving takes {share(transfer_s / prefill_s)} of the prefill, over {share(SHORT)}",
        ),
        (
            mixed_s <= worker.wanted.tpot_s,
            "even steps with a prefill in them meet the TPOT objective",
        ),
        (
            load.prefill < CROWDED,
            f"prefills take {share(load.prefill)} of the time, under {share(CROWDED)}: "
            "a smaller --max-num-batched-tokens does",
        ),
        (max(worker.workers, load.workers) < 2, "it takes at least two workers"),
    )
    why = next((text for holds, text in objections if holds), None)
    return why is None, why or "moving is cheap, and prefills hold up answers beyond the objective"
