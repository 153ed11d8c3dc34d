"""The seam between routing and whatever knows the caches."""

from collections.abc import Mapping
from typing import Protocol

from router.ids import WorkerId
from router.prompt.identity import Identity


class Index(Protocol):
    """Knows, per worker, which block keys it holds. Keys are prefix-closed: a worker that holds a block
    holds all blocks before it.
    """

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        """Leading blocks of the prompt that each worker holds; workers that hold none are left out."""

    def cached_tokens(self, worker: WorkerId, identity: Identity, blocks: int) -> float:
        """Tokens of the prompt that `worker`, holding its first `blocks` blocks, will not compute again."""

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        """`worker` was sent this prompt: it holds all of it from now on."""

    def clear(self, worker: WorkerId) -> None:
        """`worker` holds nothing."""
