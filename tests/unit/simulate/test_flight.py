"""A call under way is a waiter, and what policies read of a request."""

import pytest

from router.errors import queue_full
from router.simulate.brain import MODEL
from router.simulate.flight import Caller, Flight
from tests.unit.simulate.studies import workload


def test_it_is_sent_when_it_is_its_turn() -> None:
    work, told = workload("chat", 5), []
    caller = Caller(work.sessions[0])
    call = work.sessions[0].steps[0].calls[0]
    flight = Flight(lambda *sent: told.append(sent), caller, call, 3.0, work.block_tokens)
    assert (flight.model, flight.session) == (MODEL, work.sessions[0].name)
    assert flight.arrived_at == 3.0
    assert list(flight.identity.keys) == call.blocks
    assert flight.identity.tokens == call.prompt_tokens
    flight.go("decision")  # type: ignore[arg-type]
    assert told == [(flight, "decision")]


def test_nobody_is_turned_away() -> None:
    """The queue of a simulation has no end: a call that is refused is a mistake in it."""
    work = workload(requests=1)
    call = work.sessions[0].steps[0].calls[0]
    flight = Flight(lambda *_: None, Caller(work.sessions[0]), call, 0.0, work.block_tokens)
    error = queue_full(1, 1)
    with pytest.raises(type(error)):
        flight.turn_away(error)
