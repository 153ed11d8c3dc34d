"""What simulated routers tell each other of workers' caches: blocks that were sent, and those that events tell of."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from router.ids import BlockKey, WorkerId
from router.shared.base import GPU, IGNORED, KINDS, TEXT, Drop, Hold
from router.shared.board import TICK_S
from router.shared.memory_store import Shelf
from router.shared.stamps import CLOCK_BITS
from router.simulate.loads import Schedule

_KIND = {"predictions": TEXT, "both": GPU, "events": GPU}
_VALID = struct.Struct(f">{2 * KINDS}H")
_LONGEST = 0x7FFF
_U16 = 0xFFFF


class Blocks:
    """A `Shelf` on which what is written is found `delay_s` later. `knowledge`: what is told, as in `BrainOptions`;
    `clocks`: new tokens that each of the workers was ever sent.
    """

    def __init__(
        self,
        workers: Sequence[WorkerId],
        kv_tokens: int,
        knowledge: str,
        clocks: Sequence[int],
        delay_s: float,
        schedule: Schedule,
    ) -> None:
        self._workers = workers
        self._window = min(kv_tokens >> CLOCK_BITS, _LONGEST)
        self._kind = _KIND.get(knowledge)
        self._tells_sent = knowledge != "events"
        self._clocks = clocks
        self._lost = [0] * len(workers)
        self._delay_s = delay_s
        self._schedule: Callable[..., Any] = schedule
        self._shelf = Shelf()
        self._valid = b""
        self._valid_at = -TICK_S

    def runs(
        self, keys: Sequence[BlockKey], now: float, *, own: Callable[[int], bool]
    ) -> dict[WorkerId, int]:
        """Leading blocks by worker. `own`: workers whose events the router that asks follows itself, and knows better."""
        if self._kind is None:
            return {}
        if now - self._valid_at >= TICK_S:
            self._valid, self._valid_at = self._validity(), now
        found = {h // KINDS: n for h, n in self._shelf.runs(keys, self._valid).items()}
        return {self._workers[w]: n for w, n in found.items() if self._kind == TEXT or not own(w)}

    def sent(self, worker: int, keys: Sequence[BlockKey], now: float) -> None:
        """A prompt is on its way to the worker."""
        if self._tells_sent:
            self.told(worker, keys, now, stored=True)

    def told(self, worker: int, keys: Sequence[BlockKey], now: float, *, stored: bool) -> None:
        """The worker holds these, or does not any more."""
        if self._kind is not None:
            holder = worker * KINDS + self._kind
            stamp = self._stamp(worker)
            write = Hold(holder, stamp, keys) if stored else Drop(holder, keys)
            self._schedule(now + self._delay_s, self._shelf.write, write)

    def lost(self, worker: int) -> None:
        """The worker was started anew: what was told of it does not count."""
        self._lost[worker] += 1
        self._valid_at = -TICK_S

    def _stamp(self, worker: int) -> int:
        """Of text, the worker's age in units of tokens; of what it tells itself, its life."""
        lost = self._lost[worker]
        if self._kind != TEXT:
            return 1 + lost & _U16
        return (self._clocks[worker] >> CLOCK_BITS) + 2 * self._window * lost & _U16

    def _validity(self) -> bytes:
        window = self._window if self._kind == TEXT else 0
        return b"".join(
            [
                _VALID.pack(
                    *IGNORED * (self._kind or 0),
                    *(self._stamp(worker), window),
                    *IGNORED * (KINDS - 1 - (self._kind or 0)),
                )
                for worker in range(len(self._workers))
            ]
        )
