"""Which part of the fleet fails when, and how (pure): the same seed gives the same faults."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

FIRST_S = 3.0
# No fault begins in the last seconds of the load.
LAST_S = 5.0
# After a fault, its part is left alone until routers may know that it is back.
SETTLE_S = 7.0


class Kind(StrEnum):
    """What happens to a part."""

    KILL = "kill"
    HANG = "hang"
    DRAIN = "drain"
    SLEEP = "sleep"
    PAUSE = "pause"
    ENGINE_DEAD = "engine_dead"
    REDIS_KILL = "redis_kill"
    REDIS_HANG = "redis_hang"
    ROUTER_KILL = "router_kill"
    ROUTER_DRAIN = "router_drain"


# Seconds that it stays so; then it is started again, continued or woken up. What drains ends when it is done.
LASTS_S: dict[Kind, tuple[float, float]] = {
    Kind.KILL: (0.5, 3.0),
    Kind.HANG: (3.0, 20.0),
    Kind.DRAIN: (0.5, 3.0),
    Kind.SLEEP: (3.0, 10.0),
    Kind.PAUSE: (3.0, 10.0),
    Kind.ENGINE_DEAD: (1.0, 3.0),
    Kind.REDIS_KILL: (0.5, 5.0),
    Kind.REDIS_HANG: (2.0, 8.0),
    Kind.ROUTER_KILL: (0.5, 3.0),
    Kind.ROUTER_DRAIN: (0.5, 2.0),
}
_OF_WORKERS = (Kind.KILL, Kind.HANG, Kind.DRAIN, Kind.SLEEP, Kind.PAUSE, Kind.ENGINE_DEAD)
_OF_REDIS = (Kind.REDIS_KILL, Kind.REDIS_HANG)
_OF_ROUTERS = (Kind.ROUTER_KILL, Kind.ROUTER_DRAIN)
# Longest that a part drains, for the plan.
_DRAIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Names of what can fail; `redis` is empty without one."""

    workers: tuple[str, ...]
    routers: tuple[str, ...]
    redis: tuple[str, ...] = ()

    def group(self, kind: Kind) -> tuple[str, ...]:
        """The parts that a kind of fault can happen to."""
        if kind in _OF_WORKERS:
            return self.workers
        return self.redis if kind in _OF_REDIS else self.routers


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, `at_s` after the beginning of the load."""

    at_s: float
    kind: Kind
    target: str
    lasts_s: float


def may_fail(target: str, down: Sequence[str], parts: Parts, *, spare: bool) -> bool:
    """Whether a part may fail now: it is up and, to `spare` one, another of its kind stays up."""
    if target in down:
        return False
    group = next(each for each in (parts.workers, parts.routers, parts.redis) if target in each)
    others = [name for name in group if name != target and name not in down]
    return bool(others) or not spare or group == parts.redis


def plan(
    seed: int,
    seconds: float,
    parts: Parts,
    *,
    every_s: float = 3.0,
    restart_s: float = 3.0,
    spare: bool = True,
    kinds: Sequence[Kind] = tuple(Kind),
) -> list[Fault]:
    """Faults of `kinds`, one about every `every_s`; each kind comes before one comes again, if it can.

    `restart_s`: how long a part takes to start. `spare`: leave one of the workers and of the routers up.
    """
    rng = random.Random(seed)
    deck = _deck(rng, [kind for kind in kinds if parts.group(kind)])
    busy_until: dict[str, float] = {}
    faults: list[Fault] = []
    at_s = FIRST_S
    while at_s < seconds - LAST_S:
        down = [name for name, until in busy_until.items() if until > at_s]
        fault = _fault(rng, at_s, next(deck, None), parts, down, spare=spare)
        if fault:
            faults.append(fault)
            drain_s = _DRAIN_S if fault.kind in (Kind.DRAIN, Kind.ROUTER_DRAIN) else 0.0
            busy_until[fault.target] = at_s + fault.lasts_s + drain_s + restart_s + SETTLE_S
        at_s += every_s * rng.uniform(0.5, 1.5)
    return faults


def _deck(rng: random.Random, kinds: list[Kind]) -> Iterator[Kind]:
    while kinds:
        yield from rng.sample(kinds, len(kinds))


def _fault(
    rng: random.Random,
    at_s: float,
    kind: Kind | None,
    parts: Parts,
    down: Sequence[str],
    *,
    spare: bool,
) -> Fault | None:
    if kind is None:
        return None
    able = [name for name in parts.group(kind) if may_fail(name, down, parts, spare=spare)]
    if not able:
        return None
    return Fault(at_s, kind, rng.choice(able), rng.uniform(*LASTS_S[kind]))
