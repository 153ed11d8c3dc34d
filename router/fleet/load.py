"""How much a worker has to do, from our own requests to it.

A request is pending until its first token: then its prefill is over and the next one's runs. An answer
that does not stream shows no first token, so its prefill is taken to end when it was predicted to.
"""

from collections.abc import Iterator

_HEAD_PROGRESS = 0.9
"""How much of the running prefill may be taken as done, whatever the clock says."""


class PendingPrefill:
    """One request's predicted prefill: `seconds` of the worker's time for `tokens` uncached tokens."""

    __slots__ = ("seconds", "streams", "tokens")

    def __init__(self, seconds: float, tokens: float, *, streams: bool) -> None:
        self.seconds = seconds
        self.tokens = tokens
        self.streams = streams


class Load:
    """Requests in flight on one worker and the prefill work among them.

    `pending` has those that wait for their first token, oldest first; it is only to be looked at from outside.
    """

    __slots__ = ("_head_since", "_seconds", "_tokens", "inflight", "pending")

    def __init__(self) -> None:
        self.inflight = 0
        self.pending: dict[PendingPrefill, None] = {}
        self._seconds = 0.0
        self._tokens = 0.0
        self._head_since = 0.0

    def __iter__(self) -> Iterator[PendingPrefill]:
        return iter(self.pending)

    def __repr__(self) -> str:
        return f"<Load {self.inflight} in flight, {len(self.pending)} pending>"

    def enter(self, prefill: PendingPrefill, now: float) -> None:
        """A request is sent."""
        self.inflight += 1
        if not self.pending:
            self._head_since = now
        self.pending[prefill] = None
        self._seconds += prefill.seconds
        self._tokens += prefill.tokens

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

    def pending_seconds(self, now: float) -> float:
        """Predicted seconds until all pending prefills are done."""
        if not self.pending:
            return 0.0
        self._expire(now)
        head = next(iter(self.pending), None)
        if head is None:
            return 0.0
        progress = min(now - self._head_since, _HEAD_PROGRESS * head.seconds)
        return max(0.0, self._seconds - progress)

    def pending_tokens(self, now: float) -> float:
        """Uncached tokens that wait for their prefill."""
        self._expire(now)
        return max(0.0, self._tokens)

    def _expire(self, now: float) -> None:
        while self.pending:
            head = next(iter(self.pending))
            ends = self._head_since + head.seconds
            if head.streams or now < ends:
                return
            self.prefilled(head, ends)
