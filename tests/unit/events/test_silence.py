"""Who is warned of, when and how often."""

import pytest

from router.events.counters import Counters
from router.events.silence import Silence
from router.ids import WorkerId

A = WorkerId("a:1")


def told(batches: int) -> dict[WorkerId, Counters]:
    counters = Counters()
    counters.batches = batches
    return {A: counters}


def warned(caplog: pytest.LogCaptureFixture, *steps: tuple[float, int, int]) -> int:
    """How often, over steps of (seconds, tokens sent, batches of events)."""
    spent = 0
    silence = Silence(lambda worker: spent)
    for now, tokens, batches in steps:
        spent = tokens
        silence.keep(told(batches), now)
    return sum("a:1" in record.getMessage() for record in caplog.records)


def test_once_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    steps = [(float(now), 2000, 0) for now in range(60)]
    assert warned(caplog, *steps) == 1


@pytest.mark.parametrize(
    "steps",
    [
        [(0.0, 2000, 0), (9.0, 2000, 0)],
        [(0.0, 0, 0), (60.0, 500, 0), (120.0, 900, 0)],
        [(0.0, 2000, 0), (9.0, 2000, 1), (60.0, 9000, 1)],
    ],
    ids=["not long enough", "nothing to tell of", "it tells"],
)
def test_not_without_reason(
    caplog: pytest.LogCaptureFixture, steps: list[tuple[float, int, int]]
) -> None:
    assert warned(caplog, *steps) == 0


def test_again_if_it_falls_silent_anew(caplog: pytest.LogCaptureFixture) -> None:
    """As after a restart, when its counters begin at nothing."""
    steps = [(0.0, 2000, 0), (11.0, 2000, 0), (12.0, 2000, 5), (13.0, 2000, 0), (30.0, 2000, 0)]
    assert warned(caplog, *steps) == 2
