"""How long a worker may take with one answer (pure)."""

from math import inf

import msgspec


class TimeLimits(msgspec.Struct, frozen=True, gc=False):
    """Seconds: until the answer's first byte, between its bytes, and from the request's arrival to its end."""

    first_byte_s: float = inf
    idle_s: float = inf
    total_s: float = inf


NO_LIMITS = TimeLimits()

ABANDONED_S = 10.0
"""For how long a worker that is down may still be silent on an answer: it might come to its end."""


def overdue(limits: TimeLimits, silent_s: float, *, begun: bool, up: bool) -> str:
    """What an answer is late with, in words; empty when it is not. `begun`: some of its body is there; `up`: its
    worker passes health checks.
    """
    if begun and silent_s > limits.idle_s:
        return f"sent nothing for {limits.idle_s:g} s in the middle of its answer"
    if not begun and silent_s > limits.first_byte_s:
        return f"did not begin to answer within {limits.first_byte_s:g} s"
    if not up and silent_s > ABANDONED_S:
        return "fails its health checks and has gone silent"
    return ""
