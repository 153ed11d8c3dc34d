"""The answer as labelled lines (pure)."""

from collections.abc import Iterator
from typing import NamedTuple

from router.sizing import text
from router.sizing.fleet import BUSY, Load
from router.sizing.layers import Mixer
from router.sizing.memory import token_bytes, weight_bytes, windowed_token_bytes
from router.sizing.model import Model
from router.sizing.sizing import Sizing


class Line(NamedTuple):
    """One figure. `estimate`: it rests on more than arithmetic about bytes."""

    label: str
    value: str
    note: str = ""
    estimate: bool = False


class Section(NamedTuple):
    """Figures under a heading."""

    title: str
    lines: list[Line]


def sections(sizing: Sizing) -> Iterator[Section]:
    """All; what makes no sense for a model that does not fit is left out."""
    yield Section("Model", list(_model(sizing)))
    yield Section(f"Memory of each GPU, TP {sizing.worker.tp}", list(_memory(sizing)))
    if not sizing.plan.fits:
        return
    yield Section("A worker", list(_worker(sizing)))
    yield Section("The fleet", list(_fleet(sizing)))
    if sizing.worker.at_once is not None:
        yield Section("LMCache in CPU memory", list(_tier(sizing)))
        yield Section("Separate prefill and decode workers", list(_disaggregation(sizing)))


def _model(sizing: Sizing) -> Iterator[Line]:
    model, parts = sizing.model, sizing.model.parameters
    kinds, unsure = ", ".join(f"{n} with {kind}" for kind, n in model.kinds.items()), model.unsure
    note = "without the input embeddings"
    yield Line("parameters", text.billions(parts.total), estimate=unsure)
    yield Line("used per token", text.billions(parts.active), note, unsure)
    yield Line("layers", str(len(model.layers)), kinds)
    note, unsure = model.weights.name, unsure or model.weights.unsure
    yield Line("weights", text.gib(weight_bytes(model)), note, unsure)
    yield from _kept(model)


def _kept(model: Model) -> Iterator[Line]:
    windowed, unsure = windowed_token_bytes(model), model.unsure
    if token_bytes(model) or not windowed:
        yield Line("KV cache per token", text.small(token_bytes(model)), model.kv, unsure)
    if windowed:
        note = f"the last {model.window:,} tokens"
        yield Line("  within the window", text.small(windowed), note, unsure)
    if model.state_bytes:
        yield Line("state per request", text.small(model.state_bytes), "whatever its length", True)


def _memory(sizing: Sizing) -> Iterator[Line]:
    room, hardware = sizing.worker.memory, sizing.hardware
    note = f"{hardware.utilization:g} of {hardware.gpu.memory_gib:g} GiB"
    yield Line("usable", text.gib(room.usable), note)
    model = sizing.model
    yield Line("weights", text.gib(room.weights), estimate=model.unsure or model.weights.unsure)
    told = hardware.reserve_gib is not None
    note = "as told" if told else "activations, logits, CUDA graphs, CUDA"
    yield Line("reserve", text.gib(room.reserve), note, not told)
    unsure = not told or model.unsure or model.weights.unsure
    yield Line("KV cache", text.gib(room.kv), estimate=unsure)


def _worker(sizing: Sizing) -> Iterator[Line]:
    yield from _held(sizing)
    yield from _speeds(sizing)


def _held(sizing: Sizing) -> Iterator[Line]:
    worker, wanted = sizing.worker, sizing.wanted
    if worker.at_once is not None:
        blocks = f"{text.rounded(worker.kv_blocks)} blocks of 16"
        unsure = sizing.hardware.reserve_gib is None or sizing.model.unsure
        yield Line("KV tokens", text.rounded(worker.kv_tokens), blocks, unsure)
        note, most = f"of {wanted.tokens:,} tokens", worker.at_once_shared
        if most is not None and most > worker.at_once:
            note += f"; {most:,} where all begin with cached prefixes"
        yield Line("requests at once", f"{worker.at_once:,}", note, True)
    if wanted.prefix_tokens and worker.at_once is not None:
        note = f"of {wanted.prefix_tokens:,} tokens, beside {worker.alongside} requests' own"
        yield Line("prefixes cached", f"{worker.prefixes:,}", note, True)


def _speeds(sizing: Sizing) -> Iterator[Line]:
    worker, wanted = sizing.worker, sizing.wanted
    rate = worker.speed.prefill_rate(wanted.context)
    yield Line("prefill", f"{text.rate(rate)} tokens/s", "of a prompt that is not cached", True)
    yield Line("TTFT, nothing cached", text.seconds(worker.cold_s), "unloaded", True)
    if wanted.prefix_tokens:
        note = f"objective {text.seconds(wanted.ttft_s)}"
        yield Line("TTFT, prefix cached", text.seconds(worker.warm_s), note, True)
    if not wanted.output:
        return
    note = f"beside {worker.alongside} requests; objective {text.seconds(wanted.tpot_s)}"
    yield Line("TPOT", text.seconds(worker.tpot_s), note, True)
    output = worker.alongside / worker.tpot_s
    yield Line("output", f"{text.rate(output)} tokens/s", "while nothing is prefilled", True)


def _fleet(sizing: Sizing) -> Iterator[Line]:
    fleet, worker = sizing.fleet, sizing.worker
    if fleet is None:
        return
    note = f"{worker.workers} worker{'s' * (worker.workers > 1)}, {text.share(BUSY)} busy"
    yield Line("keeps up with", f"{text.rate(fleet.capacity)} requests/s", note, True)
    if worker.workers > 1 and sizing.wanted.prefix_tokens:
        other = f"{text.rate(fleet.capacity_round_robin)} requests/s"
        yield Line("  with round robin", other, estimate=True)
    if sizing.wanted.rate:
        title = f"for {sizing.wanted.rate:g} requests/s"
        yield Line(title, *_needed(fleet.by_prefix, worker.tp), estimate=True)
        if sizing.wanted.prefix_tokens:
            yield Line("  with round robin", *_needed(fleet.round_robin, worker.tp), estimate=True)


def _needed(load: Load | None, tp: int) -> tuple[str, str]:
    if load is None:
        return "no number of workers", "one alone is too slow"
    gpus = f" ({load.workers * tp} GPUs)" if tp > 1 else ""
    return (
        f"{load.workers} worker{'s' * (load.workers > 1)}{gpus}",
        f"hit rate {text.share(load.hit_rate)}; {load.bound}-bound: {text.share(load.prefill)} of the time "
        f"for prompts, {text.share(load.decode)} for answers",
    )


def _tier(sizing: Sizing) -> Iterator[Line]:
    tier = sizing.tier
    if tier is None:
        yield Line("pays", "no", "no memory is set aside for it", True)
        return
    yield Line("pays", "yes" if tier.pays else "no", tier.why, True)
    note = f"in {tier.cpu_gib:,.0f} GiB per worker"
    unsure = sizing.model.unsure or bool(sizing.model.count(Mixer.SLIDING))
    yield Line("holds", f"{text.rounded(tier.tokens)} tokens", note, unsure)
    note = f"computing anew: {text.rate(tier.compute_per_s)} tokens/s"
    yield Line("loads", f"{text.rate(tier.load_per_s)} tokens/s", note, True)
    note = "the way to the GPUs at which both take as long"
    yield Line("break-even", f"{tier.break_even / 1e9:.2g} GB/s", note, True)
    if tier.in_process:
        yield Line("connector", "LMCacheMPConnector", f"with LMCacheConnectorV1 {tier.in_process}")


def _disaggregation(sizing: Sizing) -> Iterator[Line]:
    parts = sizing.disaggregation
    if parts is None:
        return
    yield Line("pays", "yes" if parts.pays else "no", parts.why, True)
    note = f"a prompt's {text.small(parts.moved_bytes)}; its prefill takes {text.seconds(parts.prefill_s)}"
    yield Line("moving", text.seconds(parts.transfer_s), note, True)
    note = f"with a chunk of a prefill in it; without {text.seconds(parts.step_s)}"
    yield Line("longest step", text.seconds(parts.mixed_step_s), note, True)
