"""When another try is safe, case by case."""

import pytest

from router import errors
from router.proxy.retry import REFUSALS, STALE, UNREACHABLE, Step, after_failure

UNREACHED = errors.connect_failed("w", "refused")
RESET = errors.stale_connection("w")
LOST = errors.worker_lost("w", "before answering")
BAD = errors.bad_response("w", "garbage")


@pytest.mark.parametrize("error", [UNREACHED, RESET, LOST, BAD])
@pytest.mark.parametrize("reconnected", [False, True])
@pytest.mark.parametrize("others", [False, True])
def test_nothing_is_tried_again_once_the_client_has_some(
    error: errors.RouterError, reconnected: bool, others: bool
) -> None:
    step = after_failure(error, started=True, reconnected=reconnected, others=others)
    assert step is Step.GIVE_UP


@pytest.mark.parametrize("error", [LOST, BAD, errors.no_worker("none")])
@pytest.mark.parametrize("others", [False, True])
def test_nothing_is_tried_again_when_a_worker_may_have_started(
    error: errors.RouterError, others: bool
) -> None:
    assert after_failure(error, started=False, reconnected=False, others=others) is Step.GIVE_UP


@pytest.mark.parametrize("others", [False, True])
def test_a_stale_connection_is_replaced_once(others: bool) -> None:
    assert after_failure(RESET, started=False, reconnected=False, others=others) is Step.RECONNECT


@pytest.mark.parametrize("error", [RESET, UNREACHED])
@pytest.mark.parametrize(("others", "step"), [(True, Step.NEXT_WORKER), (False, Step.GIVE_UP)])
def test_then_another_worker_is_tried_if_there_is_one(
    error: errors.RouterError, others: bool, step: Step
) -> None:
    assert after_failure(error, started=False, reconnected=True, others=others) is step


def test_the_codes_it_knows_are_those_of_the_errors() -> None:
    assert RESET.code == STALE
    assert UNREACHED.code == UNREACHABLE


def test_only_two_statuses_say_that_nothing_was_started() -> None:
    assert {429, 503} == REFUSALS
