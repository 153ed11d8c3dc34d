"""Data-parallel ranks: a request goes to the one it says, or is told which (pure).

vLLM reads the rank from a header field; what is no whole number it ignores.
"""

from collections.abc import Sequence

from router.fleet.worker import Worker
from router.ids import Headers

RANK = b"x-data-parallel-rank"


def honouring(workers: Sequence[Worker], wanted: bytes | None) -> Sequence[Worker]:
    """Those of `workers` that are what a client means by this value of `RANK`: that rank, and workers that have
    only one, which may know better. All of them when there is none, or the value says nothing.
    """
    if wanted is None:
        return workers
    try:
        rank = int(wanted)
    except ValueError:
        return workers
    return [each for each in workers if each.rank is None or each.rank == rank] or workers


def rank_header(worker: Worker, wanted: bytes | None) -> Headers:
    """What to add to a request so that it reaches this rank; `wanted` is the client's own value of `RANK`."""
    if worker.rank is None or wanted is not None:
        return []
    return [(RANK, b"%d" % worker.rank)]
