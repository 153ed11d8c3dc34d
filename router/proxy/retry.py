"""When another try is safe, and how many there may be (pure).

Nothing may have reached the client. Then it is safe where the worker cannot have started: it could not be reached, had
already closed the kept-alive connection, or refused. It is as safe where the worker has started and cannot go on, since
its connection is closed, which ends its work: it died, was too late, or answered nonsense. Only what a worker stores might be there twice.
"""

from enum import Enum

import msgspec

from router.errors import BAD_RESPONSE, LOST, STALE, TIMED_OUT, RouterError

BUSY = frozenset((429, 503))
"""Statuses by which a worker says that it has not started."""

_BROKEN = frozenset((LOST, TIMED_OUT, BAD_RESPONSE))

MOST_LOST = 3
"""A request that so many workers broke off at may be what broke them."""


class Step(Enum):
    """What to do after a failed attempt."""

    RECONNECT = "stale_connection"
    NEXT_WORKER = "worker_unreachable"
    START_OVER = "worker_lost"
    GIVE_UP = "give_up"


class Attempted(msgspec.Struct, frozen=True, gc=False):
    """What was tried. `started`: the client has some of the answer; `reconnected`: a kept-alive connection failed before,
    and only fresh ones were used since; `stores`: the answer would be stored; `lost`: how many workers broke off before.
    """

    started: bool
    reconnected: bool
    stores: bool = False
    lost: int = 0


def after_failure(error: RouterError, tried: Attempted) -> Step:
    """What to do now."""
    if tried.started:
        return Step.GIVE_UP
    if error.code in _BROKEN:
        again = not tried.stores and tried.lost + 1 < MOST_LOST
        return Step.START_OVER if again else Step.GIVE_UP
    if not error.retryable:
        return Step.GIVE_UP
    if error.code == STALE and not tried.reconnected:
        return Step.RECONNECT
    return Step.NEXT_WORKER
