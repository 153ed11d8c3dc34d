"""What simulated routers tell each other of workers' loads: the board of `shared.board`, in virtual time."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from router.fleet.load import Load, Part
from router.shared.base import Share
from router.shared.board import FRESH_PER_WORKER_S, FRESH_S

Schedule = Callable[..., None]
"""Called with a time, a function and its arguments: calls it at that time."""

_NOTHING = Share()


class _Change(NamedTuple):
    worker: int
    share: Share
    sent: int


class Loads:
    """`loads`: each router's, one per worker. What a router publishes is on the board `delay_s` later; `schedule` brings
    that about. `clocks`: new tokens that each worker was ever sent, as the board knows. `on_read` is called with a
    router's and a worker's number when that router has read of that worker, and with the new tokens of its own.
    """

    def __init__(self, loads: Sequence[Sequence[Load]], delay_s: float, schedule: Schedule) -> None:
        workers = len(loads[0])
        self.clocks = [0] * workers
        self.on_read: Callable[[int, int, int], None] = _ignore
        self._loads = loads
        self._delay_s = delay_s
        self._schedule: Callable[..., Any] = schedule
        self._rows = [_NOTHING] * workers
        self._shares = [[_NOTHING] * workers for _ in loads]
        """By router: what the board has of it."""
        self._published = [[_NOTHING] * workers for _ in loads]
        self._spent = [[0] * workers for _ in loads]
        self._version = 0
        self._changed = [0] * workers
        self._read = [0] * len(loads)
        self._fresh_s = min(FRESH_S, FRESH_PER_WORKER_S * workers)
        self._read_at = [-FRESH_S] * len(loads)

    def publish(self, router: int, now: float) -> None:
        """Tell what has changed since this router last did so."""
        changes = list(self._changes(router, now))
        if changes:
            self._schedule(now + self._delay_s, self._put, router, changes)

    def read(self, router: int, now: float) -> None:
        """Give this router's loads what the others have under way."""
        loads, mine, rows = self._loads[router], self._shares[router], self._rows
        since, self._read[router] = self._read[router], self._version
        self._read_at[router] = now
        for worker, changed in enumerate(self._changed):
            if changed > since:
                loads[worker].share(_others(rows[worker], mine[worker]), now)
                self.on_read(router, worker, self._spent[router][worker])

    def refresh(self, router: int, now: float) -> None:
        """Read what is not known freshly."""
        if now - self._read_at[router] > self._fresh_s:
            self.read(router, now)

    def _changes(self, router: int, now: float) -> Iterable[_Change]:
        published, spent = self._published[router], self._spent[router]
        for worker, load in enumerate(self._loads[router]):
            before, sent = published[worker], load.spent - spent[worker]
            if not load.own and not sent and before is _NOTHING:
                continue
            share = _share(load.part(now)) if load.own else _NOTHING
            if sent or share != before:
                published[worker] = share
                spent[worker] = load.spent
                yield _Change(worker, share, sent)

    def _put(self, router: int, changes: Iterable[_Change]) -> None:
        self._version += 1
        shares = self._shares[router]
        for worker, share, sent in changes:
            before, shares[worker] = shares[worker], share
            row = zip(self._rows[worker], share, before, strict=True)
            self._rows[worker] = Share(*(total + new - old for total, new, old in row))
            self._changed[worker] = self._version
            self.clocks[worker] += sent


def _ignore(router: int, worker: int, spent: int) -> None:
    del router, worker, spent


def _share(part: Part) -> Share:
    return Share(
        part.inflight,
        part.pending,
        round(part.tokens),
        round(part.seconds * 1000),
        round(part.context),
    )


def _others(row: Share, mine: Share) -> Part:
    return Part(
        row.inflight - mine.inflight,
        row.pending - mine.pending,
        row.tokens - mine.tokens,
        (row.pending_ms - mine.pending_ms) / 1000,
        row.context - mine.context,
    )
