"""A router's deciding parts without the rest: workers that are busy, an index that is full, a queue."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from router.engines.base import WorkerReport
from router.fleet.fleet import Fleet
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.prompt.blocks import chain_seed, covered_bytes, text_keys
from router.prompt.identity import Identity
from router.prompt.token_rates import TOKENS_PER_BYTE
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, Rates
from router.routing.options import QueueOptions
from router.routing.policy import Question
from router.routing.queue import LateBinding
from router.telemetry.metrics import LOOKUP_BUCKETS_S, Histogram

MODEL = "m"
RUNNING = 16
"""Requests that every worker is answering."""

_CONTEXT = 4000.0
_FILLER_BLOCKS = 500
_ANSWERS = 20


@dataclass(slots=True)
class Asked:
    """All that deciding reads of a request."""

    model: str | None = MODEL


class Rig:
    """`queue` decides over `workers`, of whom each is answering others and has answered before; the index knows
    `blocks` blocks of prompts that nobody asks for.
    """

    def __init__(self, count: int, blocks: int, *, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.fleet = _fleet(count)
        self.workers: Sequence[Worker] = self.fleet.candidates(MODEL)
        memory = MemoryIndex(capacity_tokens=float("inf"), max_blocks=10**9)
        self.index = PredictedIndex(memory, default_kv_tokens=10**9)
        self.cost = CostModel(Rates())
        self.chooser = Chooser(self.index, self.cost, Histogram(LOOKUP_BUCKETS_S))
        self.options = QueueOptions(limit=10**9)
        self.queue = LateBinding(self.chooser, self.fleet.candidates, self.options, seed=seed)
        for worker in self.workers:
            self._keep_busy(worker)
        for number in range(0, blocks, _FILLER_BLOCKS):
            keys = [self.random.getrandbits(64) for _ in range(_FILLER_BLOCKS)]
            filler = Identity(b"", keys[: blocks - number], 1e5, TOKENS_PER_BYTE)
            self.index.sent(self.workers[number // _FILLER_BLOCKS % count].id, filler)

    def _keep_busy(self, worker: Worker) -> None:
        for _ in range(RUNNING):
            answering = PendingPrefill(0.1, 1000.0, _CONTEXT, streams=True)
            worker.load.enter(answering, 0.0)
            worker.load.prefilled(answering, 0.0)
        for _ in range(_ANSWERS):
            self.cost.rates.learn(worker.id, 0.1, 0.1 * self.random.uniform(0.7, 2.0))

    # -- prompts -------------------------------------------------------------------------------

    def prompt(self, tokens: int) -> Identity:
        """A new one."""
        text = self.random.randbytes(round(tokens / TOKENS_PER_BYTE))
        return Identity(text, text_keys(text, chain_seed(MODEL.encode())), tokens, TOKENS_PER_BYTE)

    def hold(self, prompt: Identity, workers: Sequence[Worker]) -> None:
        """Each of `workers` holds as much of it as it happens to."""
        for worker in workers:
            depth = self.random.randint(1, len(prompt.keys))
            end = covered_bytes(depth)
            held = Identity(
                prompt.prompt[:end], prompt.keys[:depth], end * TOKENS_PER_BYTE, TOKENS_PER_BYTE
            )
            self.index.sent(worker.id, held)

    def question(self, prompt: Identity, now: float, *, tenant: str = "") -> Question:
        """A request with this prompt, looked up."""
        overlaps = self.chooser.look_up(prompt)
        return Question(Asked(), prompt, self.workers, overlaps, now, now, tenant)

    # -- room ----------------------------------------------------------------------------------

    def fill(self, worker: Worker, now: float) -> None:
        """It has no room for more."""
        tokens = self.options.room_tokens
        worker.load.enter(PendingPrefill(tokens * 3e-5, tokens, _CONTEXT, streams=True), now)

    def free(self, worker: Worker, now: float) -> None:
        """All its prefills are over, and as many requests have ended."""
        for prefill in list(worker.load.pending):
            worker.load.leave(prefill, now)


def _fleet(count: int) -> Fleet:
    fleet = Fleet(None, connect_s=1.0, idle_s=1.0)
    fleet.set_workers([f"http://worker-{number}:8000" for number in range(count)])
    for worker in fleet:
        fleet.set_report(worker, WorkerReport({MODEL: {}}))
        fleet.mark_up(worker)
    return fleet
