"""A request's claim on its worker."""

from time import perf_counter

from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from tests.unit.support import workers_of


def test_a_lease_is_counted_from_its_making_to_its_release() -> None:
    (worker,) = workers_of("a")
    lease = Lease(worker, PendingPrefill(5.0, 100, streams=True), 0.0)
    assert worker.load.inflight == 1
    assert worker.load.pending_tokens(perf_counter()) == 100
    lease.release(1.0)
    assert worker.load.inflight == 0
    assert worker.load.pending_tokens(perf_counter()) == 0


def test_a_first_token_ends_the_prefill() -> None:
    (worker,) = workers_of("a")
    lease = Lease(worker, PendingPrefill(5.0, 100, streams=True), 0.0)
    lease.first_token(perf_counter())
    assert worker.load.inflight == 1
    assert worker.load.pending_tokens(perf_counter()) == 0
    lease.release(1.0)
    assert worker.load.inflight == 0


def test_releasing_twice_is_harmless() -> None:
    (worker,) = workers_of("a")
    first, second = (Lease(worker, PendingPrefill(1.0, 10, streams=True), 0.0) for _ in range(2))
    first.release(1.0)
    first.release(1.0)
    first.first_token(perf_counter())
    assert worker.load.inflight == 1
    second.release(1.0)
    assert worker.load.inflight == 0


def test_room_is_told_of_as_often_as_there_is_more() -> None:
    (worker,), told = workers_of("a"), list[int]()
    lease = Lease(
        worker,
        PendingPrefill(5.0, 100, streams=True),
        0.0,
        lambda: told.append(len(worker.load.pending)),
    )
    assert told == []
    lease.first_token(1.0)
    lease.release(2.0)
    lease.release(3.0)
    assert told == [0, 0]
