"""What tiers below the workers' own memory hold of a prompt (data)."""

import msgspec

from router.ids import Tier


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A tier holds the prompt's first `tokens`. `hosts`: workers on these reach it; None: all do."""

    tier: Tier
    tokens: int
    hosts: frozenset[str] | None = None


class Loadable(msgspec.Struct, frozen=True, gc=False):
    """The prompt's first `tokens` can be loaded from `tier`, by the worker that this is said of."""

    tier: Tier
    tokens: int
