"""The worker model written down rule by rule: every step touches every request and every block. Slow, the oracle."""

from dataclasses import dataclass, field
from math import ceil, inf

from router.simulate.hardware import Hardware
from router.simulate.job import Job


@dataclass(eq=False)
class Block:
    """A place in the KV cache. Without an id it is private."""

    id: int | None = None
    users: int = 1


@dataclass(eq=False)
class Request:
    job: Job
    computed: int = 0
    generated: int = 0
    blocks: list[Block] = field(default_factory=list)
    scheduled: int = 0
    lost: int = 0

    @property
    def length(self) -> int:
        return self.job.prompt_tokens + self.generated

    def id(self, number: int) -> int | None:
        ids = [*self.job.blocks, *self.job.answer_blocks]
        return ids[number] if number < len(ids) else None


class NaiveEngine:
    """Same calls as `Engine`, except `next_time`."""

    def __init__(self, hardware: Hardware, block_tokens: int, *, speed: float = 1.0) -> None:
        self.hardware = hardware
        self.size = block_tokens
        self.speed = speed
        self.capacity = hardware.kv_tokens // block_tokens
        self.changes: list[tuple[float, int, bool]] = []
        self.reports: list[tuple[float, Job, bool]] = []
        self._empty()

    def _empty(self) -> None:
        self.table: dict[int, Block] = {}
        self.unused: list[Block] = []  # in the table, least recently freed first
        self.private = 0
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.aborted: list[Request] = []
        self.end = inf
        self.changes.clear()

    # -- calls

    def submit(self, job: Job, now: float) -> None:
        self._run(now)
        job.reset(now)
        self.waiting.append(Request(job))
        if self.end == inf:
            self._begin(now)

    def abort(self, job: Job, now: float) -> None:
        self._run(now)
        self.waiting = [request for request in self.waiting if request.job is not job]
        self.aborted += [
            request
            for request in self.running
            if request.job is job and request not in self.aborted
        ]

    def crash(self, now: float) -> list[Job]:
        self._run(now)
        here = [r.job for r in self.running + self.waiting if r not in self.aborted]
        self._empty()
        return here

    def advance(self, until: float) -> list[tuple[float, Job, bool]]:
        self._run(until)
        reports, self.reports = self.reports, []
        return reports

    @property
    def kv_usage(self) -> float:
        return 1 - self._free() / self.capacity

    # -- blocks

    def _free(self) -> int:
        return self.capacity - len(self.table) - self.private + len(self.unused)

    def _take(self, request: Request, now: float) -> None:
        if len(self.table) + self.private == self.capacity:
            victim = self.unused.pop(0)
            assert victim.id is not None
            del self.table[victim.id]
            self.changes.append((now, victim.id, False))
        self.private += 1
        request.blocks.append(Block())

    def _publish(self, request: Request, now: float) -> None:
        """All full blocks that are not in the table yet."""
        full = (request.computed + request.scheduled) // self.size
        for number, block in enumerate(request.blocks[:full]):
            name = request.id(number)
            if number < request.computed // self.size or name is None or name in self.table:
                continue
            block.id = name
            self.private -= 1
            self.table[name] = block
            self.changes.append((now, name, True))

    def _release(self, request: Request) -> None:
        for block in reversed(request.blocks):
            if block.id is None:
                self.private -= 1
                continue
            block.users -= 1
            if block.users == 0:
                self.unused.append(block)
        request.blocks = []

    # -- steps

    def _run(self, until: float) -> None:
        while self.end <= until and self.end < inf:
            now = self.end
            self._finish(now)
            self._begin(now)

    def _begin(self, now: float) -> None:
        left = self.hardware.budget
        for request in self.running + self.waiting:
            request.scheduled = 0
        preempted = False
        for request in list(self.running):
            if request not in self.running:
                break
            wanted = min(request.length - request.computed, left)
            assert wanted > 0
            if self._grow(request, wanted, now):
                preempted = True
            if request.scheduled:
                left -= request.scheduled
        if not preempted:
            self._admit(left, now)
        self.end = now + self._duration() if self.running else inf

    def _grow(self, request: Request, wanted: int, now: float) -> bool:
        """Schedule `wanted` tokens; returns whether somebody had to be preempted."""
        preempted = False
        need = ceil((request.computed + wanted) / self.size) - len(request.blocks)
        while self._free() < need:
            victim = self.running.pop()
            self._release(victim)
            victim.lost, victim.computed = victim.computed, 0
            victim.job.preemptions += 1
            self.waiting.insert(0, victim)
            preempted = True
            if victim is request:
                return True
        for _ in range(need):
            self._take(request, now)
        request.scheduled = wanted
        self._publish(request, now)
        return preempted

    def _admit(self, left: int, now: float) -> None:
        while self.waiting and left > 0 and len(self.running) < self.hardware.max_seqs:
            request = self.waiting[0]
            found = self._hits(request)
            unused = sum(block.users == 0 for block in found)
            need = ceil(request.length / self.size) - len(found)
            if need > self._free() - unused:
                return
            for block in found:
                block.users += 1
                if block in self.unused:
                    self.unused.remove(block)
            request.blocks = found
            request.computed = len(found) * self.size
            if request.job.preemptions == 0:
                request.job.cached_tokens = request.computed
            request.job.recomputed += max(0, request.lost - request.computed)
            self.running.append(self.waiting.pop(0))
            tokens = min(request.length - request.computed, left)
            assert not self._grow(request, tokens, now)
            left -= tokens

    def _hits(self, request: Request) -> list[Block]:
        found: list[Block] = []
        for number in range((request.length - 1) // self.size):
            name = request.id(number)
            if name is None or name not in self.table:
                break
            found.append(self.table[name])
        return found

    def _duration(self) -> float:
        h = self.hardware
        tokens = sum(request.scheduled for request in self.running)
        seconds = h.base_s + max(h.weights_s, tokens * h.token_s)
        for request in self.running:
            if request.scheduled == 1:
                seconds += h.kv_s * request.computed
            else:
                part = request.scheduled
                seconds += h.attention_s * part * (request.computed + part / 2)
        return seconds / self.speed

    def _finish(self, now: float) -> None:
        for request in self.running:
            request.computed += request.scheduled
        for request in self.aborted:
            self.running.remove(request)
            self._release(request)
        self.aborted = []
        for request in list(self.running):
            if request.computed < request.length:
                continue
            request.generated += 1
            if request.generated == 1:
                request.job.first_at = now
                self.reports.append((now, request.job, True))
            if request.generated == request.job.output_tokens:
                request.job.ended_at = now
                self.reports.append((now, request.job, False))
                self.running.remove(request)
                self._release(request)
