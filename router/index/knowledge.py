"""All that is known of the workers' caches: what they say, what is on its way to them, what they were sent."""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from time import perf_counter
from types import MappingProxyType

from router.ids import WorkerId
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.prompt.identity import Identity, TokenIdentity

logger = logging.getLogger(__name__)

_SETTLE_S = 1.0
"""After a prompt's end its worker has told what became of it."""

_PROOF = 3
"""Answers in a row that disagree with what a worker said."""

_DISTRUST_S = (30.0, 3600.0)
"""For so long after that nobody goes by what it says: at first, and at most where it goes on like that."""


class Knowledge:
    """Asks `reported` (tokens) about prompts whose tokens are known, for workers that say what they hold, and
    `predicted` (text) about everybody else and all other prompts. (`index.base.Index`)

    Both are told of every prompt that is sent: one that cannot be tokenized in time, or a worker that falls silent,
    finds the other one well informed. `exact`: workers that tell all that they hold, with the tokens of their blocks;
    `partly`: those that told some of it before they were listened to. `on_wrong` is called with a worker that does
    not hold what it says, `on_sent` with each prompt that is sent.
    """

    def __init__(
        self,
        predicted: PredictedIndex,
        reported: UnionIndex,
        on_wrong: Callable[[WorkerId], None] = lambda _: None,
    ) -> None:
        self.exact: Mapping[WorkerId, int] = {}
        self.partly: Mapping[WorkerId, int] = {}
        self.on_wrong = on_wrong
        self.on_sent: Callable[[WorkerId, Identity], None] = _ignore
        self._predicted = predicted
        self._reported = reported
        self._later_steps: deque[tuple[float, Callable[[], None]]] = deque()
        self._wrong: dict[WorkerId, int] = {}
        self._distrusted: dict[WorkerId, float] = {}
        self._pause_s: dict[WorkerId, float] = {}
        self._since: dict[WorkerId, float] = {}

    def keep(
        self,
        telling: Mapping[WorkerId, int],
        now: float,
        partly: Mapping[WorkerId, int] = MappingProxyType({}),
    ) -> None:
        """Time has passed. `telling`, `partly`: as `exact` and `partly`, whoever is believed."""
        while self._later_steps and self._later_steps[0][0] <= now:
            self._later_steps.popleft()[1]()
        self._distrusted = {w: until for w, until in self._distrusted.items() if until > now}
        self.exact, self.partly = self._believed(telling), self._believed(partly)
        self._since = {worker: self._since.get(worker, now) for worker in self.exact}

    def _believed(self, workers: Mapping[WorkerId, int]) -> dict[WorkerId, int]:
        return {w: block for w, block in workers.items() if w not in self._distrusted}

    @property
    def listens(self) -> bool:
        """Some worker tells what it holds."""
        return bool(self.exact or self.partly)

    def block_of(self, worker: WorkerId) -> int | None:
        """Tokens in a block of a worker that tells what it holds."""
        return self.exact.get(worker) or self.partly.get(worker)

    # -- questions (`Index`) -------------------------------------------------------------------

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """Leading blocks held, per worker."""
        if not isinstance(identity, TokenIdentity):
            return self._assumed(identity)
        block, text = identity.block, identity.text
        reported = _deeper(self._reported.lookup(identity), identity.elsewhere)
        found = {w: n for w, n in reported.items() if self.block_of(w) == block}
        for worker, blocks in self._assumed(text).items():
            if self.exact.get(worker) != block:
                tokens = self._predicted.cached_tokens(worker, text, blocks)
                whole = int(min(tokens, identity.tokens) // block)
                if whole > found.get(worker, 0):
                    found[worker] = whole
        return found

    def cached_tokens(self, worker: WorkerId, identity: Identity, blocks: int) -> float:
        """How much of the prompt `worker` has in reach, given that it holds the first `blocks` blocks."""
        if not isinstance(identity, TokenIdentity):
            return self._predicted.cached_tokens(worker, identity, blocks)
        last = max(0.0, identity.tokens - 1)  # is always computed
        own = min(blocks, last // identity.block) * identity.block
        if not self.is_exact(worker, identity):
            own = max(own, min(last, self._assumed_tokens(worker, identity.text)))
        below = identity.stored.get(worker)
        return max(own, min(below.tokens, last)) if below else own

    def _assumed_tokens(self, worker: WorkerId, text: Identity) -> float:
        blocks = self._assumed(text).get(worker, 0)
        return self._predicted.cached_tokens(worker, text, blocks)

    def _assumed(self, text: Identity) -> Mapping[WorkerId, int]:
        return _deeper(self._predicted.lookup(text), text.elsewhere)

    def is_exact(self, worker: WorkerId, identity: Identity, since: float = inf) -> bool:
        """`worker` itself says all that it holds of the prompt, and did so at the time `since`."""
        return (
            isinstance(identity, TokenIdentity)
            and self.exact.get(worker) == identity.block
            and self._since.get(worker, -inf) <= since
        )

    def blocks(self, worker: WorkerId) -> int:
        """How many blocks of text are assumed to be at `worker`."""
        return self._predicted.blocks(worker)

    # -- a prompt's course ---------------------------------------------------------------------

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """The prompt is on its way to `worker`; `begun` must follow, or `over` if it never comes to that."""
        self._predicted.sent(worker, identity.text)
        if isinstance(identity, TokenIdentity):
            self._reported.sent(worker, identity)
        self.on_sent(worker, identity)

    def begun(self, worker: WorkerId, identity: Identity) -> None:
        """`worker` has read the whole prompt: what it says of its blocks counts from now on."""
        if isinstance(identity, TokenIdentity):
            left = self._reported.begun(worker, identity)
            if left:
                self._later(partial(self._reported.lapsed, worker, left))

    def over(self, worker: WorkerId, identity: Identity) -> None:
        """The prompt ended at `worker`, which never began to answer: it may have told of some blocks."""
        if isinstance(identity, TokenIdentity):
            self._later(partial(self._reported.settled, worker, identity))

    def refused(self, worker: WorkerId, identity: Identity, held: int) -> None:
        """`worker` held that many blocks of the prompt when it was sent it, and did not read it."""
        if not isinstance(identity, TokenIdentity):
            self._predicted.refused(worker, identity, held)

    def _later(self, step: Callable[[], None]) -> None:
        self._later_steps.append((perf_counter() + _SETTLE_S, step))

    def answered(
        self, worker: WorkerId, identity: Identity, prompt_tokens: int, answer_tokens: int
    ) -> None:
        """The answer said how long it and the prompt are."""
        self._predicted.answered(worker, identity.text, prompt_tokens, answer_tokens)

    def audit(
        self,
        worker: WorkerId,
        identity: Identity,
        blocks: int,
        cached: tuple[float, int],
        sent_at: float = inf,
    ) -> None:
        """The answer to a prompt that was sent at `sent_at` said how much of it was cached: tokens that were expected,
        for `blocks` leading blocks held, and that were found.
        """
        predicted, actual = cached
        if not isinstance(identity, TokenIdentity):
            self._predicted.found(worker, identity, blocks, actual)
            self._predicted.audit(worker, identity, predicted, actual)
        elif worker in identity.stored:
            return  # what lower tiers gave says nothing of the worker
        elif self.is_exact(worker, identity, sent_at):
            self._audit_exact(worker, identity.block, predicted, actual)
        elif worker not in self.exact:
            self._predicted.audit(worker, identity.text, predicted, actual)

    def _audit_exact(self, worker: WorkerId, block: int, predicted: float, actual: int) -> None:
        """A block more or less is a matter of who was first."""
        if abs(predicted - actual) <= block:
            self._wrong.pop(worker, None)
            if actual:
                self._pause_s.pop(worker, None)
            return
        wrong = self._wrong[worker] = self._wrong.get(worker, 0) + 1
        if wrong >= _PROOF:
            del self._wrong[worker]
            pause_s = self._distrust(worker)
            logger.warning(
                "worker %s: %d answers in a row found other than its KV events say (last: %d tokens cached, %d"
                " expected); it goes by what it is sent for %.0f s",
                *(worker, wrong, actual, predicted, pause_s),
            )
            if actual < predicted:  # else it has more than it tells, and what it tells may be right
                self.on_wrong(worker)

    def _distrust(self, worker: WorkerId) -> float:
        """For how long."""
        pause_s = self._pause_s.get(worker, _DISTRUST_S[0])
        self._pause_s[worker] = min(2 * pause_s, _DISTRUST_S[1])
        self._distrusted[worker] = perf_counter() + pause_s
        self.exact, self.partly = self._believed(self.exact), self._believed(self.partly)
        return pause_s

    # -- a worker's course ---------------------------------------------------------------------

    def state_cache(
        self, worker: WorkerId, kv_tokens: int | None, block_tokens: int | None
    ) -> None:
        """What the worker says of its cache: tokens it holds, and of a block; None: nothing."""
        self._predicted.state_cache(worker, kv_tokens, block_tokens)

    def set_share(self, worker: WorkerId, share: float) -> None:
        """Of all that the worker is sent by routers, this one sends that share."""
        self._predicted.set_share(worker, share)

    def clear(self, worker: WorkerId) -> None:
        """The worker was started anew. What it said before is for its events to take back."""
        self._predicted.clear(worker)

    def remove(self, worker: WorkerId) -> None:
        """The worker left."""
        self._predicted.remove(worker)
        self._reported.remove(worker)
        self._wrong.pop(worker, None)
        self._distrusted.pop(worker, None)
        self._pause_s.pop(worker, None)


def _deeper(
    here: Mapping[WorkerId, int], elsewhere: Mapping[WorkerId, int]
) -> Mapping[WorkerId, int]:
    """The greater of both counts for each worker."""
    if not elsewhere:
        return here
    return {**elsewhere, **{w: max(n, elsewhere.get(w, 0)) for w, n in here.items()}}


def _ignore(worker: WorkerId, identity: Identity) -> None:
    del worker, identity
