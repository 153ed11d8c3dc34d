"""Passive health: what answers to requests, and their failing to come, say of workers."""

import logging
from collections.abc import Callable
from time import perf_counter

from router.engines.base import Condition
from router.errors import BAD_RESPONSE, LOST, STALE, TIMED_OUT, UNREACHABLE, RouterError
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker

logger = logging.getLogger(__name__)

_GATEWAY_ERRORS = (502, 503, 504)
"""Something is wrong with the worker, or with what stands before it; 500 may be the request's fault."""


_BUSY_S = 1.0
"""For so long a worker is left alone that has too many requests and does not say until when: refusing at once, it would
look idle, and draw all others.
"""

_FAILURES = frozenset((UNREACHABLE, STALE, LOST, TIMED_OUT, BAD_RESPONSE))


class PassiveHealth:
    """Opens and closes workers' circuits. `on_suspect`: a worker should be probed now."""

    def __init__(self, fleet: Fleet) -> None:
        self.on_suspect: Callable[[Worker], None] = _ignore
        self._fleet = fleet

    def answered(self, worker: Worker, status: int, retry_after_s: float | None) -> None:
        """The worker has answered in full, or refused. What it says of a client's mistake says nothing of it."""
        now, circuit = perf_counter(), worker.circuit
        if status in _GATEWAY_ERRORS:
            self._failed(worker, f"it answered {status}", now)
        elif status < 500:
            if (circuit.plain or status != 429) and circuit.succeeded(now):
                logger.info("worker %s has recovered", worker.process)
                self._fleet.on_change()
        else:
            self.on_suspect(worker)
        if status == 429 or (status == 503 and retry_after_s):
            circuit.pause(retry_after_s or _BUSY_S, now)
            self._fleet.hold_back(worker)

    def drains(self, worker: Worker) -> None:
        """The worker has said that it takes nothing new."""
        self._fleet.set_condition(worker, Condition.DRAINING)

    def failed(self, worker: Worker, error: RouterError) -> None:
        """The worker could not be reached, broke off or was too late; or it is no fault of its."""
        if error.code not in _FAILURES:
            return
        if error.code == UNREACHABLE and worker.target.service is None:
            self._fleet.mark_down(worker, error.message)
        self._failed(worker, error.message, perf_counter())
        self.on_suspect(worker)

    def _failed(self, worker: Worker, why: str, now: float) -> None:
        if worker.circuit.failed(now):
            self._fleet.hold_back(worker)
            seconds = worker.circuit.open_for(now)
            logger.warning(
                "worker %s is given no requests for %.0f s: %s", worker.process, seconds, why
            )
            self._fleet.on_change()


def _ignore(worker: Worker) -> None:
    del worker
