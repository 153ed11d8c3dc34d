"""The seam between the fleet and an engine's dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from router.upstream.pool import Pool

ModelCard = Mapping[str, Any]
"""A model's entry in the engine's `/v1/models`, every field as the engine gave it."""


class Condition(StrEnum):
    """What a worker does with a request."""

    SERVING = "up"
    DRAINING = "draining"
    """It ends what it has, and refuses what is new."""
    ASLEEP = "asleep"
    PAUSED = "paused"
    """Both let a request wait until somebody wakes them."""
    ILL = "down"


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself.

    `kv_tokens`: how many tokens its KV cache holds, each rank's if it has several; `block_tokens`: how many one of
    its blocks; `started_at`: when its process began, epoch seconds; `ranks`: how many data-parallel ranks it has;
    `controls`: it can be asked whether it sleeps or pauses.
    None: it does not say.
    """

    models: Mapping[str, ModelCard] = field(default_factory=dict)
    kv_tokens: int | None = None
    block_tokens: int | None = None
    started_at: float | None = None
    ranks: int | None = None
    controls: bool | None = None


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a rank of a worker has to do, whoever sent it: requests in its batch and waiting for it, and the share of its KV
    cache that they hold (0 to 1; None: not told).
    """

    running: int
    waiting: int
    kv_usage: float | None = None


class Engine(Protocol):
    """Asks a worker. All raise `RouterError` or TimeoutError when it does not answer."""

    async def condition(self, pool: Pool, report: WorkerReport) -> Condition:
        """What the worker, of which this is known, does with requests."""

    async def describe(self, pool: Pool) -> WorkerReport:
        """The worker's models and cache size."""

    async def gauges(self, pool: Pool) -> Mapping[int, Gauges]:
        """What each rank of the worker has to do, as far as it tells."""
