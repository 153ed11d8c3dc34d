"""The client's side of one exchange, as the relay sees it."""

from typing import Protocol

from router.errors import RouterError
from router.ids import Headers


class Source(Protocol):
    """What feeds an answer; slowed down when the client reads slower."""

    def pause_reading(self) -> None:
        """Bring nothing more for now."""

    def resume_reading(self) -> None:
        """Go on."""


class Downstream(Protocol):
    """Takes one answer. Writes are collected and sent by `flush`."""

    started: bool
    """Some of the answer has been given; it can no longer be replaced by another."""

    def inform(self, status: int, headers: Headers) -> None:
        """Pass an interim (1xx) answer on, if the client understands it."""

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begin the answer. `length` None: not known, framed by chunks or by closing."""

    def write(self, data: bytes) -> None:
        """Add to the body."""

    def flush(self) -> None:
        """Send what has been collected."""

    def finish(self, trailers: Headers) -> None:
        """End the answer and send what is left of it."""

    def take_back(self) -> bool:
        """Forget an answer that has started, if nothing of it was sent yet; False: some was."""

    def fail(self, error: RouterError, *, in_band: bool) -> None:
        """Tell the client: as the whole answer if nothing has started, else in the stream (`in_band`: it is one
        of events), else by cutting it off.
        """

    def feed_from(self, source: Source | None) -> None:
        """Name what to slow down while the client does not keep up."""


class Nobody:
    """The client of an answer that is awaited though its client left (`Downstream`)."""

    started = True

    def inform(self, status: int, headers: Headers) -> None:
        """To nobody."""

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """To nobody."""

    def write(self, data: bytes) -> None:
        """To nobody."""

    def flush(self) -> None:
        """To nobody."""

    def finish(self, trailers: Headers) -> None:
        """To nobody."""

    def take_back(self) -> bool:
        """Nothing needs to be."""
        return False

    def fail(self, error: RouterError, *, in_band: bool) -> None:
        """To nobody."""

    def feed_from(self, source: Source | None) -> None:
        """Nobody reads slowly."""
