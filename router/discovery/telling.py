"""What sources have in common: only news is told."""

from collections.abc import Sequence

from router.discovery.base import Tell
from router.fleet.target import Target


def news(tell: Tell) -> Tell:
    """Tells what differs from what it told before; another order is no difference. The first set is always told, also
    an empty one.
    """
    told: frozenset[Target] | None = None

    def tell_news(targets: Sequence[Target]) -> None:
        nonlocal told
        if (now := frozenset(targets)) != told:
            told = now
            tell(targets)

    return tell_news
