"""When another try is safe, case by case."""

import pytest

from router import errors
from router.proxy.retry import BUSY, MOST_LOST, Attempted, Step, after_failure

UNREACHED = errors.connect_failed("w", "refused")
STALE = errors.stale_connection("w")
LOST = errors.worker_lost("w", "before answering")
LATE = errors.worker_timeout("w", "did not begin to answer within 1 s")
DIED = errors.engine_died("has lost its engine")
BAD = errors.bad_response("w", "garbage")
OURS = [errors.no_worker("none"), errors.out_of_sockets("w", "none"), errors.SHUTTING_DOWN]


@pytest.mark.parametrize("error", [UNREACHED, STALE, LOST, LATE, DIED, BAD, *OURS])
@pytest.mark.parametrize("reconnected", [False, True])
@pytest.mark.parametrize("stores", [False, True])
def test_nothing_is_tried_again_once_the_client_has_some(
    error: errors.RouterError, reconnected: bool, stores: bool
) -> None:
    tried = Attempted(started=True, reconnected=reconnected, stores=stores)
    assert after_failure(error, tried) is Step.GIVE_UP


@pytest.mark.parametrize("error", [LOST, LATE, DIED, BAD])
@pytest.mark.parametrize("reconnected", [False, True])
def test_a_worker_that_broke_off_before_any_byte_is_replaced(
    error: errors.RouterError, reconnected: bool
) -> None:
    tried = Attempted(started=False, reconnected=reconnected)
    assert after_failure(error, tried) is Step.START_OVER


@pytest.mark.parametrize("error", [LOST, LATE, DIED, BAD])
def test_but_not_where_the_answer_might_be_stored_twice(error: errors.RouterError) -> None:
    tried = Attempted(started=False, reconnected=False, stores=True)
    assert after_failure(error, tried) is Step.GIVE_UP


def test_a_request_that_breaks_worker_after_worker_is_not_passed_round() -> None:
    steps = [
        after_failure(LOST, Attempted(started=False, reconnected=False, lost=lost))
        for lost in range(MOST_LOST + 1)
    ]
    assert MOST_LOST == 3
    assert steps == [Step.START_OVER, Step.START_OVER, Step.GIVE_UP, Step.GIVE_UP]


@pytest.mark.parametrize("error", OURS)
def test_what_another_worker_could_not_mend_is_told(error: errors.RouterError) -> None:
    assert after_failure(error, Attempted(started=False, reconnected=False)) is Step.GIVE_UP


@pytest.mark.parametrize("stores", [False, True])
def test_a_stale_connection_is_replaced_once(stores: bool) -> None:
    """The worker cannot have started, so that it does not matter what it stores."""
    first = Attempted(started=False, reconnected=False, stores=stores)
    again = Attempted(started=False, reconnected=True, stores=stores)
    assert after_failure(STALE, first) is Step.RECONNECT
    assert after_failure(STALE, again) is Step.NEXT_WORKER


@pytest.mark.parametrize("stores", [False, True])
@pytest.mark.parametrize("lost", [0, 2, 5])
def test_an_unreachable_worker_is_left_for_another(stores: bool, lost: int) -> None:
    tried = Attempted(started=False, reconnected=False, stores=stores, lost=lost)
    assert after_failure(UNREACHED, tried) is Step.NEXT_WORKER


def test_only_two_statuses_say_that_nothing_was_started() -> None:
    assert {429, 503} == BUSY
