"""Follows a file: what it says counts within seconds; while it is wrong, what it said before does."""

import asyncio
import logging
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Generic, TypeVar

from router.config_file import ConfigurationError, state_of

logger = logging.getLogger(__name__)

_LOOK_S = 2.0

T = TypeVar("T", bound=Sized)


class Watch(Generic[T]):
    """`read` reads `file` anew; `changed` is told what it says, which are `what`, as "tenants". `problem`: what is wrong
    with the file, said in the log once. A file that is wrong is read at every look: a permission that is mended, or a
    disk, does not show in its state.
    """

    def __init__(
        self,
        file: Path,
        read: Callable[[], T],
        changed: Callable[[T], None],
        *,
        what: str,
        look_s: float = _LOOK_S,
    ) -> None:
        self.problem: str | None = None
        self._file = file
        self._read = read
        self._changed = changed
        self._what = what
        self._look_s = look_s
        self._state = state_of(file)

    async def run(self) -> None:
        """Look every so often, for ever."""
        while True:
            await asyncio.sleep(self._look_s)
            await self.look()

    def begin(self) -> None:
        """Read the file here and now, whether it has changed or not."""
        self._state = state_of(self._file)
        self._take(self._tried())

    async def look(self) -> None:
        """Take in what has changed. In a thread: the file may be large, and its disk slow."""
        state = await asyncio.to_thread(state_of, self._file)
        if state == self._state and self.problem is None:
            return
        self._state = state
        self._take(await asyncio.to_thread(self._tried))

    def _tried(self) -> T | Exception:
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - ours; nobody may be gone for it
            return error

    def _take(self, read: T | Exception) -> None:
        if isinstance(read, Exception):
            self._complain(read)
            return
        self.problem = None
        self._changed(read)
        logger.info("%s was read: %d %s", self._file, len(read), self._what)

    def _complain(self, error: Exception) -> None:
        wrong = isinstance(error, ConfigurationError)
        problem = str(error) if wrong else f"{self._file} cannot be read: {error!r}"
        if problem == self.problem:
            return
        self.problem = problem
        for line in problem.splitlines():
            logger.warning("%s", line, exc_info=None if wrong else error)
        logger.warning("%s is wrong: the %s stay as they were", self._file, self._what)
