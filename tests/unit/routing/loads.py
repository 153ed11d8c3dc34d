"""Workers with all sorts of work, drawn by hypothesis."""

from hypothesis import strategies as st

from router.fleet.worker import Worker
from router.routing.cost import Rates
from tests.unit.routing.table import decode, prefill
from tests.unit.support import workers_of

Draw = st.DrawFn
TOKENS = st.integers(0, 200_000)


@st.composite
def busy_workers(draw: Draw, *, least: int = 1, most: int = 6) -> list[Worker]:
    """Some workers; each with requests that wait for their first token, and some that are being answered."""
    workers = workers_of(*"abcdefgh"[: draw(st.integers(least, most))])
    for worker in workers:
        for tokens in draw(st.lists(TOKENS, max_size=3)):
            prefill(worker, tokens, seconds=tokens * 4e-5, context=tokens * 1.5)
        for context in draw(st.lists(TOKENS, max_size=4)):
            decode(worker, context=context)
    return workers


def learned(rates: Rates, factors: dict[Worker, float], times: int = 300) -> None:
    """Every worker has answered many times, in `factors` times what the model says."""
    for _ in range(times):
        for worker, factor in factors.items():
            rates.learn(worker.id, 0.1, 0.1 * factor)
