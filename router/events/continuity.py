"""What a batch's number says about those before it (pure).

A worker numbers its batches from 0 and starts again when it is restarted, without a word. Numbers alone do not tell
a batch that comes twice from one of the next life; the time that the worker wrote into it does.
"""

from enum import Enum

import xxhash


class Verdict(Enum):
    """How a batch follows on the last one that was accepted."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    GAP = "gap"
    RESTART = "restart"


class Continuity:
    """Number and time of the last batch that was accepted, and the time of the first; `last` None: none yet.

    `whole`: all batches since the worker's start were accepted.
    """

    __slots__ = ("_unreadable", "begun", "last", "timestamp", "whole")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing was accepted."""
        self.last: int | None = None
        self.timestamp = self.begun = 0.0
        self.whole = False
        self._unreadable: int | None = None  # a digest of the last batch, if it could not be read

    def judge(self, number: int, timestamp: float) -> Verdict:
        """How this batch follows. The first one follows nothing: only number 0 has nothing before it."""
        expected = 0 if self.last is None else self.last + 1
        if number == expected:
            return Verdict.NEXT
        if number > expected:
            return Verdict.GAP
        return Verdict.DUPLICATE if timestamp <= self.timestamp else Verdict.RESTART

    def accept(self, number: int, timestamp: float) -> None:
        """This batch is the last one now."""
        if self.last is None:
            self.begun = timestamp
            self.whole = number == 0
        self.last, self.timestamp = number, timestamp
        self._unreadable = None

    def skip(self, number: int, payload: bytes) -> None:
        """This batch cannot be read: if it is the next one it need not be asked for again."""
        if number == (0 if self.last is None else self.last + 1):
            self.last, self._unreadable = number, xxhash.xxh3_64_intdigest(payload)

    def is_last(self, number: int, timestamp: float) -> bool:
        """This is the very batch that was accepted last: the worker still is in the same life."""
        return number == self.last and timestamp == self.timestamp and self._unreadable is None

    def is_last_unreadable(self, number: int, payload: bytes) -> bool:
        """The same of a batch that cannot be read."""
        return number == self.last and self._unreadable == xxhash.xxh3_64_intdigest(payload)

    def spans(self, moment: float) -> bool:
        """Batches from before and, maybe, from after this moment were accepted."""
        return self.last is not None and self.begun < moment
