"""All that is known of the workers' caches: what they say, what is on its way to them, what they were sent."""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Set
from functools import partial
from time import perf_counter

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
    finds the other one well informed. `on_wrong` is called with a worker whose answers contradict what it says.
    """

    def __init__(
        self,
        predicted: PredictedIndex,
        reported: UnionIndex,
        on_wrong: Callable[[WorkerId], None] = lambda _: None,
    ) -> None:
        self.exact: Set[WorkerId] = frozenset()
        self.on_wrong = on_wrong
        self._predicted = predicted
        self._reported = reported
        self._later_steps: deque[tuple[float, Callable[[], None]]] = deque()
        self._wrong: dict[WorkerId, int] = {}
        self._distrusted: dict[WorkerId, float] = {}
        self._pause_s: dict[WorkerId, float] = {}

    def keep(self, telling: Set[WorkerId], now: float) -> None:
        """Time has passed. `telling`: workers that say what they hold."""
        while self._later_steps and self._later_steps[0][0] <= now:
            self._later_steps.popleft()[1]()
        self._distrusted = {w: until for w, until in self._distrusted.items() if until > now}
        self.exact = telling - self._distrusted.keys()

    # -- questions (`Index`) -------------------------------------------------------------------

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """Leading blocks held, per worker."""
        if not isinstance(identity, TokenIdentity):
            return self._predicted.lookup(identity)
        exact, text = self.exact, identity.text
        found = {w: n for w, n in self._reported.lookup(identity).items() if w in exact}
        for worker, blocks in self._predicted.lookup(text).items():
            if worker not in exact:
                tokens = self._predicted.cached_tokens(worker, text, blocks)
                if whole := min(int(tokens // identity.block), len(identity.keys)):
                    found[worker] = whole
        return found

    def cached_tokens(self, worker: WorkerId, identity: Identity, blocks: int) -> float:
        """How much of the prompt `worker` has in reach, given that it holds the first `blocks` blocks."""
        if not isinstance(identity, TokenIdentity):
            return self._predicted.cached_tokens(worker, identity, blocks)
        most = max(0.0, identity.tokens - 1)  # the last one is always computed
        if worker in self.exact:
            own = min(blocks, most // identity.block) * identity.block
        else:
            own = min(self._assumed_tokens(worker, identity.text), most)
        below = identity.stored.get(worker)
        return max(own, min(below.tokens, most)) if below else own

    def _assumed_tokens(self, worker: WorkerId, text: Identity) -> float:
        blocks = self._predicted.lookup(text).get(worker, 0)
        return self._predicted.cached_tokens(worker, text, blocks)

    def is_exact(self, worker: WorkerId, identity: Identity) -> bool:
        """`worker` itself says what it holds of the prompt."""
        return worker in self.exact and isinstance(identity, TokenIdentity)

    def blocks(self, worker: WorkerId) -> int:
        """How many blocks of text are assumed to be at `worker`."""
        return self._predicted.blocks(worker)

    # -- a prompt's course ---------------------------------------------------------------------

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """The prompt is on its way to `worker`; `begun` must follow, or `over` if it never comes to that."""
        self._predicted.sent(worker, identity.text)
        if isinstance(identity, TokenIdentity):
            self._reported.sent(worker, identity)

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

    def _later(self, step: Callable[[], None]) -> None:
        self._later_steps.append((perf_counter() + _SETTLE_S, step))

    def answered(
        self, worker: WorkerId, identity: Identity, prompt_tokens: int, answer_tokens: int
    ) -> None:
        """The answer said how long it and the prompt are."""
        self._predicted.answered(worker, identity.text, prompt_tokens, answer_tokens)

    def audit(
        self, worker: WorkerId, identity: Identity, blocks: int, predicted: float, actual: int
    ) -> None:
        """The answer said how much of the prompt was cached: `actual` tokens; `predicted` were expected, for
        `blocks` leading blocks held.
        """
        if self.is_exact(worker, identity):
            assert isinstance(identity, TokenIdentity)
            self._audit_exact(worker, identity, predicted, actual)
        elif not isinstance(identity, TokenIdentity):
            self._predicted.found(worker, identity, blocks, actual)
            self._predicted.audit(worker, identity, predicted, actual)
        elif worker not in identity.stored:
            self._predicted.audit(worker, identity.text, predicted, actual)

    def _audit_exact(
        self, worker: WorkerId, identity: TokenIdentity, predicted: float, actual: int
    ) -> None:
        """A block more or less is a matter of who was first; what lower tiers gave says nothing of the worker."""
        if worker in identity.stored:
            return
        if abs(predicted - actual) <= identity.block:
            self._wrong.pop(worker, None)
            if actual:
                self._pause_s.pop(worker, None)
            return
        wrong = self._wrong[worker] = self._wrong.get(worker, 0) + 1
        if wrong >= _PROOF:
            del self._wrong[worker]
            logger.warning(
                "worker %s: %d answers in a row found other than its KV events say (last: %d tokens cached, %d"
                " expected); asking for all of them anew",
                *(worker, wrong, actual, predicted),
            )
            pause_s = self._pause_s.get(worker, _DISTRUST_S[0])
            self._pause_s[worker] = min(2 * pause_s, _DISTRUST_S[1])
            self._distrusted[worker] = perf_counter() + pause_s
            self.exact = self.exact - {worker}
            self.on_wrong(worker)

    # -- a worker's course ---------------------------------------------------------------------

    def state_cache(
        self, worker: WorkerId, kv_tokens: int | None, block_tokens: int | None
    ) -> None:
        """What the worker says of its cache: tokens it holds, and of a block; None: nothing."""
        self._predicted.state_cache(worker, kv_tokens, block_tokens)

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
