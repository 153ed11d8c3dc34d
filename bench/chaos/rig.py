"""The fleet: which programs there are, with which flags."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos import engine
from bench.chaos.processes import Program
from bench.chaos.schedule import Parts
from bench.shared.server import binary

EVENTS_AT, ROUTERS_AT, ORACLE_AT, REDIS_AT = 20, 70, 98, 99
MOST = 16
READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `settings`: of every router, by name."""

    engine: str
    workers: int
    routers: int
    redis: bool
    base_port: int
    logs: Path
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Rig:
    """All programs by name. `oracle`: a worker that no router knows of, where the answers must be asked for."""

    workers: dict[str, Program]
    routers: dict[str, Program]
    redis: dict[str, Program]
    oracle: Program | None
    model: str
    start_s: float

    @property
    def parts(self) -> Parts:
        """What can fail."""
        return Parts(tuple(self.workers), tuple(self.routers), tuple(self.redis))

    def __getitem__(self, name: str) -> Program:
        return (self.workers | self.routers | self.redis)[name]

    @property
    def all(self) -> list[Program]:
        """Every program, in the order to start them."""
        extra = [self.oracle] if self.oracle else []
        groups = (self.redis, self.workers, self.routers)
        return [*extra, *(program for group in groups for program in group.values())]


def rig(plan: Plan) -> Rig:
    """The programs of a plan, not started."""
    make = engine.KINDS[plan.engine]
    base, workers = plan.base_port, {}
    for i in range(plan.workers):
        name = f"worker-{i}"
        workers[name] = make(name, base + i, base + EVENTS_AT + 2 * i, plan.logs)
    redis = _redis(plan) if plan.redis else {}
    routers = {
        f"router-{i}": _router(f"router-{i}", plan.base_port + ROUTERS_AT + i, plan, workers)
        for i in range(plan.routers)
    }
    oracle = None
    if plan.engine == "vllm":
        oracle = make("oracle", base + ORACLE_AT, 0, plan.logs)
    return Rig(
        workers, routers, redis, oracle, engine.MODELS[plan.engine], engine.START_S[plan.engine]
    )


def _redis(plan: Plan) -> dict[str, Program]:
    port = plan.base_port + REDIS_AT
    command = [binary("redis"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    return {"redis": Program("redis", port, command, plan.logs / "redis.log")}


def _router(name: str, port: int, plan: Plan, workers: dict[str, Program]) -> Program:
    settings = dict(plan.settings)
    if plan.redis:
        settings["redis_url"] = f"redis://127.0.0.1:{plan.base_port + REDIS_AT}/0"
    flags = [word for worker in workers.values() for word in ("--worker", worker.url)]
    listen = ("--host", "127.0.0.1", "--port", str(port))
    return Program(
        name,
        port,
        [sys.executable, "-m", "router", "serve", *listen, *flags],
        plan.logs / f"{name}.log",
        ready="/ready",
        environment={f"PREFIX_ROUTER_{key.upper()}": value for key, value in settings.items()},
    )


@contextlib.asynccontextmanager
async def running(made: Rig) -> AsyncIterator[None]:
    """Start everything, wait until it is ready; end everything, however that goes."""
    try:
        for group in (made.all[: -len(made.routers)], made.all[-len(made.routers) :]):
            await _start(group)
        yield
    finally:
        await asyncio.gather(*(program.kill() for program in made.all))


async def _start(programs: Sequence[Program]) -> None:
    for program in programs:
        await program.start()
    for program in programs:
        await program.await_ready(READY_S * (4 if len(programs) > 2 else 1))
