"""Models and questions that the tests of sizing share."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from router.sizing.gpus import GPUS, LINKS
from router.sizing.memory import memory
from router.sizing.model import Model, read_model
from router.sizing.plan import Hardware
from router.sizing.sizing import Around, Sizing, answer
from router.sizing.speed import Speed
from router.sizing.worker import Worker, build
from router.sizing.workload import Workload

CONFIGS = Path(__file__).parent / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))
WANTED = Workload(20_000, 500, 32, None, 0.6, 100, 1.0, 0.05)


def config(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return loaded


def model(name: str = "llama-3.1-8b", **changes: Any) -> Model:
    return read_model({**config(name), **changes})


def hardware(gpu: str = "l40s", gpus: int = 1, utilization: float = 0.92) -> Hardware:
    return Hardware(GPUS[gpu], LINKS[GPUS[gpu].link], gpus, utilization)


def speed(name: str = "llama-3.1-8b", gpu: str = "l40s", tp: int = 1) -> Speed:
    return Speed(model(name), GPUS[gpu], LINKS[GPUS[gpu].link], tp)


def worker(
    name: str = "llama-3.1-8b",
    gpu: str = "l40s",
    tp: int = 1,
    gpus: int | None = None,
    **wanted: Any,
) -> Worker:
    made = speed(name, gpu, tp)
    room = memory(made.model, made.gpu, tp, 0.92)
    return build(made, room, gpus or tp, replace(WANTED, **wanted))


def sizing(
    name: str = "llama-3.1-8b",
    gpu: str = "l40s",
    gpus: int = 1,
    tp: int | None = None,
    **wanted: Any,
) -> Sizing:
    return answered(model(name), gpu, gpus, tp, **wanted)


def answered(
    made: Model, gpu: str = "l40s", gpus: int = 1, tp: int | None = None, **wanted: Any
) -> Sizing:
    asked = replace(WANTED, **wanted)
    return answer(made, hardware(gpu, gpus), asked, Around(64.0, 50.0), tp)
