"""Algorithms that remember what they sent where, whatever became of it in the caches."""

from collections.abc import Mapping

from router.ids import WorkerId
from router.index.memory import MemoryIndex
from router.prompt.identity import Identity
from router.routing.peers.common import deepest, imbalanced, least, least_loaded, less_of_two
from router.routing.policies import Tools
from router.routing.policy import Choice, Policy, Question
from router.routing.preview import Remembering

_UNLIMITED_TOKENS = float("inf")
_MAX_BLOCKS = 1_000_000
_FORGET_S = 3600.0
_SWEEP_S = 60.0

_SGLANG_TOKENS = float(1 << 24)
_SGLANG_SHARE = 0.3
_SGLANG_BY, _SGLANG_TIMES = 64, 1.5
_RAY_SHARE = 0.1


class SentTree:
    """The prefixes that each worker was sent: a radix tree, kept as a table because keys are chained.

    `worker_tokens` is what is remembered of a worker, last used first. All together are bounded too, and a
    worker that was sent nothing for an hour is forgotten: it may be gone.
    """

    def __init__(self, worker_tokens: float = _UNLIMITED_TOKENS) -> None:
        self._index = MemoryIndex(capacity_tokens=worker_tokens, max_blocks=_MAX_BLOCKS)
        self._sent_at: dict[WorkerId, float] = {}
        self._swept_at = 0.0

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """How many leading blocks of the prompt each worker was sent before."""
        return self._index.lookup(identity)

    def tokens(self, worker: WorkerId) -> float:
        """How much `worker` was sent, each prefix counted once."""
        return self._index.used_tokens(worker)

    def sent(self, worker: WorkerId, identity: Identity, now: float) -> None:
        """`worker` is sent this prompt."""
        self._index.sent(worker, identity)
        self._sent_at[worker] = now
        if now - self._swept_at > _SWEEP_S:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        for worker, when in list(self._sent_at.items()):
            if now - when > _FORGET_S:
                del self._sent_at[worker]
                self._index.remove(worker)


def cache_aware(tools: Tools) -> Policy:
    """cache_aware of sgl-router and vllm-project/router with their commands' settings: 0.3 / 64 / 1.5.

    Where more than 30 % of the prompt was sent before it goes again, else where fewest are in flight; there
    too when loads differ by more than 64 and by half. 2^24 tokens a worker stand for 2^26 characters; of
    several with the longest match the fewest in flight win.
    """
    tree, pick = SentTree(_SGLANG_TOKENS), tools.random.choice

    def decide(q: Question) -> Choice:
        if not imbalanced(q.candidates, by=_SGLANG_BY, times=_SGLANG_TIMES):
            depth, workers = deepest(q.candidates, tree.lookup(q.identity))
            if q.identity.covered_tokens(depth) > _SGLANG_SHARE * q.identity.tokens:
                return Choice(least_loaded(workers, pick), "sent_before")
        return Choice(least_loaded(q.candidates, pick), "least_inflight")

    return _remembering(tree, decide)


def production_stack(tools: Tools) -> Policy:
    """vLLM production-stack's prefixaware: any of the workers that were sent the longest part of the prompt.

    No load, and no forgetting up to a million blocks: where all prompts begin alike one worker gets all of
    them, and that is how it is known to behave.
    """
    tree, pick = SentTree(), tools.random.choice

    def decide(q: Question) -> Choice:
        depth, workers = deepest(q.candidates, tree.lookup(q.identity))
        return Choice(pick(workers), "sent_before" if depth else "random")

    return _remembering(tree, decide)


def ray(tools: Tools) -> Policy:
    """Ray Serve LLM's PrefixCacheAffinityRouter: where at least 10 % was sent before, else the smallest tree.

    Its defaults: no limit to imbalance, no eviction (a million blocks here). Of those that qualify the less
    loaded of two is taken.
    """
    tree, pick = SentTree(), tools.random.choice

    def decide(q: Question) -> Choice:
        depth, workers = deepest(q.candidates, tree.lookup(q.identity))
        if depth and q.identity.covered_tokens(depth) >= _RAY_SHARE * q.identity.tokens:
            return Choice(less_of_two(workers, tools.random), "sent_before")
        sizes = [tree.tokens(worker.id) for worker in q.candidates]
        return Choice(least(q.candidates, sizes, pick), "smallest_tree")

    return _remembering(tree, decide)


def _remembering(tree: SentTree, decide: Policy) -> Policy:
    def note(q: Question, choice: Choice) -> None:
        tree.sent(choice.worker.id, q.identity, q.now)

    return Remembering(decide, note)
