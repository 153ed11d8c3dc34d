"""How far a study is, on a terminal."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Ticker(AbstractContextManager["Ticker"]):
    """A bar on standard error that goes away at the end; nothing where that is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.visible = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self.visible,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Without the bar, so that others can write."""
        self._progress.stop()
        yield
        self._progress.start()

    def begin(self, what: str, total: int | None = None) -> None:
        """What is done now, in how many steps; None: nobody knows."""
        self._progress.reset(self._task, description=what, total=total)

    def advance(self) -> None:
        """One step is done."""
        self._progress.advance(self._task)

    def say(self, text: str) -> None:
        """A line that stays, terminal or not."""
        self._progress.console.print(text, soft_wrap=True, highlight=False, markup=False)
