"""Each formula with the numbers of the question put in (pure)."""

from collections.abc import Iterator

from router.sizing import text
from router.sizing.formats import KV_BYTES
from router.sizing.gpus import GIB, LINKS
from router.sizing.layers import EVERYTHING, WINDOWED, Mixer
from router.sizing.memory import (
    BLOCK,
    dense_bytes,
    kv_heads_per_gpu,
    layer_token_bytes,
    table_bytes,
    weight_bytes,
)
from router.sizing.model import Model
from router.sizing.sizing import Sizing
from router.sizing.speed import ATTENTION, BANDWIDTH, COMPUTE, LINK, STEP_S


def formulas(sizing: Sizing) -> str:
    """One per paragraph: the words, then the numbers."""
    lines = [*_bytes(sizing), *_times(sizing)]
    if sizing.plan.fits:
        lines += [*_talk(sizing), *_tiers(sizing)]
    return "\n".join(["Formulas", *(f"  {name}\n    = {numbers}" for name, numbers in lines)])


def _bytes(sizing: Sizing) -> Iterator[tuple[str, str]]:
    model, worker = sizing.model, sizing.worker
    parts, room = model.parameters, worker.memory
    yield (
        "weights = embeddings x bytes + layers x bytes + experts x bytes",
        f"{parts.tables:,} x {table_bytes(model):g} + {parts.dense:,} x {dense_bytes(model):.4g}"
        f" + {parts.experts:,} x {model.weights.bytes:.4g} = {weight_bytes(model):,.0f}",
    )
    yield from _token(sizing)
    yield (
        "KV cache of a GPU = memory x utilization - weights of a GPU - reserve",
        f"{sizing.hardware.gpu.memory_gib:g} x {sizing.hardware.utilization:g} - {room.weights / GIB:.2f}"
        f" - {room.reserve / GIB:.2f} = {room.kv / GIB:.2f} GiB",
    )
    if model.count(Mixer.FULL) and not model.count(Mixer.SLIDING) and not model.state_bytes:
        each = layer_token_bytes(model, worker.tp) * model.count(Mixer.FULL) * BLOCK
        yield (
            f"blocks = KV cache of a GPU / ({BLOCK} x bytes per token on a GPU)",
            f"{room.kv:,.0f} / {each:,} = {worker.kv_blocks:,}",
        )


def _token(sizing: Sizing) -> Iterator[tuple[str, str]]:
    model, tp, width = sizing.model, sizing.worker.tp, KV_BYTES[sizing.model.kv]
    if model.latent:
        layers = model.count(Mixer.FULL, Mixer.SLIDING)
        yield (
            "KV bytes per token, on every GPU = attending layers x (latent + rotary) x bytes",
            f"{layers} x {model.latent} x {width} = {layers * layer_token_bytes(model, tp):,}",
        )
    elif model.full == model.windowed or not model.count(Mixer.SLIDING):
        yield _heads(model, tp, "attending layers", Mixer.FULL, Mixer.SLIDING)
    else:
        yield _heads(model, tp, "layers that see everything", Mixer.FULL)
        yield _heads(model, tp, "windowed layers", Mixer.SLIDING)


def _heads(model: Model, tp: int, which: str, *mixers: Mixer) -> tuple[str, str]:
    each = model.windowed if mixers == (Mixer.SLIDING,) else model.full
    layers, kv = model.count(*mixers), kv_heads_per_gpu(model, tp, mixers[0])
    total = f"{layers * layer_token_bytes(model, tp, mixers[0]):,}"
    alike = each.key == each.value
    size = f"2 x {kv} x {each.key}" if alike else f"{kv} x ({each.key} + {each.value})"
    words = "2 x KV heads of it x head size" if alike else "KV heads of it x (key + value)"
    return (
        f"KV bytes per token on a GPU = {which} x {words} x bytes",
        f"{layers} x {size} x {KV_BYTES[model.kv]} = {total}",
    )


def _times(sizing: Sizing) -> Iterator[tuple[str, str]]:
    model, worker, wanted = sizing.model, sizing.worker, sizing.wanted
    speed, gpu, tokens = worker.speed, worker.speed.gpu, wanted.context
    parts, peak = model.parameters, worker.speed.gpu.flop_per_s(model.weights.arithmetic)
    yield (
        f"matrices of a prompt = 2 x tokens x parameters per token / (GPUs x FLOP/s x {COMPUTE})",
        f"2 x {tokens:,} x {parts.dense + parts.active_experts:,} / ({speed.tp} x {peak:.4g} x {COMPUTE})"
        f" = {text.seconds(speed.linear_s(tokens))}",
    )
    yield (
        f"attention of a prompt = FLOP per pair x pairs / (GPUs x FLOP/s x {ATTENTION})",
        f"{_pair_flop(model)} x pairs of {model.count(*EVERYTHING)} full and "
        f"{model.count(*WINDOWED)} windowed layers / ({speed.tp} x {gpu.bf16:.4g} x {ATTENTION})"
        f" = {text.seconds(speed.attention_s(tokens))}",
    )
    steps = -(-tokens // gpu.step_tokens)
    yield (
        f"TTFT = max(matrices, steps x reading weights) + attention + all-reduces + steps x {STEP_S:g} s",
        f"{steps} steps of {gpu.step_tokens:,} tokens: {text.seconds(worker.cold_s)}",
    )
    beside = max(1, worker.alongside)
    yield (
        f"TPOT = {STEP_S:g} s + (weights read / GPUs + KV read) / (bytes/s x {BANDWIDTH}) + all-reduces",
        f"{beside} requests read {speed.read_bytes(beside) / GIB:.2f} GiB of weights, at "
        f"{gpu.bandwidth / 1e9:,.0f} GB/s: {text.seconds(worker.tpot_s)}",
    )


def _pair_flop(model: Model) -> str:
    windowed = model.windowed.pair_flop
    if not model.count(Mixer.SLIDING) or model.latent or windowed == model.pair_flop:
        return f"{model.pair_flop:,}"
    return f"({model.pair_flop:,}, windowed {windowed:,})"


def _talk(sizing: Sizing) -> Iterator[tuple[str, str]]:
    worker, link = sizing.worker, sizing.worker.speed.link
    speed, tokens = worker.speed, sizing.wanted.context
    if worker.tp == 1:
        return
    layers, hidden, tp = len(sizing.model.layers), sizing.model.hidden, worker.tp
    yield (
        f"all-reduces = 2 x layers x (tokens x hidden x 2 bytes x 2 (N - 1) / N / (bytes/s x {LINK}) + hops)",
        f"2 x {layers} x ({tokens:,} x {hidden:,} x 2 x 2 x {tp - 1}/{tp} / ({link.bytes_per_s:.3g} x {LINK})"
        f" + {2 * (tp - 1)} x {link.hop_s * 1e6:g} us per step) = {text.seconds(speed.reduce_s(tokens))}",
    )


def _tiers(sizing: Sizing) -> Iterator[tuple[str, str]]:
    tier, parts, worker = sizing.tier, sizing.disaggregation, sizing.worker
    if tier is not None:
        host = LINKS[worker.speed.gpu.host]
        ways = 1 if sizing.model.latent else worker.tp
        yield (
            f"loading = GPUs x bytes/s of the host link x {LINK} / bytes per token",
            f"{ways} x {host.bytes_per_s:.3g} x {LINK} / bytes per token = {text.rate(tier.load_per_s)} tokens/s",
        )
    if parts is not None:
        yield (
            f"moving = bytes of a prompt / (GPUs x network bytes/s x {LINK})",
            f"{text.small(parts.moved_bytes)}: {text.seconds(parts.transfer_s)}",
        )
