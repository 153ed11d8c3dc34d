"""Prices one request on several workers at once, from terms that were worked out per worker."""

from collections.abc import Mapping, Sequence

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.identity import Identity
from router.routing.cost import CostModel


class Prices:
    """What any request costs on each of `workers` at `now`: `base + prefill * per_prefill + tokens * per_token`,
    prefill seconds at scale 1, as parallel lists (this is the hottest loop of choosing).

    `crowding`: what a second of a worker's time costs those who wait for one.
    """

    __slots__ = (
        "_cost",
        "_crowding",
        "_engine",
        "_places",
        "base",
        "per_prefill",
        "per_token",
        "scales",
        "workers",
    )

    def __init__(
        self,
        workers: Sequence[Worker],
        places: Mapping[WorkerId, int],
        cost: CostModel,
        now: float,
        crowding: float = 0.0,
    ) -> None:
        self.workers = workers
        self._places = places
        self._cost = cost
        self._engine = cost.engine
        self._crowding = crowding
        terms = [cost.terms(worker, now) for worker in workers]
        self.base = [t[0] for t in terms]
        self.per_prefill = [t[1] + crowding * t[3] for t in terms]
        self.per_token = [t[2] for t in terms]
        self.scales = [t[3] for t in terms]

    def update(self, place: int, cost: CostModel, now: float) -> None:
        """The worker at `place` was sent something."""
        base, per_prefill, per_token, scale = cost.terms(self.workers[place], now)
        self.base[place], self.per_token[place], self.scales[place] = base, per_token, scale
        self.per_prefill[place] = per_prefill + self._crowding * scale

    def of(self, identity: Identity, overlaps: Mapping[WorkerId, int]) -> list[float]:
        """The cost on each worker."""
        tokens = identity.tokens
        cold = self._engine.prefill_s(tokens, 0.0)
        costs = [
            base + cold * per_prefill + tokens * per_token
            for base, per_prefill, per_token in zip(
                self.base, self.per_prefill, self.per_token, strict=True
            )
        ]
        for worker, blocks in overlaps.items():
            place = self._places.get(worker)
            if place is not None:
                saved = cold - self._engine.prefill_s(tokens, identity.covered_tokens(blocks))
                costs[place] -= saved * self.per_prefill[place]
        if identity.stored:
            self._load(costs, identity, overlaps)
        return costs

    def _load(
        self, costs: list[float], identity: Identity, overlaps: Mapping[WorkerId, int]
    ) -> None:
        """What lower tiers hold beyond a worker's own memory is loaded and need not be computed."""
        tokens, prefill_s = identity.tokens, self._engine.prefill_s
        for worker, below in identity.stored.items():
            place, own = self._places.get(worker), _covered(identity, overlaps, worker)
            if place is None or below.tokens <= own:
                continue
            saved = prefill_s(tokens, own) - prefill_s(tokens, below.tokens)
            costs[place] -= saved * self.per_prefill[place]
            costs[place] += self._cost.loads.seconds(
                below.tier, below.tokens - own, self.scales[place]
            )

    def prefill_s(self, place: int, identity: Identity, overlaps: Mapping[WorkerId, int]) -> float:
        """The prompt's own seconds on one worker."""
        worker = self.workers[place].id
        cached = _covered(identity, overlaps, worker)
        return self._cost.prefill_s(identity, worker, cached, self.scales[place])

    def least_prefill_s(self, identity: Identity, overlaps: Mapping[WorkerId, int]) -> float:
        """The prompt's own seconds where it needs least, whoever waits there."""
        least = self._engine.prefill_s(identity.tokens, 0.0) * min(self.scales)
        for worker in (*overlaps, *identity.stored):
            place = self._places.get(worker)
            if place is not None:
                least = min(least, self.prefill_s(place, identity, overlaps))
        return least


def _covered(identity: Identity, overlaps: Mapping[WorkerId, int], worker: WorkerId) -> float:
    blocks = overlaps.get(worker, 0)
    return identity.covered_tokens(blocks) if blocks else 0.0
