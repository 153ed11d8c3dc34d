"""Comments in a stream that has not begun, so that nobody between takes it for dead: `: ping`, as SSE allows.

They are sent once the worker has answered, or (`early`) from the start. The client has the stream's head then, but
nothing of the answer: until that comes another worker can still be asked, and an error is told in the stream.
"""

from router.ids import Headers
from router.journey import Journey

_PING = b": ping\n\n"
_LEAST_S = 0.25


class KeepAlive:
    """Pings streams whose first token is long in coming; `interval_s` None: only those that ask for it."""

    def __init__(self, interval_s: float | None, *, early: bool) -> None:
        self._interval_s = interval_s
        self._early = early
        self._due: dict[Journey, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._due)

    def watch(self, journey: Journey) -> None:
        """A request for a stream has come; it may say itself how often it wants to hear something."""
        wish = journey.incoming.by_name.get(b"x-router-keep-alive")
        interval_s = self._interval_s if wish is None else _seconds(wish)
        if interval_s:
            self._due[journey] = (interval_s, journey.arrived_at + interval_s)

    def keep(self, now: float) -> None:
        """Ping whoever has heard nothing for as long as that. To be called every so often."""
        for journey, (interval_s, due) in list(self._due.items()):
            if journey.over or (journey.relay is not None and journey.relay.head):
                del self._due[journey]
            elif now >= due and self._ping(journey):
                self._due[journey] = (interval_s, now + interval_s)

    def _ping(self, journey: Journey) -> bool:
        relay, client = journey.relay, journey.client
        if not client.started:
            if relay is not None and relay.open_ended and not relay.begun:
                relay.begin()
            elif self._early:
                client.start(200, _head(journey), None)
                if relay is not None:
                    relay.adopt()
            else:
                return False
            journey.pinged = True
        if not journey.pinged:
            return False
        client.write(_PING)
        client.flush()
        return True


def _head(journey: Journey) -> Headers:
    return [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-request-id", journey.request_id),
    ]


def _seconds(wish: bytes) -> float | None:
    """A whole number of seconds; None: never."""
    return (
        max(_LEAST_S, float(wish)) if wish.isdigit() and 0 < len(wish) < 6 and int(wish) else None
    )
