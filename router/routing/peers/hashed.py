"""Consistent hashing of a prompt's beginning, with bounded loads."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import xxhash

from router.fleet.worker import Worker
from router.ids import BlockKey
from router.prompt.identity import Identity
from router.routing.peers.common import least_loaded
from router.routing.policies import Tools
from router.routing.policy import Choice, Policy, Question

_POINTS = 256
_FACTOR = 1.25
_PREFIX_TOKENS = 256.0
_MAX_RINGS = 64


class Rings:
    """A hash ring for each set of workers, `_POINTS` points a worker (the last `_MAX_RINGS` sets are kept)."""

    def __init__(self) -> None:
        self._rings: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}

    def around(self, workers: Sequence[Worker], key: BlockKey) -> Iterator[Worker]:
        """The workers in the order of the ring from `key` on, each as often as it has points."""
        names = tuple([worker.id for worker in workers])
        ring = self._rings.get(names)
        if ring is None:
            if len(self._rings) >= _MAX_RINGS:
                del self._rings[next(iter(self._rings))]
            ring = self._rings[names] = _ring(names)
        points, owners = ring
        start = bisect_left(points, xxhash.xxh3_64_intdigest(key.to_bytes(8, "big")))
        for place in range(start, start + len(points)):
            yield workers[owners[place % len(points)]]


def _ring(names: tuple[str, ...]) -> tuple[list[int], list[int]]:
    digest = xxhash.xxh3_64_intdigest
    pairs = sorted(
        (digest(f"{name}\0{point}".encode()), place)
        for place, name in enumerate(names)
        for point in range(_POINTS)
    )
    return [point for point, _ in pairs], [place for _, place in pairs]


def chwbl(tools: Tools) -> Policy:
    """KubeAI's PrefixHash: consistent hashing with bounded loads (arXiv 1608.01350) of the prompt's beginning.

    The key is the first block instead of the first 100 characters. From there on the ring the first worker
    whose requests in flight, this one too, are at most 1.25 times the mean is taken; if there is none, the
    first. A prompt without a full block goes where fewest are in flight.
    """
    rings, pick = Rings(), tools.random.choice

    def choose(q: Question) -> Choice:
        if not q.identity.keys:
            return Choice(least_loaded(q.candidates, pick), "least_inflight")
        bound = _bound(q.candidates) - 1.0
        around = rings.around(q.candidates, q.identity.keys[0])
        first = next(around)
        if first.load.inflight <= bound:
            return Choice(first, "hash")
        return Choice(next((w for w in around if w.load.inflight <= bound), first), "hash_next")

    return choose


def prefix_hash(tools: Tools) -> Policy:
    """SMG's prefix_hash: a ring over the first 256 tokens; fewest in flight if its worker exceeds 1.25 the mean.

    The blocks that cover 256 tokens stand for them, or all full ones of a shorter prompt.
    """
    rings, pick = Rings(), tools.random.choice

    def choose(q: Question) -> Choice:
        key = _prefix_key(q.identity)
        if key is not None:
            worker = next(rings.around(q.candidates, key))
            if worker.load.inflight <= _bound(q.candidates):
                return Choice(worker, "hash")
        return Choice(least_loaded(q.candidates, pick), "least_inflight")

    return choose


def _bound(workers: Sequence[Worker]) -> float:
    return _FACTOR * (sum(worker.load.inflight for worker in workers) + 1) / len(workers)


def _prefix_key(identity: Identity) -> BlockKey | None:
    keys = identity.keys
    for place in range(len(keys)):
        if identity.covered_tokens(place + 1) >= _PREFIX_TOKENS:
            return keys[place]
    return keys[-1] if keys else None
