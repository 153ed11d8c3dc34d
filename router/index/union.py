"""What workers say they hold, together with what is on its way to them."""

from collections.abc import Iterable, Mapping

from router.ids import BlockKey, WorkerId
from router.index.holders import Holders
from router.prompt.identity import Identity


class UnionIndex:
    """Blocks that workers reported, and those of prompts that were sent and not reported yet: so the second
    request of a burst already knows where the first one went. (`index.base.Index`)

    `expect` tells whether predictions count at all.
    """

    def __init__(self, *, expect: bool = True) -> None:
        self._expect = expect
        self._holders = Holders()
        self._held: dict[WorkerId, set[BlockKey]] = {}
        self._expected: dict[WorkerId, dict[BlockKey, int]] = {}

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """Leading blocks held, per worker."""
        return self._holders.lookup(identity.keys)

    def cached_tokens(self, worker: WorkerId, identity: Identity, blocks: int) -> float:
        """Tokens of those blocks."""
        del worker
        return identity.covered_tokens(blocks)

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """The prompt is on its way to `worker`; `settled` must follow."""
        if not self._expect:
            return
        expected = self._expected.setdefault(worker, {})
        bit, bits = self._holders.bit_of(worker), self._holders.bits
        for key in identity.keys:
            expected[key] = expected.get(key, 0) + 1
            bits[key] = bits.get(key, 0) | bit

    def settled(self, worker: WorkerId, identity: Identity) -> None:
        """What became of the prompt has been reported by now: it is not expected any more."""
        expected = self._expected.get(worker)
        if expected is None:
            return
        bit, held = self._holders.bit_of(worker), self._held.get(worker, ())
        for key in identity.keys:
            left = expected.get(key, 0) - 1
            if left > 0:
                expected[key] = left
            elif expected.pop(key, None) is not None and key not in held:
                self._holders.drop(key, bit)

    def stored(self, worker: WorkerId, keys: Iterable[BlockKey]) -> None:
        """`worker` reported that it holds these."""
        held, bit = self._held.setdefault(worker, set()), self._holders.bit_of(worker)
        for key in keys:
            held.add(key)
            self._holders.add(key, bit)

    def removed(self, worker: WorkerId, keys: Iterable[BlockKey]) -> None:
        """`worker` reported that it evicted these."""
        held = self._held.get(worker)
        if held is None:
            return
        expected, bit = self._expected.get(worker, {}), self._holders.bit_of(worker)
        for key in keys:
            held.discard(key)
            if key not in expected:
                self._holders.drop(key, bit)

    def clear(self, worker: WorkerId) -> None:
        """`worker` holds nothing, and nothing that was sent counts. It will be `settled` all the same, so what
        is sent from now on is counted on top of that.
        """
        known = self._held.pop(worker, set()) | self._expected.get(worker, {}).keys()
        if known:
            bit = self._holders.bit_of(worker)
            for key in known:
                self._holders.drop(key, bit)

    def remove(self, worker: WorkerId) -> None:
        """`worker` is gone."""
        self.clear(worker)
        self._expected.pop(worker, None)
        self._holders.free(worker)
