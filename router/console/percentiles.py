"""Percentiles: exact ones of values, estimated ones of counts per bucket."""

from collections.abc import Sequence
from math import ceil

SHARES = (0.5, 0.95, 0.99)


def of_values(ordered: Sequence[float], share: float) -> float | None:
    """The smallest of `ordered` values that `share` of them do not exceed; None: there are none."""
    if not ordered:
        return None
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def of_buckets(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Where `share` of all observations would lie, were those of a bucket spread evenly; None: there are none.

    `counts` has one more than `bounds`: those above the last, which are taken to lie at it.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, below, lower = share * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        below += count
        lower = bound
    return bounds[-1]
