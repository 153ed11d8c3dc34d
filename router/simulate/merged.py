"""What a simulated router knows of a prompt: its own index, and what others told."""

from collections.abc import Mapping

from router.ids import WorkerId
from router.index.base import Index
from router.prompt.identity import Identity


class Merged:
    """An index whose answers are merged with `Identity.elsewhere`, as in `index.knowledge`. (`index.base.Index`)"""

    def __init__(self, index: Index) -> None:
        self._index = index

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """The greater of both counts for each worker."""
        here, elsewhere = self._index.lookup(identity), identity.elsewhere
        if not elsewhere:
            return here
        return {**elsewhere, **{w: max(n, elsewhere.get(w, 0)) for w, n in here.items()}}

    def cached_tokens(self, worker: WorkerId, identity: Identity, blocks: int) -> float:
        """Tokens of those blocks, whoever told of them."""
        return self._index.cached_tokens(worker, identity, blocks)

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """`worker` was sent this prompt."""
        self._index.sent(worker, identity)

    def clear(self, worker: WorkerId) -> None:
        """`worker` holds nothing."""
        self._index.clear(worker)
