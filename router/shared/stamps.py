"""Which blocks count, by the stamps that they were told with (pure).

Blocks of tokens are stamped with the worker's life: how often what it holds was told anew. Those of text with its clock:
how many new tokens it was ever sent; they count until its cache has been filled anew since.
"""

import struct
from collections.abc import Mapping

from router.shared.base import GPU, IGNORED, KINDS, TEXT

CLOCK_BITS = 10
"""The clock is stamped in units of 1,024 tokens."""

_U16 = 0xFFFF
_MOST = 0x7FFF
_VALID = struct.Struct(f">{2 * KINDS}H")
_NOBODY = IGNORED * KINDS


def of_clock(clock: int) -> int:
    """The stamp of what is sent now."""
    return clock >> CLOCK_BITS & _U16


def of_worker(clock: int, kv_tokens: int, life: int) -> tuple[int, ...]:
    """Stamp and window of each of the worker's kinds; `life` 0: nothing is known of its tokens."""
    stamps = [life & _U16, 0] * KINDS
    stamps[2 * TEXT : 2 * TEXT + 2] = of_clock(clock), min(kv_tokens >> CLOCK_BITS, _MOST)
    if not life:
        stamps[2 * GPU :] = IGNORED * (KINDS - GPU)
    return tuple(stamps)


def packed(by_number: Mapping[int, tuple[int, ...]]) -> bytes:
    """All workers' stamps as `Store.look_up` takes them."""
    last = max(by_number, default=-1)
    return b"".join([_VALID.pack(*by_number.get(n, _NOBODY)) for n in range(last + 1)])
