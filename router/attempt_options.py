"""What an operator says of attempts: how long they may take, and how many there may be."""

from collections.abc import Mapping

import msgspec

from router.upstream.limits import NO_LIMITS, TimeLimits


class AttemptOptions(msgspec.Struct, frozen=True):
    """`limits`, and those of endpoints that have their own; `retry_budget`: share of a worker's requests that are sent on
    if it refuses them; `resume`: streams go on elsewhere unless a request says otherwise; `abandoned_s`: for how long an answer is awaited whose
    client left.
    """

    limits: TimeLimits = NO_LIMITS
    by_endpoint: Mapping[str, TimeLimits] = {}
    retry_budget: float = 0.2
    resume: bool = False
    abandoned_s: float = 0.0

    def of(self, endpoint: str) -> TimeLimits:
        """How long an answer may take there."""
        return self.by_endpoint.get(endpoint, self.limits)
