"""How many parts of a prompt are there, from the first on without a gap, by asking about few of them at a time."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import pairwise
from typing import TypeVar

H = TypeVar("H", bound=Hashable)


async def leading(
    length: int, complete: Callable[[list[range]], Awaitable[Sequence[bool]]], *, fan: int
) -> int:
    """The exact number of leading parts. `complete` tells of ranges whether all of their parts are there.

    It is asked about `fan` (at least 2) ranges at a time: all parts, then those of the first range with a gap.
    """
    start, stop = 0, length
    while start < stop:
        ranges = _split(range(start, stop), fan)
        answers = await complete(ranges)
        broken = next(
            (part for part, whole in zip(ranges, answers, strict=True) if not whole), None
        )
        if broken is None:
            return stop
        start, stop = broken.start, (broken.stop if len(broken) > 1 else broken.start)
    return start


async def leading_by_holder(
    length: int,
    holders: Callable[[list[int]], Awaitable[Sequence[frozenset[H]]]],
    *,
    fan: int,
    rounds: int = 3,
) -> dict[H, int]:
    """The number of leading parts that each holder has. `holders` tells who has the parts at some places.

    Holders are taken to lose a prompt's last parts first. It is asked about `fan` (at least 2) places at a time: places
    spread evenly, then between those where a holder's parts end. After `rounds` the answer is what is certain by then.
    """
    seen: dict[int, frozenset[H]] = {}
    places = [0, *_ends(range(1, length), fan - 1)] if length else []
    for _ in range(rounds):
        if not places:
            break
        seen.update(zip(places, await holders(places), strict=True))
        places = _unsure(seen, fan)
    runs: dict[H, int] = {}
    for before, place in pairwise([-1, *sorted(seen)]):
        for holder in seen[place]:
            if before < 0 or runs.get(holder) == before + 1:
                runs[holder] = place + 1
    return runs


def _unsure(seen: dict[int, frozenset[H]], fan: int) -> list[int]:
    """Places between which a holder's parts end, `fan` of them at most (one in each gap at least)."""
    order = sorted(seen)
    alive = seen[order[0]]
    gaps = []
    for before, place in pairwise(order):
        if alive - seen[place] and place - before > 1:
            gaps.append(range(before + 1, place))
        alive &= seen[place]
    if not gaps:
        return []
    share = max(1, fan // len(gaps))
    return [
        place
        for gap in gaps
        for place in (gap if len(gap) <= share else _ends(gap, share + 1)[:-1])
    ]


def _ends(whole: range, count: int) -> list[int]:
    return [part[-1] for part in _split(whole, count)]


def _split(whole: range, count: int) -> list[range]:
    """`count` parts of about one size, or one for each element if there are fewer."""
    count = min(count, len(whole))
    bounds = (
        [whole.start + len(whole) * part // count for part in range(count + 1)] if count else []
    )
    return [range(start, stop) for start, stop in pairwise(bounds)]
