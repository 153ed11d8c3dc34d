"""All sources of all workers: who listens where, and what becomes of it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from router.events.counters import Counters
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


@dataclass(slots=True, eq=False)
class _Departure:
    """Takes back what a source reported, step by step (`ingest.Job`); then calls `done`."""

    feed: _Feed
    done: Callable[[], object]

    def step(self) -> bool:
        more = self.feed.subscriber.step()
        if not more:
            self.done()
        return more


class Heard(NamedTuple):
    """A holder that tells what it holds, in blocks of `block` tokens. `whole`: all that it told was heard."""

    worker: WorkerId
    holder: WorkerId
    block: int
    whole: bool


class EventFeeds:
    """Follows sources and reports what they hold to `sinks`, an index for each medium ("GPU", "CPU", "STORAGE").

    An index calls a source by its `holder`. Of a worker that left it is told, in portions, that nothing is held.
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
        self._leaving: dict[tuple[WorkerId, int], _Departure] = {}
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
            feed = self._feeds.get(place) or self._return(place) or self._feed(place, source)
            if feed.listener is not None and feed.source == source:
                feed.subscriber.check(started_at)
            else:
                self._unplug(feed)
                feed.source = source
                self._plug(feed)

    def forget(self, worker: WorkerId) -> None:
        """The worker left: what it reported is taken back."""
        for place in [place for place in self._feeds if place[0] == worker]:
            feed = self._feeds.pop(place)
            self._unplug(feed)
            feed.subscriber.leave()
            self._ingest.drop(feed.subscriber)
            self._leaving[place] = _Departure(feed, partial(self._leaving.pop, place))
            self._ingest.wake(self._leaving[place])

    def resync(self, holder: WorkerId) -> None:
        """What is known of `holder` is wrong: start over."""
        for feed in self._feeds.values():
            if feed.source.holder == holder:
                feed.subscriber.resync()

    def block_sizes(self, medium: str) -> set[int]:
        """Tokens per block, as far as any block was stored there."""
        return set().union(*(feed.ledger.block_sizes(medium) for feed in self._feeds.values()))

    def heard(self) -> Iterator[Heard]:
        """Who is listened to, has told of blocks with their tokens, all of one size, and is not asked for the past."""
        for (worker, _), feed in self._feeds.items():
            subscriber = feed.subscriber
            if feed.listener is not None and subscriber.current:
                block, *others = feed.ledger.block_sizes()
                if not others:
                    yield Heard(worker, feed.source.holder, block, subscriber.whole)

    def counters(self) -> dict[WorkerId, Counters]:
        """What happened to the events of every holder that is listened to."""
        return {
            feed.source.holder: feed.subscriber.counters
            for feed in self._feeds.values()
            if feed.listener is not None
        }

    def blocks(self, holder: WorkerId, medium: str) -> int:
        """How many blocks `holder` says it has there."""
        return sum(
            feed.ledger.blocks(medium)
            for feed in self._feeds.values()
            if feed.source.holder == holder
        )

    def close(self) -> None:
        """Close every socket."""
        for feed in self._feeds.values():
            feed.subscriber.close()
        for departure in self._leaving.values():
            self._ingest.drop(departure)
        for listener in self._listeners.values():
            listener.close()
        self._feeds.clear()
        self._leaving.clear()
        self._listeners.clear()
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    # ------------------------------------------------------------------------------------------

    def _return(self, place: tuple[WorkerId, int]) -> _Feed | None:
        """The feed of a worker that left and came back; what it reported before may not be taken back yet."""
        departure = self._leaving.pop(place, None)
        if departure is None:
            return None
        self._ingest.drop(departure)
        self._feeds[place] = departure.feed
        return departure.feed

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
