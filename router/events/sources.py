"""Where a worker publishes its events: it says so itself, or the configuration does."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from router.errors import RouterError, Source
from router.events.tcp import is_any, parts, shifted, tcp
from router.ids import WorkerId
from router.upstream.fetch import fetch
from router.upstream.pool import Address, Pool, is_loopback

logger = logging.getLogger(__name__)

_UNKNOWN = {404, 405}
_FORBIDDEN = {401, 403}


@dataclass(frozen=True, slots=True)
class EventSource:
    """One data-parallel rank of a worker. `bind`: the worker dials in, and says by its topic who it is.

    `topic` None: whatever the topic. `replay` None: past batches cannot be had.
    """

    worker: WorkerId
    rank: int
    endpoint: str
    bind: bool = False
    replay: str | None = None
    topic: bytes | None = None

    @property
    def holder(self) -> WorkerId:
        """What an index calls this rank's cache: the worker, and with `#rank` any rank but the first."""
        return WorkerId(f"{self.worker}#{self.rank}") if self.rank else self.worker


@dataclass(frozen=True, slots=True)
class ConfiguredSources:
    """What to assume of workers that do not say where their events are, in the words of vLLM's
    `--kv-events-config`: `tcp://*:5557` is bound by the worker, `tcp://router:5557` by us.

    `{host}` and `{port}` stand for the worker's own; `tcp://{host}:5557` is bound by the worker too. Rank n uses the
    ports that are higher by n.
    """

    endpoint: str
    replay: str | None = None
    topic: str | None = None
    ranks: int = 1

    def of(self, worker: WorkerId, address: Address) -> list[EventSource]:
        """The sources of this worker."""
        port = str(address.port)
        own = {"{host}": "*", "{port}": port}
        found = []
        for rank in range(self.ranks):
            told = {
                "endpoint": shifted(_filled(self.endpoint, own), rank),
                "replay_endpoint": shifted(_filled(self.replay or "", own), rank),
                "topic": _filled(self.topic or "", {"{host}": address.host, "{port}": port}),
            }
            found.append(_source(worker, address, rank, told))
        return [source for source in found if source is not None]


async def discover(
    worker: WorkerId, pool: Pool, *, api_key: str | None, timeout_s: float
) -> list[EventSource] | None:
    """What the worker says (`GET /kv_event_sources`); None: it does not know the question, or does not let us ask.

    Raises `RouterError` or TimeoutError when it does not answer, or cannot just now.
    """
    answer = await fetch(pool, "/kv_event_sources", api_key=api_key, timeout_s=timeout_s)
    if answer.status == 200:
        return sources_in(answer.body, worker, pool.address)
    if answer.status in _FORBIDDEN:
        logger.warning(
            "worker %s does not tell where its events are (status %d); check worker_api_key",
            worker,
            answer.status,
        )
    elif answer.status not in _UNKNOWN:
        raise RouterError(
            502,
            "worker_bad_response",
            f"Worker {worker} answered /kv_event_sources with status {answer.status}.",
            source=Source.UPSTREAM,
        )
    return None


def sources_in(body: bytes, worker: WorkerId, address: Address) -> list[EventSource] | None:
    """The sources by rank; None when `body` is not what it should be."""
    try:
        listing = msgspec.json.decode(body, type=dict[int, dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        logger.warning("/kv_event_sources of worker %s: %s", worker, error)
        return None
    found = [_source(worker, address, rank, told) for rank, told in sorted(listing.items())]
    return [source for source in found if source is not None]


def _source(
    worker: WorkerId, address: Address, rank: int, told: Mapping[str, Any]
) -> EventSource | None:
    if not told.get("enable_kv_cache_events", True) or told.get("publisher", "zmq") != "zmq":
        return None
    endpoint, replay = str(told.get("endpoint") or ""), told.get("replay_endpoint")
    topic = str(told.get("topic") or "").encode() or None
    host, port = parts(endpoint)
    if port is None:
        logger.warning("worker %s: events at %r cannot be reached from here", worker, endpoint)
        return None
    bind = not _is_bound_by(address.host, host)
    return EventSource(
        worker,
        rank,
        f"tcp://*:{port}" if bind else tcp(address.host, port),
        bind,
        _replay_at(address.host, str(replay or "")),
        topic if bind else None,
    )


def _is_bound_by(own: str, host: str) -> bool:
    """Whether a worker on host `own` binds an endpoint on `host`, instead of connecting to it.

    vLLM binds wildcards. An address of its own is what became of `tcp://*:0`, unless it is the loopback one.
    """
    return is_any(host) or (host == own and not is_loopback(host))


def _replay_at(own: str, endpoint: str) -> str | None:
    """Replay sockets are bound by the worker always."""
    host, port = parts(endpoint)
    if port is None:
        return None
    if is_any(host):
        return tcp(own, port)
    if is_loopback(host) and not is_loopback(own):
        logger.warning(
            "a worker on %s offers replays only to its own host (%s): write tcp://*:%d",
            own,
            endpoint,
            port,
        )
        return None
    return tcp(host, port)


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text
