"""Routes about the worker itself: models, health, metrics, control."""

from typing import Any
from urllib.parse import parse_qs

from router.simworker.config import VLLM_VERSION, WorkerConfig
from router.simworker.fields import adapter_path, new_id
from router.simworker.http import Reply, Request, bad_request
from router.simworker.metrics import CONTENT_TYPE, exposition
from router.simworker.publisher import BUFFER_STEPS, HIGH_WATER_MARK, events_port, replay_endpoint
from router.simworker.worker import Worker


async def models(worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /v1/models."""
    cards = [_card(worker, model) for model in worker.config.models]
    await reply.json({"object": "list", "data": cards})


def _card(worker: Worker, model: str) -> dict[str, Any]:
    base = worker.config.models[0]
    permission = {
        "id": f"modelperm-{new_id()}",
        "object": "model_permission",
        "created": int(worker.started_at),
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": model,
        "object": "model",
        "created": int(worker.started_at),
        "owned_by": "vllm",
        "root": adapter_path(model),
        "parent": None if model == base else base,
        "max_model_len": worker.config.context_limit if model == base else None,
        "permission": [permission],
    }


async def health(worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /health, /ping: 200 without a body, also while it sleeps or drains; 503 when the engine is dead."""
    await reply.text(b"", 503 if worker.dead else 200, content_type=None)


async def version(_worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /version."""
    await reply.json({"version": VLLM_VERSION})


async def load(worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /load: requests in the engine (vLLM reports this if it is told to track it)."""
    schedulers = [engine.scheduler for engine in worker.engines]
    total = sum(len(each.running) + len(each.waiting) for each in schedulers)
    await reply.json({"server_load": total})


async def metrics(worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /metrics."""
    await reply.text(exposition(worker.engines, worker.started_at), content_type=CONTENT_TYPE)


async def kv_event_sources(worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /kv_event_sources: where cache events are published, by data parallel rank."""
    ranks = range(worker.config.data_parallel_size if worker.config.kv_events_port else 0)
    await reply.json({str(rank): _event_source(worker.config, rank) for rank in ranks})


def _event_source(config: WorkerConfig, rank: int) -> dict[str, Any]:
    return {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://*:{events_port(config, rank)}",
        "replay_endpoint": replay_endpoint(config, rank),
        "buffer_steps": BUFFER_STEPS,
        "hwm": HIGH_WATER_MARK,
        "max_queue_size": HIGH_WATER_MARK,
        "topic": config.events_topic,
    }


async def reset_prefix_cache(worker: Worker, _request: Request, reply: Reply) -> None:
    """POST /reset_prefix_cache: refused while requests use blocks."""
    cleared = [engine.pool.clear() for engine in worker.engines]
    await reply.json({"success": all(cleared)})


async def is_sleeping(worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /is_sleeping: also true while it is paused, as in vLLM."""
    await reply.json({"is_sleeping": worker.engine.paused})


async def is_paused(worker: Worker, _request: Request, reply: Reply) -> None:
    """GET /is_paused: also true while it sleeps."""
    await reply.json({"is_paused": worker.engine.paused})


async def sleep(worker: Worker, request: Request, reply: Reply) -> None:
    """POST /sleep?level=1&mode=abort: requests wait until /wake_up."""
    level = int(_query(request, "level", "1"))
    worker.pause(level, keep=_keeps(request))
    await reply.json({"status": "sleeping", "level": level})


async def wake_up(worker: Worker, _request: Request, reply: Reply) -> None:
    """POST /wake_up."""
    worker.resume()
    await reply.json({"status": "awake", "tags": None})


async def pause(worker: Worker, request: Request, reply: Reply) -> None:
    """POST /pause?mode=abort: requests wait until /resume."""
    worker.pause(keep=_keeps(request))
    await reply.json({"status": "paused"})


async def resume(worker: Worker, _request: Request, reply: Reply) -> None:
    """POST /resume."""
    worker.resume()
    await reply.json({"status": "resumed"})


def _query(request: Request, name: str, default: str) -> str:
    return parse_qs(request.query.decode("latin-1")).get(name, [default])[0]


def _keeps(request: Request) -> bool:
    """Whether running answers are to go on afterwards; raises ApiError for a mode that is not simulated."""
    mode = _query(request, "mode", "abort")
    if mode not in ("abort", "keep"):
        raise bad_request(f"Invalid pause mode: {mode}")
    return mode == "keep"


async def fault(worker: Worker, request: Request, reply: Reply) -> None:
    """POST /_fault {"kind": "engine_dead"}: what no signal to this process can do. Not in vLLM."""
    kind = request.json().get("kind")
    if kind != "engine_dead":
        raise bad_request(f"No such fault: {kind}", "kind")
    await reply.json({"kind": kind})
    worker.die()
