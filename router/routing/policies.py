"""The router's own simple policies. Each sends at once; `routing.registry` has all by name."""

import random
from collections.abc import Callable
from typing import Any

import xxhash

from router.fleet.worker import Worker
from router.routing.cost import CostModel
from router.routing.policy import Choice, Policy, Question
from router.routing.preview import Remembering
from router.routing.pricing import Prices


class Tools:
    """What policies are built from. `session` reads a request's session, None when it has none."""

    def __init__(
        self, cost: CostModel, session: Callable[[Any], str | None], seed: int | None = None
    ) -> None:
        self.cost = cost
        self.session = session
        self.random = random.Random(seed)  # noqa: S311 - ties, not secrets


def prefix_direct(tools: Tools) -> Policy:
    """Lowest cost, as `prefix` has it, but sent at once even where no worker has room."""
    pick, cost = tools.random.choice, tools.cost

    def choose(q: Question) -> Choice:
        places = {worker.id: place for place, worker in enumerate(q.candidates)}
        costs = Prices(q.candidates, places, cost, q.now).of(q.identity, q.overlaps)
        least = min(costs)
        worker = pick([w for w, c in zip(q.candidates, costs, strict=True) if c == least])
        return Choice(worker, "cached" if worker.id in q.overlaps else "least_wait")

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
        turn = turns.get(q.request.model, 0)
        return Choice(sorted(q.candidates, key=_order)[turn % len(q.candidates)], "turn")

    def note(q: Question, _: Choice) -> None:
        turns[q.request.model] = turns.get(q.request.model, 0) + 1

    return Remembering(choose, note)


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
    key_of, fallback = tools.session, least_load(tools)

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


OWN: dict[str, Callable[[Tools], Policy]] = {
    "prefix_direct": prefix_direct,
    "least_load": least_load,
    "round_robin": round_robin,
    "random": at_random,
    "session": session,
}
