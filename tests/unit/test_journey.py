"""What a request holds on its way, and that it holds nothing in the end."""

import asyncio

from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.journey import Journey
from tests.unit.support import FakeConnection, FakeDownstream, incoming, workers_of


def journey() -> Journey:
    return Journey(incoming(b"body"), b"r1", FakeDownstream())


def test_at_first_it_holds_nothing() -> None:
    fresh = journey()
    assert not fresh.over
    assert not fresh.routed
    fresh.release()
    fresh.end()
    assert fresh.over


def test_an_attempt_is_given_back() -> None:
    on_its_way, connection = journey(), FakeConnection()
    (worker,) = workers_of("a")
    on_its_way.attempts = 1
    on_its_way.lease = Lease(worker, PendingPrefill(1.0, 10, streams=True))
    on_its_way.connection = connection  # type: ignore[assignment]
    on_its_way.release()
    on_its_way.release()
    assert on_its_way.routed
    assert connection.aborted
    assert on_its_way.connection is None
    assert worker.load.inflight == 0
    assert not on_its_way.over


async def test_a_connection_being_opened_is_given_up() -> None:
    on_its_way = journey()
    connecting = asyncio.ensure_future(asyncio.Event().wait())
    on_its_way.connecting = connecting  # type: ignore[assignment]
    on_its_way.end()
    await asyncio.wait([connecting])
    assert connecting.cancelled()


def test_the_end_parts_the_client_from_what_fed_it() -> None:
    on_its_way = journey()
    on_its_way.client.feed_from(FakeConnection())
    on_its_way.end()
    assert isinstance(on_its_way.client, FakeDownstream)
    assert on_its_way.client.source is None
