"""How much a worker has to do: our own requests to it, those of other routers that tell of them, and what its metrics
say of anybody else's.

A request is pending until its first token: then its prefill is over and the next one's runs. An answer
that does not stream shows no first token, so its prefill is taken to end when it was predicted to.
"""

from collections.abc import Iterator
from typing import NamedTuple

from router.engines.base import Gauges

_HEAD_PROGRESS = 0.9
"""How much of the running prefill may be taken as done, whatever the clock says."""

_TYPICAL_TOKENS = 1000.0
_TYPICAL_SECONDS = 0.03
_TYPICAL_SHARE = 0.02
"""What a prefill whose prompt nobody told us is taken to be, until we sent some; how much each of those counts."""


class PendingPrefill:
    """One request's predicted prefill: `seconds` of the worker's time for `tokens` uncached tokens of a prompt
    of `context` tokens. `assumed`: nothing showed that it is over, but it should be.
    """

    __slots__ = ("assumed", "context", "seconds", "streams", "tokens")

    def __init__(
        self, seconds: float, tokens: float, context: float = 0.0, *, streams: bool
    ) -> None:
        self.seconds = seconds
        self.tokens = tokens
        self.context = context
        self.streams = streams
        self.assumed = False


class Counts(NamedTuple):
    """Requests on a worker that routers know of: all, and those whose first token has not come."""

    inflight: int
    pending: int


class Part(NamedTuple):
    """What some routers have under way at a worker: requests, those whose first token has not come, the uncached tokens
    and predicted seconds of these, and the prompts of all.
    """

    inflight: int = 0
    pending: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    context: float = 0.0


class Load:
    """Requests in flight on one worker and the prefill work among them.

    `pending` has those that wait for their first token, oldest first; it is only to be looked at from outside.
    `context_tokens`: the prompts in flight, together. `inflight` and all that is pending include what other routers
    told by `share`; `own` does not. What the worker's metrics last told, None while they do not: `kv_usage`, the share
    of its KV cache that running requests hold; `reported_waiting` and `reported_running`, requests whoever sent them.
    `foreign`: how many of those no router knows of. `spent`: new tokens that the worker's cache was ever given by us.
    """

    __slots__ = (
        "_assumed",
        "_head_since",
        "_others",
        "_others_prefill",
        "_seconds",
        "_stuck",
        "_tokens",
        "_typical_seconds",
        "_typical_tokens",
        "context_tokens",
        "foreign",
        "inflight",
        "kv_usage",
        "own",
        "pending",
        "reported_running",
        "reported_waiting",
        "spent",
    )

    def __init__(self) -> None:
        self.inflight = 0
        self.own = 0
        self.spent = 0
        self.context_tokens = 0.0
        self.kv_usage: float | None = None
        self.reported_waiting: int | None = None
        self.reported_running: int | None = None
        self.foreign = 0
        self.pending: dict[PendingPrefill, None] = {}
        self._seconds = 0.0
        self._tokens = 0.0
        self._head_since = 0.0
        self._assumed = 0
        self._stuck: PendingPrefill | None = None
        self._others = Part()
        self._others_prefill: PendingPrefill | None = None
        self._typical_seconds = _TYPICAL_SECONDS
        self._typical_tokens = _TYPICAL_TOKENS

    def __iter__(self) -> Iterator[PendingPrefill]:
        return iter(self.pending)

    def __repr__(self) -> str:
        return f"<Load {self.inflight} in flight, {len(self.pending)} pending>"

    # -- our requests --------------------------------------------------------------------------

    def enter(self, prefill: PendingPrefill, now: float) -> None:
        """A request is sent."""
        self.inflight += 1
        self.own += 1
        self.spent += int(prefill.tokens)
        self.context_tokens += prefill.context
        if prefill.tokens:
            self._typical_seconds += _TYPICAL_SHARE * (prefill.seconds - self._typical_seconds)
            self._typical_tokens += _TYPICAL_SHARE * (prefill.tokens - self._typical_tokens)
        self._add(prefill, now)

    def prefilled(self, prefill: PendingPrefill, now: float) -> None:
        """Its first token came, or it ended without one. Saying so twice does nothing."""
        if prefill not in self.pending:
            return
        if next(iter(self.pending)) is prefill:
            self._head_since = now
        del self.pending[prefill]
        if self.pending:
            self._seconds -= prefill.seconds
            self._tokens -= prefill.tokens
        else:  # sums of floats drift; start over from exactly nothing
            self._seconds = self._tokens = 0.0

    def leave(self, prefill: PendingPrefill, now: float) -> None:
        """The request is over, however it ended."""
        self.prefilled(prefill, now)
        self.inflight -= 1
        self.own -= 1
        self._assumed -= prefill.assumed
        left = self.context_tokens - prefill.context
        self.context_tokens = left if self.own else self._others.context

    def pending_seconds(self, now: float) -> float:
        """Predicted seconds until all pending prefills are done."""
        if not self.pending:
            return 0.0
        self._expire(now)
        head = next(iter(self.pending), None)
        if head is None:
            return 0.0
        return max(0.0, self._seconds - self._progress(head, now))

    def pending_tokens(self, now: float) -> float:
        """Uncached tokens that wait for their prefill."""
        self._expire(now)
        return max(0.0, self._tokens)

    # -- what other routers say ----------------------------------------------------------------

    def share(self, others: Part, now: float) -> None:
        """This is what other routers have under way, instead of what they had before."""
        before, self._others = self._others, others
        self.inflight += others.inflight - before.inflight
        self.context_tokens += others.context - before.context
        if self._others_prefill is not None:
            self.prefilled(self._others_prefill, now)
            self._others_prefill = None
        if others.pending:
            prefill = PendingPrefill(others.seconds, others.tokens, streams=False)
            self._others_prefill = prefill
            self._add(prefill, now)

    def part(self, now: float) -> Part:
        """What this router has under way."""
        self._expire(now)
        told = self._told()
        seconds = self._seconds - sum(each.seconds for each in told)
        head = next(iter(self.pending), None)
        if head is not None and head not in told:
            seconds -= self._progress(head, now)
        return Part(
            self.own,
            len(self.pending) - len(told),
            max(0.0, self._tokens - sum(each.tokens for each in told)),
            max(0.0, seconds),
            self.context_tokens - self._others.context,
        )

    # -- what the worker says ------------------------------------------------------------------

    def counts(self) -> Counts:
        """What is known of requests now."""
        return Counts(self.inflight, len(self.pending) - len(self._told()) + self._others.pending)

    def report(self, gauges: Gauges, before: Counts, now: float) -> None:
        """The worker's metrics, asked for when `counts` said `before`.

        What was ours then or is now explains as much of them as it can. Requests that wait in the worker and
        are not explained are others', or answers that do not stream and take longer than predicted: they count
        as one more pending prefill, each as long as ours are, which runs down with time.
        """
        after = self.counts()
        inflight = max(before.inflight, after.inflight)
        pending = max(before.pending, after.pending)
        self.forget_report(now)
        self.kv_usage = gauges.kv_usage
        self.reported_running, self.reported_waiting = gauges.running, gauges.waiting
        self.foreign = max(0, gauges.running + gauges.waiting - inflight)
        stuck = min(max(0, gauges.waiting - pending), self.foreign + self._assumed)
        if stuck:
            self._stuck = PendingPrefill(
                stuck * self._typical_seconds, stuck * self._typical_tokens, streams=False
            )
            self._add(self._stuck, now)

    def forget_report(self, now: float) -> None:
        """The worker tells nothing (any more)."""
        self.kv_usage = self.reported_running = self.reported_waiting = None
        self.foreign = 0
        if self._stuck is not None:
            self.prefilled(self._stuck, now)
            self._stuck = None

    # ------------------------------------------------------------------------------------------

    def _progress(self, head: PendingPrefill, now: float) -> float:
        """Seconds of the running prefill that are done, as far as can be told."""
        return min(now - self._head_since, _HEAD_PROGRESS * head.seconds)

    def _told(self) -> list[PendingPrefill]:
        """What is pending without being a request of this router's."""
        told = (self._stuck, self._others_prefill)
        return [each for each in told if each is not None and each in self.pending]

    def _add(self, prefill: PendingPrefill, now: float) -> None:
        if not self.pending:
            self._head_since = now
        self.pending[prefill] = None
        self._seconds += prefill.seconds
        self._tokens += prefill.tokens

    def _expire(self, now: float) -> None:
        while self.pending:
            head = next(iter(self.pending))
            ends = self._head_since + head.seconds
            if head.streams or now < ends:
                return
            self.prefilled(head, ends)
            if head is not self._stuck and head is not self._others_prefill:
                head.assumed = True
                self._assumed += 1
