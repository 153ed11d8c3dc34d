"""Where a request goes and when: at once where it may, else as soon as something has changed in its favour."""

import asyncio
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from router.errors import RouterError
from router.prompt.identity import Identity
from router.routing.chooser import Chooser, Lookup
from router.routing.policy import Admission, Choice, Decision, Preview, Question, Waiter

LOOK_S = 0.025
"""Pause between two looks at the queue: some room opens by time alone, without a word from a worker."""


class Dispatch:
    """An admission with the event loop's clock. `aside` takes what must not wait; `caller` reads a request's
    tenant and priority.

    Changes on workers are told by `stir`; the queue is drained in a turn of the loop of its own, once for all
    that changed in this one. While nobody waits all this costs nothing.
    """

    def __init__(
        self,
        chooser: Chooser,
        admission: Admission,
        aside: Admission,
        caller: Callable[[Any], tuple[str, int]],
    ) -> None:
        self._chooser = chooser
        self._admission = admission
        self._aside = aside
        self._caller = caller
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._admission)

    def depths(self) -> Mapping[str | None, int]:
        """The same, by the model they are for (None: they name none)."""
        return self._admission.depths()

    @property
    def policy(self) -> str:
        """The policy's name."""
        return self._admission.name

    def look_up(self, identity: Identity) -> Lookup:
        """Leading blocks of the prompt that each worker holds."""
        return self._chooser.look_up(identity)

    # -- requests ------------------------------------------------------------------------------

    def decide(self, question: Question, *, bound: str, works: bool) -> Decision | None:
        """Where to send the request now; None: it has to `wait`.

        `bound`: why it can only go to its one candidate, empty when it is not. `works`: it gives the model
        something to do.
        """
        if bound:
            choice = Choice(question.candidates[0], bound)
            return self._chooser.expect(self._admission.name, choice, question)
        return (self._admission if works else self._aside).offer(question)

    def preview(self, question: Question, *, bound: str, works: bool) -> Preview:
        """What `decide` would say, and why it would say to wait. Changes nothing but that lots may be drawn."""
        if bound:
            return Preview([Choice(question.candidates[0], bound)])
        return (self._admission if works else self._aside).preview(question)

    def wait(self, question: Question, waiter: Waiter) -> None:
        """Decide later; may decide at once. Raises `RouterError` when too many wait."""
        question.tenant, question.priority = self._caller(question.request)
        self._admission.wait(question, waiter)
        self._look_later()

    def withdraw(self, waiter: Waiter) -> None:
        """It waits no longer."""
        self._admission.withdraw(waiter)

    # -- time ----------------------------------------------------------------------------------

    def stir(self) -> None:
        """Something changed on a worker: perhaps it is somebody's turn."""
        if self._soon is None and len(self._admission):
            self._soon = asyncio.get_running_loop().call_soon(self._drain_soon)

    def keep(self, now: float) -> None:
        """Turn away who has waited too long, and look after all others. To be called every so often."""
        self._admission.expire(now)
        self.stir()

    def close(self, error: RouterError) -> None:
        """Turn away everybody, and end."""
        self._admission.close(error)
        for handle in (self._soon, self._later):
            if handle is not None:
                handle.cancel()

    def _drain_soon(self) -> None:
        self._soon = None
        self._drain()

    def _drain_later(self) -> None:
        self._later = None
        self._drain()

    def _drain(self) -> None:
        try:
            self._admission.drain(perf_counter())
        finally:
            self._look_later()

    def _look_later(self) -> None:
        if self._later is None and len(self._admission):
            self._later = asyncio.get_running_loop().call_later(LOOK_S, self._drain_later)
