"""What a name server says of a name."""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from router.fleet.target import Target


class NoRecordsError(Exception):
    """The name has none: the name server says so."""


class NoAnswerError(Exception):
    """Nobody says whether there are any: a time-out, an error, nonsense."""


class Service(NamedTuple):
    """An SRV record: where a service is. Those of the lowest `priority` count."""

    priority: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Workers, and for how many seconds that holds; `odd`: records that name none, in words."""

    targets: tuple[Target, ...]
    ttl_s: float = inf
    odd: str | None = None
