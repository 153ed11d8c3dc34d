"""What an answer is late with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.upstream.limits import ABANDONED_S, NO_LIMITS, TimeLimits, overdue

LIMITS = TimeLimits(first_byte_s=60.0, idle_s=30.0, total_s=600.0)


@pytest.mark.parametrize(
    ("silent_s", "begun", "up", "late"),
    [
        (0.0, False, True, ""),
        (60.0, False, True, ""),
        (60.1, False, True, "did not begin to answer within 60 s"),
        (30.0, True, True, ""),
        (30.1, True, True, "sent nothing for 30 s in the middle of its answer"),
        (10.0, True, False, ""),
        (10.1, True, False, "fails its health checks and has gone silent"),
        (10.1, False, False, "fails its health checks and has gone silent"),
        (5.0, True, False, ""),
    ],
)
def test_an_answer_is_late(silent_s: float, begun: bool, up: bool, late: str) -> None:
    assert overdue(LIMITS, silent_s, begun=begun, up=up) == late


@pytest.mark.parametrize("begun", [True, False])
def test_without_limits_nothing_is_late_while_its_worker_is_up(begun: bool) -> None:
    assert overdue(NO_LIMITS, 1e9, begun=begun, up=True) == ""


@given(st.floats(0, 1e6), st.booleans())
def test_a_worker_that_is_down_is_not_waited_for(silent_s: float, begun: bool) -> None:
    late = overdue(NO_LIMITS, silent_s, begun=begun, up=False)
    assert bool(late) is (silent_s > ABANDONED_S)
