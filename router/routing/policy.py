"""The shapes of a choice."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.identity import Identity
from router.prompt.request import Request


class Question(msgspec.Struct, frozen=True, gc=False):
    """All that a policy may look at. `overlaps`: leading blocks per worker; `now`: perf_counter seconds."""

    request: Request
    identity: Identity
    candidates: Sequence[Worker]
    overlaps: Mapping[WorkerId, int]
    now: float


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A policy's answer and, in a word or two, why."""

    worker: Worker
    reason: str


Policy = Callable[[Question], Choice]
"""Picks one of the candidates (there is at least one). Changes nothing but its own counters."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes and what is expected of that.

    `blocks`: leading blocks known to be there. What follows is predicted: tokens, and seconds of that worker
    (`scale` times the model's): the prompt's own prefill, the work waiting before it, and the time to first
    token from now.
    """

    worker: Worker
    policy: str
    reason: str
    blocks: int
    cached_tokens: float
    uncached_tokens: float
    scale: float
    prefill_s: float
    waiting_s: float
    ttft_s: float
