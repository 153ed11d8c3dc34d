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
from router.events.subscriber import OpenReplay, Replay, Reply, Subscriber
from router.events.tier import BlockSink
from router.ids import WorkerId

logger = logging.getLogger(__name__)

_REPLAY_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Feed:
    """A source and what follows it; `listener` None: its endpoint could not be had. `complaint`: the last one."""

    source: EventSource
    subscriber: Subscriber
    ledger: Ledger
    listener: Listener | None = None
    complaint: str = ""

    def complain(self, text: str) -> None:
        """Log what is wrong, once for as long as it stays the same."""
        if text != self.complaint:
            logger.error("worker %s: %s", self.source.worker, text)
        self.complaint = text


class _NoReplay:
    """A replay that could not be opened (`subscriber.Replay`): it expired at once."""

    def receive(self) -> Reply:
        return Reply.EXPIRED

    def close(self) -> None:
        pass


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
        self._closed = False
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
    ) -> bool:
        """These are the sources of `worker` now; it began its life at `started_at` (epoch seconds; None: not known).

        Those that are followed already are checked for what was missed. False: some cannot be listened to just now.
        Once all is closed this does nothing.
        """
        if self._closed:
            return True
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
        return all(self._feeds[place].listener is not None for place in wanted)

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
        """Close every socket, for good."""
        self._closed = True
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
            feed.complain(f"no events: {error}")
            return
        if not listener.add(source.topic, feed.subscriber):
            topic = (source.topic or b"").decode(errors="replace")
            feed.complain(
                f"no events: others have the topic {topic!r} at {source.endpoint} too; give each its own"
            )
            return
        feed.listener, feed.complaint = listener, ""
        feed.subscriber.attach(self._replay_of(feed))

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

    def _replay_of(self, feed: _Feed) -> OpenReplay | None:
        if feed.source.replay is None or self._context is None:
            return None
        return partial(self._open_replay, feed, self._context, feed.source.replay)

    def _open_replay(self, feed: _Feed, context: Context, endpoint: str, first: int) -> Replay:
        try:
            return ZmqReplay(
                context,
                endpoint,
                first,
                timeout_s=self._replay_timeout_s,
                on_ready=partial(self._ingest.wake, feed.subscriber),
            )
        except OSError as error:
            feed.complain(f"no past events: {error}")
            return _NoReplay()
