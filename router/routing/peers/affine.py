"""Algorithms that keep a prompt where its prefix is cached, unless that worker has too much to do."""

from math import sqrt

from router.fleet.worker import Worker
from router.routing.cost import CostModel
from router.routing.peers.common import deepest, imbalanced, least, least_loaded, uncached
from router.routing.policies import Tools
from router.routing.policy import Choice, Policy, Question

_SMG_BY, _SMG_TIMES = 64, 1.5
_AIBRIX_SPREAD, _AIBRIX_SIGMAS = 8, 1.0
_LLMD_STICKY = 0.8
_LLMD_PENALTY_S, _LLMD_TOKENS_PER_S = 18.0, 15_928.0
_SMETRIC_SHARE = 0.5
_SMETRIC_BASE_S, _SMETRIC_PER_TOKEN_S = 1.0, 0.0625 / 1000


def smg_events(tools: Tools) -> Policy:
    """SMG (smg-project), cache_aware fed by KV events: the most cached blocks, then the fewest requests.

    Requests go where fewest are in flight when the loads differ by more than 64 and by half, or when nothing
    is cached. Load is requests in flight, without SMG's expected wait; equal ones are drawn.
    """
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        if imbalanced(q.candidates, by=_SMG_BY, times=_SMG_TIMES):
            return Choice(least_loaded(q.candidates, pick), "imbalanced")
        depth, workers = deepest(q.candidates, q.overlaps)
        return Choice(least_loaded(workers, pick), "cached" if depth else "least_inflight")

    return choose


def aibrix(tools: Tools) -> Policy:
    """AIBrix prefix-cache: the longest match among workers with at most mean + 1 sigma requests in flight.

    Only the least loaded count when the loads differ by more than 8, or when nobody with a match qualifies.
    """
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        loads = [worker.load.inflight for worker in q.candidates]
        if max(loads) - min(loads) > _AIBRIX_SPREAD:
            return Choice(least_loaded(q.candidates, pick), "imbalanced")
        mean = sum(loads) / len(loads)
        sigma = sqrt(sum((load - mean) ** 2 for load in loads) / len(loads))
        limit = mean + _AIBRIX_SIGMAS * sigma
        fit = [w for w in q.candidates if w.load.inflight <= limit and q.overlaps.get(w.id)]
        if not fit:
            return Choice(least_loaded(q.candidates, pick), "least_inflight")
        return Choice(least_loaded(deepest(fit, q.overlaps)[1], pick), "cached")

    return choose


def llmd_affinity(tools: Tools) -> Policy:
    """llm-d's prefix-cache-affinity-filter with its token-load-scorer ("sticky until saturated").

    Workers that hold 80 % of the prompt are kept, unless the best of them has 18 s of prefill more to do than
    the best of the others, at 15,928 tokens/s; among those left the fewest uncached tokens, waiting and new,
    win. The filter's default speed is used, no exploration.
    """
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        new = uncached(q)
        limit = q.identity.tokens - _LLMD_STICKY * q.identity.tokens
        pending = [worker.load.pending_tokens(q.now) for worker in q.candidates]
        costs = [waiting + own for waiting, own in zip(pending, new, strict=True)]
        sticky = [place for place, own in enumerate(new) if own <= limit]
        others = [place for place, own in enumerate(new) if own > limit]
        if not sticky or (others and _saturated(pending, sticky, others)):
            return Choice(least(q.candidates, costs, pick), "least_prefill")
        kept = [q.candidates[place] for place in sticky]
        return Choice(least(kept, [costs[place] for place in sticky], pick), "cached")

    return choose


def _saturated(pending: list[float], sticky: list[int], others: list[int]) -> bool:
    more = min(pending[place] for place in sticky) - min(pending[place] for place in others)
    return more > _LLMD_PENALTY_S * _LLMD_TOKENS_PER_S


def smetric(tools: Tools) -> Policy:
    """SMetric (arXiv 2607.08565, as in vllm-project/router): a session stays while its worker can meet a TTFT goal.

    Where more than half of the prompt is cached it stays if that worker meets 1 s + 0.0625 s per 1000 tokens, or
    if no worker does; else work waiting and new times the batch decides, as in LMetric. The original counts
    half of what the session's last turn sent, which cannot be told here, and measures speeds for itself.
    """
    pick, cost = tools.random.choice, tools.cost

    def choose(q: Question) -> Choice:
        new = uncached(q)
        seconds = [_queued_s(cost, q, w, own) for w, own in zip(q.candidates, new, strict=True)]
        depth, homes = deepest(q.candidates, q.overlaps)
        if q.identity.covered_tokens(depth) > _SMETRIC_SHARE * q.identity.tokens:
            goal = _SMETRIC_BASE_S + _SMETRIC_PER_TOKEN_S * q.identity.tokens
            home = least_loaded(homes, pick)
            if seconds[q.candidates.index(home)] <= goal or min(seconds) > goal:
                return Choice(home, "cached")
        costs = [s * w.load.inflight for w, s in zip(q.candidates, seconds, strict=True)]
        return Choice(least(q.candidates, costs, pick), "least_work")

    return choose


def _queued_s(cost: CostModel, q: Question, worker: Worker, new: float) -> float:
    tokens = q.identity.tokens
    own = cost.engine.prefill_s(tokens, tokens - new) * cost.rates.scale(worker.id)
    return worker.load.pending_seconds(q.now) + own
