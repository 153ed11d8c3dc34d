"""All sources of all workers: who listens where, and what becomes of it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from router.events.counters import Counters, together
from router.events.ingest import Ingest
from router.events.ledger import Ledger
from router.events.sockets import Context, Listener, ZmqReplay, new_context
from router.events.sources import EventSource
from router.events.subscriber import OpenReplay, Subscriber
from router.events.tier import BlockSink
from router.ids import WorkerId

logger = logging.getLogger(__name__)

_REPLAY_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Feed:
    """A source and what follows it; `listener` None: its endpoint could not be had."""

    source: EventSource
    subscriber: Subscriber
    ledger: Ledger
    listener: Listener | None = None


class EventFeeds:
    """Follows sources and reports what they hold to `sinks`, an index for each medium ("GPU", "CPU", "STORAGE").

    An index calls a source by its `holder`. Forgetting what it holds when its worker leaves is the caller's business.
    """

    def __init__(
        self,
        sinks: Mapping[str, BlockSink],
        *,
        ingest: Ingest | None = None,
        replay_timeout_s: float = _REPLAY_TIMEOUT_S,
    ) -> None:
        self._sinks = sinks
        self._ingest = ingest or Ingest()
        self._replay_timeout_s = replay_timeout_s
        self._context: Context | None = None
        self._feeds: dict[tuple[WorkerId, int], _Feed] = {}
        self._listeners: dict[tuple[str, bool], Listener] = {}

    async def run(self) -> None:
        """Work on what comes, for ever."""
        try:
            await self._ingest.run()
        finally:
            self.close()

    def follow(
        self,
        worker: WorkerId,
        sources: Iterable[EventSource],
        started_at: float | None = None,
    ) -> None:
        """These are the sources of `worker` now; it began its life at `started_at` (epoch seconds; None: not known).

        Those that are followed already are checked for what was missed.
        """
        wanted = {(worker, source.rank): source for source in sources}
        for place, feed in self._feeds.items():
            if place[0] == worker and place not in wanted and feed.listener is not None:
                self._unplug(feed)
                feed.subscriber.attach(None)
        for place, source in wanted.items():
            feed = self._feeds.get(place) or self._feed(place, source)
            if feed.listener is not None and feed.source == source:
                feed.subscriber.check(started_at)
            else:
                self._unplug(feed)
                feed.source = source
                self._plug(feed)

    def forget(self, worker: WorkerId) -> None:
        """The worker left."""
        for place in [place for place in self._feeds if place[0] == worker]:
            feed = self._feeds.pop(place)
            self._unplug(feed)
            feed.subscriber.close()
            self._ingest.drop(feed.subscriber)

    def counters(self, worker: WorkerId) -> Counters:
        """What happened to the events of all ranks of `worker`."""
        return together(
            feed.subscriber.counters for place, feed in self._feeds.items() if place[0] == worker
        )

    def blocks(self, worker: WorkerId, medium: str) -> int:
        """How many blocks `worker` says it holds there, over all its ranks."""
        return sum(
            feed.ledger.blocks(medium) for place, feed in self._feeds.items() if place[0] == worker
        )

    def follows(self, worker: WorkerId) -> bool:
        """Whether `worker` is listened to."""
        return any(
            place[0] == worker and feed.listener is not None for place, feed in self._feeds.items()
        )

    def close(self) -> None:
        """Close every socket."""
        for feed in self._feeds.values():
            feed.subscriber.close()
        for listener in self._listeners.values():
            listener.close()
        self._feeds.clear()
        self._listeners.clear()
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    # ------------------------------------------------------------------------------------------

    def _feed(self, place: tuple[WorkerId, int], source: EventSource) -> _Feed:
        counters = Counters()
        ledger = Ledger(source.holder, self._sinks, counters)
        feed = self._feeds[place] = _Feed(
            source, Subscriber(ledger, counters, self._ingest.wake), ledger
        )
        return feed

    def _plug(self, feed: _Feed) -> None:
        source = feed.source
        try:
            listener = self._listener(source.endpoint, bind=source.bind)
        except OSError as error:
            logger.error("no events of worker %s: %s", source.worker, error)  # noqa: TRY400
            return
        if not listener.add(source.topic, feed.subscriber):
            logger.error(
                "no events of worker %s: others have the topic %r at %s too; give each its own",
                source.worker,
                (source.topic or b"").decode(errors="replace"),
                source.endpoint,
            )
            return
        feed.listener = listener
        feed.subscriber.attach(self._replay_of(source, feed.subscriber))

    def _unplug(self, feed: _Feed) -> None:
        listener, feed.listener = feed.listener, None
        if listener is None or listener.remove(feed.subscriber):
            return
        listener.close()
        self._ingest.drop(listener)
        self._listeners = {
            place: each for place, each in self._listeners.items() if each is not listener
        }

    def _listener(self, endpoint: str, *, bind: bool) -> Listener:
        listener = self._listeners.get((endpoint, bind))
        if listener is None:
            self._context = self._context or new_context()
            listener = Listener(self._context, endpoint, bind=bind, on_work=self._ingest.wake)
            self._listeners[endpoint, bind] = listener
        return listener

    def _replay_of(self, source: EventSource, subscriber: Subscriber) -> OpenReplay | None:
        if source.replay is None or self._context is None:
            return None
        return partial(
            ZmqReplay,
            self._context,
            source.replay,
            timeout_s=self._replay_timeout_s,
            on_ready=partial(self._ingest.wake, subscriber),
        )
