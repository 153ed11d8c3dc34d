"""Whether the store can be relied on: after a failure it is left alone for a while, so that no request waits in vain."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from time import perf_counter

from router.shared.base import StoreError, as_store_error

logger = logging.getLogger(__name__)

_PAUSE_S = (0.1, 2.0)
"""After a question that got no answer: at first, and at most after several in a row. What is quick enough for the
background may not be so for requests.
"""

_TELL_AFTER_S = 0.5
"""A shorter break is not worth a line in the log."""

_TELL_AGAIN_S = 60.0

_ALONE_S = 10.0
_NEVER_S = 2.0
"""After so long without the store, and at the start, a router looks after everything itself."""

_STILL_READS = {"full", "read_only"}
"""Reasons for which only writes fail."""


class Bond:
    """`degraded` is told, by reason, of each question that had to go without an answer. `failures`: by reason."""

    def __init__(
        self,
        degraded: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        self.failures: Counter[str] = Counter()
        self._degraded = degraded
        self._now = now
        self._since: float | None = now()
        self._never = True
        self._told = False
        self._reason = "connecting"
        self._message = ""
        self._pause_s = _PAUSE_S[0]
        self._resume_at = 0.0
        self._writes_told_at = -math.inf

    @property
    def up(self) -> bool:
        """The last that was heard of the store was good."""
        return self._since is None

    @property
    def alone(self) -> bool:
        """It has been away for so long that this router should look after everything itself."""
        patience_s = _NEVER_S if self._never else _ALONE_S
        return self._since is not None and self._now() - self._since > patience_s

    def asks(self) -> bool:
        """Whether a request should ask now; if not, it counts as degraded."""
        if self._since is None:
            return True
        self._degraded(f"shared_{self._reason}")
        return False

    def missed(self, error: StoreError) -> None:
        """A request's question got no answer."""
        self._degraded(f"shared_{error.reason}")
        self.failed(error)
        self._resume_at = self._now() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _PAUSE_S[1])

    def failed(self, error: StoreError) -> None:
        """Something did not work."""
        self.failures[error.reason] += 1
        if error.reason in _STILL_READS:
            self._tell_of_writes(error)
            return
        self._reason, self._message = error.reason, str(error)
        if self._since is None:
            self._since = self._now()

    async def carry(self, step: Callable[[], Awaitable[None]], timeout_s: float, what: str) -> bool:
        """Take a step of `what` goes on in the background; False: it failed, which the next one may not."""
        try:
            async with asyncio.timeout(timeout_s):
                await step()
        except (StoreError, TimeoutError) as error:
            self.failed(as_store_error(error))
        except Exception:  # nothing here is worth stopping the router for
            logger.exception("%s failed", what)
        else:
            return True
        return False

    def worked(self, *, asked: bool = False) -> None:
        """Something did; `asked`: a request's question."""
        if asked:
            self._pause_s = _PAUSE_S[0]
        if self._since is None or self._now() < self._resume_at:
            return
        if self._told:
            away_s = self._now() - self._since
            logger.info("the shared Redis answers again, after %.1f s", away_s)
        self._since, self._told, self._never = None, False, False

    def keep(self) -> None:
        """To be called every so often: says when a break lasts."""
        if self._since is None or self._told or self._now() - self._since < _TELL_AFTER_S:
            return
        self._told = True
        logger.warning(
            "the shared Redis cannot be asked (%s: %s): going by what this router knows alone",
            *(self._reason, self._message or "no answer yet"),
        )

    def _tell_of_writes(self, error: StoreError) -> None:
        now = self._now()
        if now - self._writes_told_at >= _TELL_AGAIN_S:
            self._writes_told_at = now
            logger.warning("the shared Redis takes nothing in (%s: %s)", error.reason, error)
