"""What several of the algorithms need."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.routing.policy import Question

Pick = Callable[[Sequence[Worker]], Worker]
"""Draws one of several equals (`random.Random.choice`)."""


def least(workers: Sequence[Worker], costs: list[float], pick: Pick) -> Worker:
    """The worker with the lowest of the costs that go with `workers`; ties are drawn."""
    lowest = min(costs)
    if costs.count(lowest) == 1:
        return workers[costs.index(lowest)]
    return pick([worker for worker, cost in zip(workers, costs, strict=True) if cost == lowest])


def least_loaded(workers: Sequence[Worker], pick: Pick) -> Worker:
    """The worker with the fewest requests in flight."""
    return least(workers, [worker.load.inflight for worker in workers], pick)


def less_of_two(workers: Sequence[Worker], rng: Random) -> Worker:
    """The less loaded of two that are drawn at random."""
    return least_loaded(rng.sample(workers, min(2, len(workers))), rng.choice)


def deepest(
    workers: Sequence[Worker], depths: Mapping[WorkerId, int]
) -> tuple[int, Sequence[Worker]]:
    """The most leading blocks that one of `workers` has, and all that have as many; (0, all) when none has any."""
    if not depths:
        return 0, workers
    found = [depths.get(worker.id, 0) for worker in workers]
    depth = max(found)
    return depth, [worker for worker, own in zip(workers, found, strict=True) if own == depth]


def uncached(question: Question) -> list[float]:
    """Tokens of the prompt that each candidate would have to compute, at least one."""
    identity, overlaps = question.identity, question.overlaps
    tokens, covered = identity.tokens, identity.covered_tokens
    if not overlaps:
        return [max(1.0, tokens)] * len(question.candidates)
    blocks = overlaps.get
    return [max(1.0, tokens - covered(blocks(worker.id, 0))) for worker in question.candidates]


def imbalanced(workers: Sequence[Worker], *, by: int, times: float) -> bool:
    """The most loaded worker has more than `by` requests more, and more than `times` as many, as the least."""
    loads = [worker.load.inflight for worker in workers]
    most, fewest = max(loads), min(loads)
    return most - fewest > by and most > times * fewest
