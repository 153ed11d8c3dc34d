"""Where responses are stored, for all routers to know."""

import asyncio
import logging

from router.ids import WorkerId
from router.shared.base import Registry, StoreError, as_store_error
from router.shared.bond import Bond

logger = logging.getLogger(__name__)

_TIMEOUT_S = 2.0
_AT_ONCE = 256
"""How many are told at a time; those beyond are not."""
_SOON_S = 2.5e-3


class SharedHomes:
    """Asks for `deadline_s`."""

    def __init__(self, registry: Registry, bond: Bond, *, deadline_s: float) -> None:
        self._registry = registry
        self._bond = bond
        self._deadline_s = deadline_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, response_id: str) -> WorkerId | None:
        """Who stores the response, if that can be told in time. One that was stored a moment ago may be being told: what is
        not known is asked for once more.
        """
        if not self._bond.asks():
            return None
        answered = False
        try:
            async with asyncio.timeout(self._deadline_s):
                found = await self._registry.find(response_id)
                answered = True
                if found is None:
                    await asyncio.sleep(min(_SOON_S, self._deadline_s / 2))
                    found = await self._registry.find(response_id)
                return found
        except (StoreError, TimeoutError) as error:
            if not (
                answered and isinstance(error, TimeoutError)
            ):  # else it was only asked too late
                self._bond.missed(as_store_error(error))
        except Exception:  # no mishap here is worth the request
            logger.exception("looking for a stored response failed")
        return None

    def remember(self, response_id: str, worker: WorkerId) -> None:
        """`worker` stores the response; told in the background."""
        if self._bond.up and len(self._tasks) < _AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._tell(response_id, worker))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is being told."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TIMEOUT_S)

    async def _tell(self, response_id: str, worker: WorkerId) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._registry.remember(response_id, worker)
        except (StoreError, TimeoutError) as error:
            self._bond.failed(as_store_error(error))
