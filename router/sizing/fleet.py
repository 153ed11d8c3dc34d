"""How many workers a rate takes, with routing by prefix and without (pure). Estimates."""

from dataclasses import dataclass

from router.sizing.memory import request_bytes
from router.sizing.worker import Worker

BUSY = 0.75
"""Of a worker's time: above, requests wait for each other."""

_MOST = 4096
_ROUNDS = 14


@dataclass(frozen=True, slots=True)
class Load:
    """What a rate does to each of several workers."""

    workers: int
    hit_rate: float
    """Of prompt tokens."""
    prefill: float
    """Share of the time that goes to prompts."""
    decode: float
    """Share that goes to answers, in steps as large as the objective and the memory allow."""
    running: float
    """Requests in progress at each."""

    @property
    def busy(self) -> float:
        """Share of the time; more than 1 cannot be."""
        return self.prefill + self.decode

    @property
    def bound(self) -> str:
        """Which of the two takes more."""
        return "prefill" if self.prefill >= self.decode else "decode"


def batch(worker: Worker) -> int:
    """Requests in a step that meets the objective for time per token and fits; what fits where even one misses it."""
    wanted, most = worker.wanted, worker.speed.gpu.max_requests
    if worker.at_once is not None:
        most = min(most, worker.at_once)
    most = max(1, most)
    if worker.speed.step_s(1, wanted.tokens) > wanted.tpot_s:
        return most
    low = 1
    while low < most:  # the largest that meets it
        middle = -(-(low + most) // 2)
        if worker.speed.step_s(middle, wanted.tokens) <= wanted.tpot_s:
            low = middle
        else:
            most = middle - 1
    return low


def load(worker: Worker, workers: int, rate: float, *, by_prefix: bool) -> Load:
    """What `rate` requests/s over so many workers come to.

    A worker keeps the shared beginnings that fit beside what runs (all asked for alike). By prefix each has a home,
    and together workers keep `workers` times as many; with round robin each worker needs them all.
    """
    wanted, speed, most = worker.wanted, worker.speed, batch(worker)
    each, running = rate / workers, 1.0
    hit = prefill = 0.0
    for _ in range(_ROUNDS):
        kept = _kept(worker, running) * (workers if by_prefix else 1)
        hit = min(1.0, kept / wanted.prefixes)
        prefill = each * _prefill_s(worker, hit)
        answering = each * wanted.output * speed.step_s(max(1, round(running)), wanted.tokens)
        settled = min(float(most), (prefill + answering) / max(0.05, 1 - prefill))
        running = (running + settled) / 2
    decode = each * wanted.output * speed.step_s(most, wanted.tokens) / most
    return Load(workers, hit * wanted.prefix_tokens / wanted.context, prefill, decode, running)


def needed(worker: Worker, rate: float, *, by_prefix: bool) -> Load | None:
    """The fewest workers for that rate; None where even thousands are too few."""
    low, high = 1, 1
    while not _enough(worker, high, rate, by_prefix=by_prefix):
        low, high = high + 1, high * 2
        if high > _MOST:
            return None
    while low < high:
        middle = (low + high) // 2
        if _enough(worker, middle, rate, by_prefix=by_prefix):
            high = middle
        else:
            low = middle + 1
    return load(worker, low, rate, by_prefix=by_prefix)


def capacity(worker: Worker, workers: int, *, by_prefix: bool) -> float:
    """Requests/s that so many workers keep up with."""
    low, high = 0.0, 1.0
    while _enough(worker, workers, high, by_prefix=by_prefix):
        low, high = high, high * 2
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if _enough(worker, workers, middle, by_prefix=by_prefix):
            low = middle
        else:
            high = middle
    return low


def _enough(worker: Worker, workers: int, rate: float, *, by_prefix: bool) -> bool:
    return load(worker, workers, rate, by_prefix=by_prefix).busy <= BUSY


def _prefill_s(worker: Worker, hit: float) -> float:
    return hit * worker.warm_s + (1 - hit) * worker.cold_s


def _kept(worker: Worker, running: float) -> float:
    """Shared beginnings in one worker's cache."""
    wanted, model = worker.wanted, worker.speed.model
    if not wanted.prefix_tokens:
        return 0.0
    each = request_bytes(model, worker.tp, wanted.prefix_tokens)
    own = request_bytes(model, worker.tp, wanted.tokens - wanted.prefix_tokens)
    return max(0.0, (worker.memory.kv - running * own) / each) if each else 0.0
