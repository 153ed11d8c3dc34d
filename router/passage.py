"""How a journey goes from step to step: a failure ends it with an error, whatever ends it concludes it once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from router.errors import INTERNAL_ERROR, RouterError
from router.journey import Journey
from router.report import Reporter

logger = logging.getLogger(__name__)

_FAILED = "request %r failed"


class Passage:
    """Takes journeys through their steps, and to their end."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._tasks: dict[asyncio.Task[None], Journey] = {}

    def step(self, journey: Journey, step: Callable[[Journey], None]) -> None:
        """Take a step; a defect of ours is an error for the client and a trace for the log."""
        try:
            step(journey)
        except RouterError as error:
            self.give_up(journey, error)
        except Exception:
            logger.exception(_FAILED, journey.request_id)
            self._defect(journey)

    def begin_task(self, journey: Journey, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step that waits for something; a failure in it is told like any other."""
        task = journey.task = asyncio.get_running_loop().create_task(self._run(journey, step))
        self._tasks[task] = journey
        task.add_done_callback(self._tasks.pop)

    async def _run(self, journey: Journey, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except RouterError as error:
            journey.task = None
            self.give_up(journey, error)
        except Exception:
            logger.exception(_FAILED, journey.request_id)
            journey.task = None
            self._defect(journey)

    def _defect(self, journey: Journey) -> None:
        if not journey.over:
            self.give_up(journey, INTERNAL_ERROR)

    def give_up(self, journey: Journey, error: RouterError) -> None:
        """End a journey with an error."""
        journey.error = error
        relay = journey.relay
        in_band = journey.pinged or (relay is not None and relay.open_ended)
        if relay is not None and relay.begun and not in_band and journey.client.take_back():
            relay.status = 0
        journey.client.fail(error, in_band=in_band)
        self.conclude(journey)

    def conclude(self, journey: Journey) -> None:
        """The journey is over, whatever way it ended."""
        journey.end()
        self.reporter.conclude(journey)

    def close(self, error: RouterError) -> None:
        """End all journeys that wait for a task of theirs."""
        for journey in list(self._tasks.values()):
            if not journey.over:
                self.give_up(journey, error)
