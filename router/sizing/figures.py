"""The answer for programs: plain numbers, units in the names (pure)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from router.sizing.cautions import cautions
from router.sizing.fleet import capacity
from router.sizing.memory import token_bytes, weight_bytes, windowed_token_bytes
from router.sizing.model import Model
from router.sizing.sizing import Sizing
from router.sizing.worker import Worker


def figures(sizing: Sizing, remedies: Sequence[str]) -> dict[str, Any]:
    """As JSON has it. `exact` names what is arithmetic; all else is estimated."""
    return {
        "fits": sizing.plan.fits,
        "remedies": list(remedies),
        "warnings": cautions(sizing),
        "exact": _exact(sizing.model),
        "model": _model(sizing),
        "hardware": {
            "gpu": sizing.hardware.gpu.name,
            "gpus": sizing.hardware.gpus,
            "interconnect": sizing.hardware.link.name,
            "utilization": sizing.hardware.utilization,
        },
        "asked": asdict(sizing.wanted),
        "tp": sizing.worker.tp,
        "workers": sizing.worker.workers,
        "why": sizing.plan.why,
        "smallest_tp_that_fits": sizing.plan.smallest,
        "memory": {
            "usable_bytes": int(sizing.worker.memory.usable),
            "weight_bytes": int(sizing.worker.memory.weights),
            "reserve_bytes": int(sizing.worker.memory.reserve),
            "kv_bytes": int(sizing.worker.memory.kv),
        },
        "sizes": [_option(worker) for worker in sizing.plan.options],
        "fleet": asdict(sizing.fleet) if sizing.fleet else None,
        "lmcache": asdict(sizing.tier) if sizing.tier else None,
        "disaggregation": asdict(sizing.disaggregation) if sizing.disaggregation else None,
    }


def _exact(model: Model) -> list[str]:
    found = ["hardware", "asked", "memory.usable_bytes"]
    if model.unsure:
        return found
    if not model.weights.unsure:
        return ["model", *found, "memory.weight_bytes"]
    return ["model.parameters", "model.kv_bytes_per_token", *found]


def _model(sizing: Sizing) -> dict[str, Any]:
    model = sizing.model
    return {
        "name": model.name,
        "parameters": model.parameters.total,
        "active_parameters": model.parameters.active,
        "weights": model.weights.name,
        "weight_bytes": int(weight_bytes(model)),
        "kv": model.kv,
        "kv_bytes_per_token": token_bytes(model),
        "kv_bytes_per_token_in_window": windowed_token_bytes(model),
        "window_tokens": model.window if windowed_token_bytes(model) else None,
        "state_bytes_per_request": model.state_bytes,
        "layers": {str(kind): count for kind, count in model.kinds.items()},
        "longest_context": model.context or None,
        "assumed": list(model.assumed),
        "not_understood": list(model.not_understood),
    }


def _option(worker: Worker) -> dict[str, Any]:
    return {
        "tp": worker.tp,
        "fits": worker.fits,
        "workers": worker.workers,
        "kv_tokens": worker.kv_tokens,
        "kv_blocks": worker.kv_blocks,
        "requests_at_once": worker.at_once,
        "requests_at_once_with_cached_prefixes": worker.at_once_shared,
        "prefixes_cached": worker.prefixes,
        "ttft_cold_s": worker.cold_s,
        "ttft_s": worker.warm_s,
        "tpot_s": worker.tpot_s,
        "prefill_tokens_per_s": worker.speed.prefill_rate(worker.wanted.context),
        "requests_per_s": capacity(worker, worker.workers, by_prefix=True)
        if worker.fits and worker.workers
        else None,
        "all_reduce_s": worker.speed.reduce_s(worker.wanted.context),
        "misses": _misses(worker),
    }


def _misses(worker: Worker) -> list[str]:
    """Why it will not do; empty: it will."""
    if not worker.fits:
        return ["memory"]
    return [*worker.misses(), *(() if worker.workers else ("gpus",))]
