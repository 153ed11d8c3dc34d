"""The policies by name. A new one is a function and an entry in `POLICIES`."""

import random
from collections.abc import Callable

import xxhash

from router.fleet.worker import Worker
from router.prompt.session import SessionKeys
from router.routing.cost import Rates, prefill_seconds
from router.routing.policy import Choice, Policy, Question

_PER_INFLIGHT_S = 1e-4
"""Breaks ties towards the worker with fewer requests."""


class Tools:
    """What policies are built from."""

    def __init__(self, rates: Rates, sessions: SessionKeys, seed: int | None = None) -> None:
        self.rates = rates
        self.sessions = sessions
        self.random = random.Random(seed)  # noqa: S311 - ties, not secrets


def prefix(tools: Tools) -> Policy:
    """Lowest predicted time to first token: the work waiting there plus what of this prompt is not cached."""
    draw, rates = tools.random.random, tools.rates

    def choose(q: Question) -> Choice:
        identity, overlaps, now = q.identity, q.overlaps, q.now
        scales, middle = rates.scales, rates.middle
        cold_s = prefill_seconds(identity.tokens, 0.0)
        best, best_cost, ties = q.candidates[0], float("inf"), 1
        for worker in q.candidates:
            load, seconds = worker.load, cold_s
            if worker.id in overlaps:
                covered = identity.covered_tokens(overlaps[worker.id])
                seconds = prefill_seconds(identity.tokens, covered)
            cost = seconds * scales.get(worker.id, middle) + _PER_INFLIGHT_S * load.inflight
            if load.pending:
                cost += load.pending_seconds(now)
            if cost > best_cost:
                continue
            if cost < best_cost:
                best, best_cost, ties = worker, cost, 1
                continue
            ties += 1  # a fair draw among equals: nobody is first by name
            if draw() * ties < 1.0:
                best = worker
        return Choice(best, "cached" if best.id in overlaps else "least_wait")

    return choose


def least_load(tools: Tools) -> Policy:
    """Fewest requests in flight."""
    draw = tools.random.random

    def choose(q: Question) -> Choice:
        return Choice(min(q.candidates, key=lambda w: (w.load.inflight, draw())), "least_inflight")

    return choose


def round_robin(tools: Tools) -> Policy:
    """Each worker in turn, per model."""
    del tools
    turns: dict[str | None, int] = {}

    def choose(q: Question) -> Choice:
        turn = turns[q.request.model] = turns.get(q.request.model, -1) + 1
        return Choice(sorted(q.candidates, key=_order)[turn % len(q.candidates)], "turn")

    return choose


def at_random(tools: Tools) -> Policy:
    """Any worker."""
    pick = tools.random.choice

    def choose(q: Question) -> Choice:
        return Choice(pick(q.candidates), "random")

    return choose


def session(tools: Tools) -> Policy:
    """Each session stays on one worker (highest random weight hashing: a lost worker moves only its own).

    Requests without a session go where fewest are in flight.
    """
    key_of, fallback = tools.sessions.key, least_load(tools)

    def choose(q: Question) -> Choice:
        key = key_of(q.request)
        if key is None:
            return fallback(q)
        return Choice(
            max(q.candidates, key=lambda w: xxhash.xxh3_64_intdigest(f"{key}\0{w.id}".encode())),
            "session",
        )

    return choose


def _order(worker: Worker) -> int:
    return worker.order


POLICIES: dict[str, Callable[[Tools], Policy]] = {
    "prefix": prefix,
    "least_load": least_load,
    "round_robin": round_robin,
    "random": at_random,
    "session": session,
}
