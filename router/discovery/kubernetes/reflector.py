"""Keeps a copy of a list that the API server has, as client-go's reflector does: it lists, then watches, and begins anew
where the watch cannot go on, and every few minutes in case it missed something.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from typing import Generic, TypeVar

from router.discovery.kubernetes.client import ApiError, Client, GoneError
from router.discovery.kubernetes.collection import Collection, Watch, listed
from router.discovery.kubernetes.objects import Described

logger = logging.getLogger(__name__)

_SOUND_S = 1.0
"""A watch that lives so long is no failure."""

T = TypeVar("T", bound=Described)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: from list to list; how long a watch goes on, and how much later than that its connection is taken for dead;
    the first pause after a failure, which doubles, and the longest; how long changes are gathered before they are told.
    """

    resync_s: float = 300.0
    watch_s: float = 120.0
    grace_s: float = 10.0
    pause_s: float = 0.8
    longest_pause_s: float = 30.0
    settle_s: float = 0.05


PACE = Pace()


class Reflector(Generic[T]):
    """`objects` by name: what the server has, or had last. `known`: that has been said. `problem`: what is wrong now, in plain
    words. `changed` is called after each change of any of them; `name` is for the log.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        collection: Collection[T],
        changed: Callable[[], None],
        pace: Pace = PACE,
    ) -> None:
        self.objects: dict[str, T] = {}
        self.known = False
        self.problem: str | None = None
        self._name = name
        self._client = client
        self._collection = collection
        self._changed = changed
        self._pace = pace
        self._failures = 0

    async def run(self) -> None:
        """Follow the server for ever. Raises nothing but CancelledError."""
        self._failures = 0
        try:
            while True:
                pause_s = await self._round()
                await asyncio.sleep(pause_s)
        finally:
            self._client.close()

    async def _round(self) -> float:
        """List and watch until it is time to list anew; the seconds until then."""
        try:
            await self._follow()
        except GoneError as error:
            logger.info("%s: %s: beginning anew", self._name, error)
            first = not self._failures
            pause_s = self._failed()
            return 0.0 if first else pause_s
        except ApiError as error:
            pause_s = max(self._failed(), min(error.retry_after_s, self._pace.longest_pause_s))
            self._say(self._collection.explained(error, self._client), pause_s=pause_s)
            return pause_s
        except Exception as error:  # noqa: BLE001 - ours; nobody may be gone for it
            self._say(repr(error), error)
            return self._failed()
        return 0.0

    async def _follow(self) -> None:
        objects, version = await listed(self._client, self._collection)
        self.objects = {each.metadata.name: each for each in objects}
        self.known = True
        self._changed()
        watch = Watch(self._client, self._collection, version, self._take)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._pace.resync_s * uniform(0.9, 1.1)  # noqa: S311 - no secret
        while (left := until - loop.time()) > 0:
            await self._watch(watch, max(1, round(min(left, self._pace.watch_s))))

    async def _watch(self, watch: Watch[T], seconds: int) -> None:
        loop = asyncio.get_running_loop()
        began, version = loop.time(), watch.version
        timers: list[asyncio.TimerHandle] = []

        def begun() -> None:
            timers.append(loop.call_later(_SOUND_S, self._well))

        try:
            await watch.run(seconds, begun, self._pace.grace_s)
        finally:
            for timer in timers:
                timer.cancel()
        if loop.time() - began < min(_SOUND_S, seconds / 2) and watch.version == version:
            raise ApiError("the API server ends every watch at once")
        self._well()

    def _take(self, object_: T, there: bool) -> None:
        if there:
            self.objects[object_.metadata.name] = object_
        else:
            self.objects.pop(object_.metadata.name, None)
        self._well()
        self._changed()

    # -- how it goes ---------------------------------------------------------------------------

    def _well(self) -> None:
        self._failures = 0
        if self.problem is not None:
            logger.info("%s: is known again", self._name)
            self.problem = None
            self._changed()

    def _say(self, problem: str, error: Exception | None = None, *, pause_s: float = 0.0) -> None:
        if problem == self.problem:
            return
        again = f" (asked again in {pause_s:.1f} s)" if pause_s else ""
        logger.warning("%s: %s%s", self._name, problem, again, exc_info=error)
        self.problem = problem
        self._changed()

    def _failed(self) -> float:
        """The pause after this failure, in seconds; routers that fail together do not come back together."""
        pause_s = min(self._pace.longest_pause_s, self._pace.pause_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        return pause_s * uniform(0.5, 1.5)  # noqa: S311 - no secret
