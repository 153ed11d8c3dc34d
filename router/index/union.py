"""What workers say they hold, together with what is on its way to them."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from router.ids import BlockKey, WorkerId
from router.index.tally import Tally
from router.prompt.identity import Identity

_TOLD = 1
_SENT = 2


class UnionIndex:
    """Blocks that workers reported, and those of prompts that were sent and not reported yet: so the second
    request of a burst already knows where the first one went. (`index.base.Index`)

    `expect` tells whether predictions count at all. Millions of blocks are only in the table of their holders; of
    those that are expected it is kept, too, how often (`_SENT` each) and whether they were reported (`_TOLD`).
    """

    def __init__(self, *, expect: bool = True) -> None:
        self._expect = expect
        self._holders = Tally()
        self._expected: dict[WorkerId, dict[BlockKey, int]] = {}
        self._awaited: dict[WorkerId, dict[BlockKey, int]] = {}

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """Leading blocks held, per worker."""
        return self._holders.lookup(identity.keys)

    def cached_tokens(self, worker: WorkerId, identity: Identity, blocks: int) -> float:
        """Tokens of those blocks."""
        del worker
        return identity.covered_tokens(blocks)

    # -- what was sent -------------------------------------------------------------------------

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """The prompt is on its way to `worker`; `begun` must follow, or `settled` some time after its end."""
        if not self._expect:
            return
        expected = self._expected.setdefault(worker, {})
        held = self._holders.put(worker, identity.keys)
        for key in identity.keys:
            expected[key] = expected.get(key, 0) + _SENT
        for key in held:
            if expected[key] == _SENT:  # by no other prompt, so it was told
                expected[key] += _TOLD

    def begun(self, worker: WorkerId, identity: Identity) -> list[BlockKey]:
        """`worker` has read the whole of a prompt that it was sent: blocks that it told of are not expected any more,
        the others until it does. Returns these: they must be given to `lapsed`, in case it never does.
        """
        expected = self._expected.get(worker)
        if expected is None:
            return []
        awaited = self._awaited.setdefault(worker, {})
        told = [key for key in identity.keys if expected.get(key, _TOLD) & _TOLD]
        left = [key for key in identity.keys if not expected.get(key, _TOLD) & _TOLD]
        for key in left:
            awaited[key] = awaited.get(key, 0) + 1
        self._release(worker, told)
        return left

    def lapsed(self, worker: WorkerId, keys: Iterable[BlockKey]) -> None:
        """`worker` would have told of these by now, which `begun` gave."""
        awaited = self._awaited.get(worker, {})
        never_told = [key for key in keys if key in awaited]
        for key in never_told:
            awaited[key] -= 1
            if not awaited[key]:
                del awaited[key]
        self._release(worker, never_told)

    def settled(self, worker: WorkerId, identity: Identity) -> None:
        """What became of the prompt has been reported by now: it is not expected any more."""
        self._release(worker, identity.keys)

    def _release(self, worker: WorkerId, keys: Iterable[BlockKey]) -> None:
        """One prompt less that makes these expected; those that no other does, and that were not told, are gone."""
        expected = self._expected.get(worker)
        if expected is None:
            return
        gone = []
        for key in keys:
            state = expected.get(key, 0) - _SENT
            if state >= _SENT:
                expected[key] = state
            elif state >= 0:
                del expected[key]
                if not state:
                    gone.append(key)
        self._holders.take(worker, gone)
        if not expected:
            del self._expected[worker]
            self._awaited.pop(worker, None)

    # -- what is told --------------------------------------------------------------------------

    def stored(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        """`worker` reported that it holds these."""
        self._holders.put(worker, keys)
        expected = self._expected.get(worker)
        if expected is None:
            return
        awaited = self._awaited.get(worker, {})
        for key in keys:
            if key in expected:
                expected[key] |= _TOLD
                if key in awaited:
                    self._release(worker, [key] * awaited.pop(key))

    def removed(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        """`worker` reported that it evicted these."""
        expected = self._expected.get(worker)
        if expected is not None:
            for key in keys:
                if key in expected:
                    expected[key] &= ~_TOLD
            keys = [key for key in keys if key not in expected]
        self._holders.take(worker, keys)

    # ------------------------------------------------------------------------------------------

    def walk(self, worker: WorkerId) -> Iterator[list[BlockKey]]:
        """All blocks of `worker`, a part at a time; slow, as it looks through the blocks of all workers."""
        return self._holders.walk(worker)

    def clear(self, worker: WorkerId) -> None:
        """`worker` holds nothing, and nothing that was sent counts. It will be `settled` all the same, so what
        is sent from now on is counted on top of that. Slow: looks through the blocks of all workers.
        """
        expected = self._expected.get(worker, {})
        for key in expected:
            expected[key] &= ~_TOLD
        self._holders.take(worker, self._holders.keys(worker))

    def remove(self, worker: WorkerId) -> None:
        """`worker` is gone and not found any more. Its place is another's as soon as all that it reported is taken
        back, by `removed`.
        """
        expected = self._expected.pop(worker, {})
        self._awaited.pop(worker, None)
        self._holders.take(worker, [key for key, state in expected.items() if not state & _TOLD])
        self._holders.hide(worker)
