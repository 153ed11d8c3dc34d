"""The two kinds of workers: simulated ones, and real vLLM on this machine's CPU."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from bench.chaos.processes import Program
from bench.dataplane.harness import ROOT

DRAIN_S = 30
MODELS = {"sim": "chaos", "vllm": "tiny-qwen3"}
# How long a worker takes to start, about.
START_S = {"sim": 3.0, "vllm": 40.0}


def simulated(name: str, port: int, events_port: int, logs: Path) -> Program:
    """A simulated worker that drains, and publishes KV events on `events_port` (replays on the next)."""
    options = {
        "port": port,
        "model": MODELS["sim"],
        "itl-ms": 20,
        "shutdown-timeout": DRAIN_S,
        "kv-events-port": events_port,
    }
    flags = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "router.simworker", *flags]
    return Program(name, port, command, logs / f"{name}.log", ready="/health")


def vllm(name: str, port: int, _events_port: int, logs: Path) -> Program:
    """A real worker with a tiny model; float32, so that rounding seldom changes what it says."""
    workers = launcher()
    extra = ("--dtype", "float32", "--shutdown-timeout", str(DRAIN_S))
    spec = workers.WorkerSpec(port, "tiny", kv_mb=128, max_model_len=4096, extra_args=extra)
    home: Path = workers.engine_dir()
    program = str(home / "venv/bin/vllm")
    arguments = workers._arguments(spec)
    environment: dict[str, str] = workers._environment(spec, port)
    return Program(
        name,
        port,
        [program, "serve", str(home / "model" / spec.model), *arguments],
        logs / f"{name}.log",
        ready="/health",
        environment={**environment, "VLLM_SERVER_DEV_MODE": "1"},
    )


def launcher() -> ModuleType:
    """deploy/vllm-cpu/workers.py, which is no package's."""
    path = ROOT / "deploy/vllm-cpu/workers.py"
    spec = importlib.util.spec_from_file_location("vllm_cpu_workers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


KINDS: dict[str, Callable[[str, int, int, Path], Program]] = {"sim": simulated, "vllm": vllm}
