"""Follows the file of tenants: what it says counts within seconds; while it is wrong, what it said before does."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from router.access.terms import Terms
from router.config_file import ConfigurationError, state_of

logger = logging.getLogger(__name__)

_LOOK_S = 2.0


class Watch:
    """`read` reads `file` anew; `changed` is told what it says. `state`: the file's, as it was read last."""

    def __init__(
        self,
        file: Path,
        read: Callable[[], Mapping[str, Terms]],
        changed: Callable[[Mapping[str, Terms]], None],
        *,
        look_s: float = _LOOK_S,
    ) -> None:
        self._file = file
        self._read = read
        self._changed = changed
        self._look_s = look_s
        self._state = state_of(file)

    async def run(self) -> None:
        """Look every so often, for ever."""
        while True:
            await asyncio.sleep(self._look_s)
            await self.look()

    async def look(self) -> None:
        """Take in what has changed. In a thread: the file may be large, and its disk slow."""
        state = await asyncio.to_thread(state_of, self._file)
        if state == self._state:
            return
        self._state = state
        try:
            terms = await asyncio.to_thread(self._read)
        except ConfigurationError as error:
            for problem in error.problems:
                logger.warning("%s", problem)
            logger.warning("%s is wrong: the tenants stay as they were", self._file)
        except Exception:  # nobody may be locked out for it
            logger.exception("%s cannot be read: the tenants stay as they were", self._file)
        else:
            self._changed(terms)
            logger.info("%s was read anew: %d tenants", self._file, len(terms))
