"""Follows one source: its batches in order, each once, and what was missed asked for again.

Batches that arrive wait in a bounded inbox. A gap, or a hint that there may be one, starts a replay from the batch
that was applied last. If the replay begins with that very batch the worker still is in the same life, and what comes
after it closes the gap; else all that was known is void, and the replay is asked for from the beginning.
"""

from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from itertools import chain
from typing import Protocol, TypeAlias

from router.events.continuity import Continuity, Verdict
from router.events.counters import Counters
from router.events.ledger import Ledger
from router.events.wire import AllBlocksCleared, Batch, decode

INBOX_BATCHES = 10_000
INBOX_BYTES = 32 * 1024 * 1024


class Reply(Enum):
    """What a replay answers when it has no batch."""

    PENDING = "pending"
    END = "end"
    EXPIRED = "expired"


class Replay(Protocol):
    """Past batches, asked for from some number on."""

    def receive(self) -> tuple[int, bytes] | Reply:
        """The next one (number, payload), or why there is none now."""

    def close(self) -> None:
        """No more is wanted."""


OpenReplay = Callable[[int], Replay]
"""Asks for all batches from this number on."""

_Gap: TypeAlias = tuple[int, int | None]
"""Numbers of the batch behind a gap and of the last one before it."""


def _epoch_s() -> float:
    return datetime.now(UTC).timestamp()


class Subscriber:
    """One source. `offer` puts batches in, `step` works on them (an `ingest.Job`); `on_work` is called when there is
    something to do.
    """

    def __init__(
        self,
        ledger: Ledger,
        counters: Counters,
        on_work: Callable[["Subscriber"], None],
        now: Callable[[], float] = _epoch_s,
    ) -> None:
        self.counters = counters
        self._ledger = ledger
        self._on_work = on_work
        self._now = now
        self._order = Continuity()
        self._inbox: deque[tuple[int, bytes]] = deque()
        self._inbox_bytes = 0
        self._work: Iterator[None] = iter(())
        self._open_replay: OpenReplay | None = None
        self._replay: Replay | None = None
        self._trusted = True  # the replay goes on where our knowledge ends
        self._asked: _Gap | None = None  # before the batch at the head of the inbox
        self._asked_again: _Gap | None = None  # in a replay
        self._unsure = False
        self._born_at = 0.0

    @property
    def current(self) -> bool:
        """The worker tells of blocks whose tokens it names, as models without full attention and some connectors never
        do, and nothing is being asked for again.
        """
        return self._replay is None and bool(self._ledger.block_sizes())

    @property
    def whole(self) -> bool:
        """All is known that the worker told since its start, or since it emptied its cache."""
        return self._order.whole

    def attach(self, open_replay: OpenReplay | None) -> None:
        """Start anew with a source, which offers replays or does not."""
        self._end_replay()
        self._inbox.clear()
        self._inbox_bytes = 0
        self._born_at = 0.0
        self._start_over()
        self._open_replay = open_replay
        self.check()

    def check(self, started_at: float | None = None) -> None:
        """Something may have been missed: make sure. `started_at`: when the worker began its life, by its own clock in
        epoch seconds; what was said before counts no more.
        """
        if started_at is not None:
            self._born_at = started_at
            if self._order.spans(started_at):
                self.counters.restarts += 1
                self._start_over()
        self._unsure = True
        self._on_work(self)

    def resync(self) -> None:
        """What is known is wrong: start over, with what the worker still keeps of its past."""
        self.counters.resyncs += 1
        self._end_replay()
        self._start_over()
        self._ask()
        self._on_work(self)

    def offer(self, number: int, payload: bytes) -> None:
        """A batch came. A full inbox drops it: a gap like any other."""
        size = self._inbox_bytes + len(payload)
        if len(self._inbox) >= INBOX_BATCHES or size > INBOX_BYTES:
            self.counters.dropped += 1
            self._unsure = True
            return
        self._inbox.append((number, payload))
        self._inbox_bytes = size
        self._on_work(self)

    def leave(self) -> None:
        """The worker left: all that was reported is taken back, step by step. `attach` brings it back."""
        self._end_replay()
        self._inbox.clear()
        self._inbox_bytes = 0
        self._open_replay = None
        self._unsure = False
        self._start_over()
        self._on_work(self)

    def close(self) -> None:
        """Nothing is wanted any more; what was reported stays reported."""
        self._end_replay()
        self._inbox.clear()
        self._work = iter(())
        self._unsure = False

    def step(self) -> bool:
        """Do a small part of what there is to do; False: nothing, until `on_work` is called."""
        for _ in self._work:
            return True
        self._work = iter(())
        if self._replay is not None:
            return self._take_replayed(self._replay)
        if self._inbox:
            self._take_live(*self._inbox[0])
            return True
        if self._unsure:
            self._ask()
            return True
        return False

    # -- live ----------------------------------------------------------------------------------

    def _take_live(self, number: int, payload: bytes) -> None:
        """Apply the batch at the head of the inbox, or find out first what is missing before it."""
        batch = decode(payload)
        if batch is None:
            self._unreadable(number, payload)
        elif batch.timestamp < self._born_at:
            self.counters.duplicates += 1  # of a life that is over
        else:
            match self._order.judge(number, batch.timestamp):
                case Verdict.GAP if self._worth_asking(number):
                    self.counters.gaps += 1
                    self._ask()
                    return
                case Verdict.RESTART:
                    self.counters.restarts += 1
                    self._start_over()
                    return
                case Verdict.DUPLICATE:
                    self.counters.duplicates += 1
                case Verdict.GAP:
                    if self._order.last is not None:
                        self.counters.resyncs += 1
                        self._start_over()
                    self._accept(number, batch)
                case Verdict.NEXT:
                    self._accept(number, batch)
            self.counters.lag_s = max(0.0, self._now() - batch.timestamp)
        self._inbox.popleft()
        self._inbox_bytes -= len(payload)
        self._asked = None

    def _worth_asking(self, number: int) -> bool:
        """Not if replays for this very gap have not closed it, whatever else they brought."""
        before, self._asked = self._asked, (number, self._order.last)
        return self._open_replay is not None and before != self._asked

    # -- replay --------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._unsure = False
        if self._open_replay is None:
            return
        last = self._order.last
        self.counters.replays += 1
        self._trusted = last is None
        self._replay = self._open_replay(last or 0)

    def _take_replayed(self, replay: Replay) -> bool:
        answer = replay.receive()
        match answer:
            case Reply.PENDING:
                return False
            case Reply.END if not self._trusted:
                self._ask_from_the_start()
            case Reply.END | Reply.EXPIRED:
                self._end_replay()
            case number, payload:
                self._replayed(number, payload)
        return True

    def _replayed(self, number: int, payload: bytes) -> None:
        batch = decode(payload)
        if batch is not None and batch.timestamp < self._born_at:
            self.counters.duplicates += 1
        elif not self._trusted:
            self._trusted = self._goes_on(number, batch, payload)
            if not self._trusted:
                self._ask_from_the_start()
        elif batch is None:
            self._unreadable(number, payload)
        else:
            match self._order.judge(number, batch.timestamp):
                case Verdict.NEXT:
                    self._accept(number, batch)
                case Verdict.DUPLICATE:
                    self.counters.duplicates += 1
                case Verdict.GAP | Verdict.RESTART:
                    self._hole(number, batch)

    def _goes_on(self, number: int, batch: Batch | None, payload: bytes) -> bool:
        """The replay begins with the batch that was last: the worker still is in the same life."""
        if batch is None:
            return self._order.is_last_unreadable(number, payload)
        return self._order.is_last(number, batch.timestamp)

    def _hole(self, number: int, batch: Batch) -> None:
        """Before the first batch of all: older ones are not kept. Between others: the worker had no room to send them."""
        if self._order.last is None:
            self._accept(number, batch)
        elif self._asked_again != (gap := (number, self._order.last)):
            self._asked_again = gap
            self._end_replay()
            self._ask()
        else:
            self.counters.resyncs += 1
            self._start_over()
            self._accept(number, batch)

    def _ask_from_the_start(self) -> None:
        """The worker does not keep the batch that was applied last, or knows another one by its number."""
        self.counters.resyncs += 1
        self._start_over()
        self._end_replay()
        self._ask()

    def _end_replay(self) -> None:
        if self._replay is not None:
            self._replay.close()
            self._replay = None

    # ------------------------------------------------------------------------------------------

    def _accept(self, number: int, batch: Batch) -> None:
        self._order.accept(number, batch.timestamp)
        self._asked_again = None
        self.counters.batches += 1
        if any(isinstance(event, AllBlocksCleared) for event in batch.events):
            self._order.whole = True
        self.counters.unknown += batch.unknown
        self._work = chain(self._work, self._ledger.apply(batch.events))

    def _start_over(self) -> None:
        self._order.forget()
        self._work = chain(self._work, self._ledger.empty())

    def _unreadable(self, number: int, payload: bytes) -> None:
        self.counters.unreadable += 1
        self._order.skip(number, payload)
