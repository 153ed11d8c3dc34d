"""What finds workers: it always tells the complete set, never what changed."""

from collections.abc import Callable, Sequence
from typing import Protocol

from router.fleet.target import Target

Tell = Callable[[Sequence[Target]], None]


class Source(Protocol):
    """Knows of workers. A failure never takes any away: what was told last stands until the source knows better."""

    @property
    def name(self) -> str:
        """What it is called in logs and metrics, as `dns vllm.example:8000`."""

    @property
    def problem(self) -> str | None:
        """What keeps it from knowing the workers now, in plain words; None: nothing."""

    async def run(self, tell: Tell) -> None:
        """For ever: tell the complete set as soon as it is known and whenever it changes. Raises nothing but
        CancelledError; what goes wrong is logged, once until it is another thing, and tried again.
        """
