"""One way to build a worker, and what it can do (pure)."""

from dataclasses import dataclass

from router.sizing.memory import Memory, at_once, kv_blocks, kv_tokens, request_bytes
from router.sizing.speed import Speed
from router.sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class Worker:
    """A tensor parallel size with its consequences. `alongside`: requests in progress at each worker, if all are shared out."""

    speed: Speed
    memory: Memory
    workers: int
    """With the GPUs there are; 0 where they are too few."""
    wanted: Workload
    alongside: int
    """Requests in progress at a worker; no more than fit."""
    at_once: int | None
    """Requests that fit, of which none shares anything; None: without limit."""

    @property
    def tp(self) -> int:
        """GPUs per worker."""
        return self.speed.tp

    @property
    def fits(self) -> bool:
        """Whether one request of the asked length can run."""
        left = self.memory.usable - self.memory.weights - self.memory.reserve
        return left >= 0 and self.at_once != 0

    @property
    def kv_tokens(self) -> int:
        """That the KV cache holds."""
        return kv_tokens(self.speed.model, self.tp, self.memory.kv, self.wanted.tokens)

    @property
    def kv_blocks(self) -> int:
        """The same in blocks of 16."""
        return kv_blocks(self.speed.model, self.tp, self.memory.kv, self.wanted.tokens)

    @property
    def cold_s(self) -> float:
        """Time to first token of a prompt of which nothing is cached, and which does not wait."""
        return self.speed.prefill_s(self.wanted.context)

    @property
    def warm_s(self) -> float:
        """The same with its shared beginning cached."""
        return self.speed.prefill_s(self.wanted.context, self.wanted.prefix_tokens)

    @property
    def tpot_s(self) -> float:
        """Time per output token beside `alongside` requests half-way through their answers, without prefills."""
        return self.speed.step_s(
            max(1, self.alongside), self.wanted.context + self.wanted.output // 2
        )

    @property
    def holds_all(self) -> bool:
        """Whether all requests in progress run at once, even if none shares anything."""
        return self.at_once is None or self.room >= self.wanted.concurrency

    @property
    def room(self) -> int:
        """Requests that run at once over all workers, or one if there are no GPUs for any; without limit, those in progress."""
        if self.at_once is None:
            return self.wanted.concurrency
        return max(1, self.workers) * min(self.at_once, self.speed.gpu.max_requests)

    @property
    def prefixes(self) -> int:
        """Shared beginnings that stay cached beside what the requests in progress need for themselves."""
        each = request_bytes(self.speed.model, self.tp, self.wanted.prefix_tokens)
        own = self.wanted.tokens - self.wanted.prefix_tokens
        left = self.memory.kv - self.alongside * request_bytes(self.speed.model, self.tp, own)
        return max(0, int(left // each)) if each and self.wanted.prefix_tokens else 0

    @property
    def at_once_shared(self) -> int | None:
        """Requests that fit if each begins like one of the shared beginnings; None: without limit."""
        wanted, model = self.wanted, self.speed.model
        own = request_bytes(model, self.tp, wanted.tokens - wanted.prefix_tokens)
        prefixes = wanted.prefixes * request_bytes(model, self.tp, wanted.prefix_tokens)
        if self.at_once is None or not wanted.prefix_tokens:
            return self.at_once
        return max(self.at_once, int((self.memory.kv - prefixes) // own))

    def misses(self) -> list[str]:
        """The objectives that it does not meet, in words."""
        goals = (
            (self.warm_s <= self.wanted.ttft_s, "TTFT"),
            (not self.wanted.output or self.tpot_s <= self.wanted.tpot_s, "TPOT"),
            (self.holds_all, "concurrency"),
        )
        return [name for met, name in goals if not met]


def build(speed: Speed, room: Memory, gpus: int, wanted: Workload) -> Worker:
    """A worker of `speed.tp` GPUs, of which there are `gpus`."""
    fitting = at_once(speed.model, speed.tp, room.kv, wanted.tokens)
    workers = gpus // speed.tp
    fair = -(-wanted.concurrency // max(1, workers))
    limit = speed.gpu.max_requests if fitting is None else min(fitting, speed.gpu.max_requests)
    return Worker(speed, room, workers, wanted, min(fair, limit), fitting)
