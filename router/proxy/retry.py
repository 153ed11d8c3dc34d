"""When another try is safe (pure).

Nothing may have reached the client, and the worker cannot have started: it could not be reached, it had
already closed the kept-alive connection, or it refused with 429 or 503.
"""

from enum import Enum

from router.errors import RouterError

REFUSALS = frozenset((429, 503))
"""Statuses by which a worker says that it has not started."""

NO_REFUSALS: frozenset[int] = frozenset()

STALE = "worker_connection_reset"
UNREACHABLE = "worker_unreachable"


class Step(Enum):
    """What to do after a failed attempt."""

    RECONNECT = "stale_connection"
    NEXT_WORKER = "worker_unreachable"
    GIVE_UP = "give_up"


def after_failure(error: RouterError, started: bool, *, reconnected: bool, others: bool) -> Step:
    """`started`: the client has some of the answer; `reconnected`: a kept-alive connection failed before, and
    only fresh ones were used since; `others`: there are candidates that have not been tried.
    """
    if started or not error.retryable:
        return Step.GIVE_UP
    if error.code == STALE and not reconnected:
        return Step.RECONNECT
    return Step.NEXT_WORKER if others else Step.GIVE_UP
