"""Algorithms that give each worker a number and take the best."""

from router.fleet.load import Load
from router.routing.peers.common import least, less_of_two, uncached
from router.routing.policies import Tools
from router.routing.policy import Choice, Policy, Question

_QUEUE_WEIGHT = 2.0
_KV_WEIGHT = 2.0
_PREFIX_WEIGHT = 3.0


def lmetric(tools: Tools) -> Policy:
    """LMetric (arXiv 2603.15202): prefill tokens waiting and new ones, times the size of the batch with this one.

    Both factors come from this router's own requests; the paper reads the engine's.
    """
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        costs = [
            (worker.load.pending_tokens(q.now) + new) * (worker.load.inflight + 1)
            for worker, new in zip(q.candidates, uncached(q), strict=True)
        ]
        return Choice(least(q.candidates, costs, pick), "lmetric")

    return choose


def lpl(tools: Tools) -> Policy:
    """Least prefill load: the first factor of LMetric alone, prefill tokens waiting and new ones."""
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        costs = [
            worker.load.pending_tokens(q.now) + new
            for worker, new in zip(q.candidates, uncached(q), strict=True)
        ]
        return Choice(least(q.candidates, costs, pick), "least_prefill")

    return choose


def dynamo(tools: Tools) -> Policy:
    """NVIDIA Dynamo's KV router (lib/kv-router, temperature 0): blocks to prefill plus blocks to decode.

    To prefill: uncached ones of requests without a first token, and of this one. To decode: all of the prompts
    in flight. In tokens here, which is the same up to a factor; a block that several prompts in flight share
    counts for each, and only the device's cache is known.
    """
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        costs = [
            worker.load.pending_tokens(q.now) + new + worker.load.context_tokens
            for worker, new in zip(q.candidates, uncached(q), strict=True)
        ]
        return Choice(least(q.candidates, costs, pick), "least_blocks")

    return choose


def llmd(tools: Tools) -> Policy:
    """llm-d's router with the weights of its chart: 2 x queue + 2 x free KV cache + 3 x matched prefix, each 0 to 1.

    The queue is that of the worker's last metrics, scaled between the shortest and the longest. Without
    metrics, requests that wait for their first token stand for the queue, and the KV cache counts as free.
    """
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        tokens = max(1.0, q.identity.tokens)
        queues = [waiting(worker.load) for worker in q.candidates]
        shortest, spread = min(queues), max(queues) - min(queues) or 1
        costs = [
            _QUEUE_WEIGHT * (queue - shortest) / spread
            + _KV_WEIGHT * (worker.load.kv_usage or 0.0)
            + _PREFIX_WEIGHT * new / tokens
            for worker, queue, new in zip(q.candidates, queues, uncached(q), strict=True)
        ]
        return Choice(least(q.candidates, costs, pick), "llmd_score")

    return choose


def waiting(load: Load) -> int:
    """Requests in the worker's queue as it reports them, else ours that wait for their first token."""
    reported = load.reported_waiting
    return len(load.pending) if reported is None else reported


def power_of_two(tools: Tools) -> Policy:
    """The less loaded of two workers drawn at random (Mitzenmacher 2001), by requests in flight."""

    def choose(q: Question) -> Choice:
        return Choice(less_of_two(q.candidates, tools.random), "less_of_two")

    return choose
