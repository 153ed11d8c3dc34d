"""Workers that a file lists, which is followed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from router.discovery.base import Tell
from router.discovery.targets_file import read
from router.discovery.telling import news
from router.file_watch import Watch
from router.fleet.target import Target


class WorkersFile:
    """Tells of the workers in `file` (`discovery.base.Source`), and of others when it changes. While it is wrong or gone,
    those that it had before stand; an empty list is believed. Whoever changes it writes another file and renames it, as
    Kubernetes does with what is mounted: a file that is half written may be a shorter list.
    """

    def __init__(self, file: Path, *, look_s: float = 2.0) -> None:
        self.name = f"file {file}"
        self._tell: Tell = _nobody
        self._watch: Watch[Sequence[Target]] = Watch(
            file, partial(read, file), self._changed, what="workers", look_s=look_s
        )

    @property
    def problem(self) -> str | None:
        """What is wrong with the file, a line each."""
        return self._watch.problem

    async def run(self, tell: Tell) -> None:
        """Read the file before anything else happens, then follow it."""
        self._tell = news(tell)
        self._watch.begin()
        await self._watch.run()

    def _changed(self, targets: Sequence[Target]) -> None:
        self._tell(targets)


def _nobody(targets: Sequence[Target]) -> None:
    del targets
