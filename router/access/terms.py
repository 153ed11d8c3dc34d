"""What a tenant may do."""

import re
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property


@dataclass(frozen=True)
class Terms:
    """`models`: patterns (`*` matches anything), none: all. Limits of None are none. `priority`: lower goes first.
    `trusted`: what it says of tenants and priorities is believed. `keys`: digests.
    """

    keys: frozenset[bytes] = field(default=frozenset(), repr=False)
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_inflight: int | None = None
    priority: int = 0
    trusted: bool = False

    @cached_property
    def limited(self) -> bool:
        """There is a quota that routers have to share."""
        limits = (self.requests_per_minute, self.tokens_per_minute, self.max_inflight)
        return any(limit is not None for limit in limits)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(translate, self.models or ("*",))))

    def allows(self, model: str) -> bool:
        """The tenant may use this model."""
        return self._pattern.match(model) is not None
