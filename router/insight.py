"""Builds what finds out what workers hold: their KV events, prompts' tokens, lower tiers; and what of it runs."""

from collections.abc import Coroutine, Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from router.events.feeds import EventFeeds
from router.events.finder import SourceFinder
from router.events.ledger import GPU
from router.events.silence import Silence
from router.events.sources import ConfiguredSources, discover
from router.events.tier import BlockSink
from router.exact import ExactPrompts, TierEvents
from router.fleet.fleet import Fleet
from router.fleet.tokenizer import WorkerTokenizer
from router.fleet.worker import Worker
from router.ids import Tier, WorkerId
from router.index.knowledge import Knowledge
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.settings import Settings, hub_cache
from router.shared import base as shared_base
from router.shared.facts import Told
from router.shared.service import Shared
from router.telemetry.caches import EventSample
from router.tiers.base import TierSource
from router.tiers.chunks import Chunker
from router.tiers.directory import Directory
from router.tiers.l2 import RedisTier
from router.tiers.service import TierService
from router.tokens.extras import Adapter
from router.tokens.library import Library
from router.tokens.local import LocalTokenizer
from router.tokens.remote import RemoteTokenizer
from router.tokens.segments import SegmentCache
from router.tokens.service import TokenService
from router.upstream.pool import Address, Pool

_CACHE_BYTES = 64 << 20
_ASKED_BYTES = 16 << 20

_COORDINATOR_IDLE_S = 5.0
"""LMCache's coordinator closes idle connections after 10 s."""

_MEDIA = {"CPU": Tier.CPU, "STORAGE": Tier.DISK}
"""Where vLLM's events say that blocks are, beside the GPU."""


_KINDS = {GPU: shared_base.GPU, "CPU": shared_base.CPU, "STORAGE": shared_base.DISK}


@dataclass(frozen=True, slots=True)
class Insight:
    """All that knows the workers' caches. `sizes`: tokens per block, by medium, and `heard`: whose events are followed,
    as of the last `keep`. `shared`: what other routers know, None where there are none.
    """

    knowledge: Knowledge
    exact: ExactPrompts
    library: Library
    feeds: EventFeeds
    finder: SourceFinder | None
    tiers: TierService | None
    sizes: dict[str, Set[int]]
    heard: dict[WorkerId, Told]
    silence: Silence
    shared: Shared | None = None

    def tasks(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What is to run in the background, by name."""
        yield "tokenizers", self.library.run()
        if self.finder is not None:
            yield "kv-events", self.feeds.run()
            yield "kv-event-sources", self.finder.run()
        if self.shared is not None:
            yield from self.shared.tasks()

    def keep(self, now: float) -> None:
        """To be called every so often."""
        asked = set() if self.finder is None else self.finder.asked()
        self.heard.clear()
        for heard in self.feeds.heard():
            if heard.worker in asked:
                self.heard[heard.holder] = Told(heard.block, heard.whole)
        told = dict(self.heard)
        if self.shared is not None:
            self.shared.keep()
            told.update(self.shared.facts.told())
        whole = {worker: each.block for worker, each in told.items() if each.whole}
        partly = {worker: each.block for worker, each in told.items() if not each.whole}
        self.knowledge.keep(whole, now, partly)
        self.silence.keep(self.feeds.counters(), now)
        for medium in _MEDIA:
            self.sizes[medium] = self.feeds.block_sizes(medium)

    async def close(self) -> None:
        """No more work is begun."""
        self.exact.tokens.close()
        if self.shared is not None:
            await self.shared.close()
        if self.tiers is not None:
            await self.tiers.close()

    def reported(self, worker: Worker) -> None:
        """A worker said what it serves: its models' tokenizers may be here."""
        for model, card in worker.report.models.items():
            if Adapter.of(card) is None and card.get("root"):
                self.library.offer(model, str(card["root"]))

    def removed(self, worker: WorkerId) -> None:
        """A worker left."""
        self.feeds.forget(worker)
        self.knowledge.remove(worker)
        self.exact.remove(worker)

    def blocks(self, worker: WorkerId) -> Mapping[str, int]:
        """How many blocks are known to be at `worker`, by tier."""
        if self.knowledge.block_of(worker) is None:
            return {Tier.GPU.value: self.knowledge.blocks(worker)}
        counts = {tier.value: self.feeds.blocks(worker, medium) for medium, tier in _MEDIA.items()}
        lower = {tier: count for tier, count in counts.items() if count}
        return {Tier.GPU.value: self.feeds.blocks(worker, GPU), **lower}

    def known_by(self, worker: WorkerId) -> str:
        """`events` of its own, `predictions` from what it was sent, or `both` where it had told some of it before."""
        if worker in self.knowledge.exact:
            return "events"
        return "both" if worker in self.knowledge.partly else "predictions"

    def complaints(self, models: Iterable[str]) -> list[str]:
        """What is wrong with the tokens of these models, in plain words."""
        verdicts = self.exact.audit.verdicts
        return [each for model in models for each in verdicts.get(model, ())]

    def event_samples(self) -> Mapping[str, EventSample]:
        """What happened to the events of each cache that publishes some."""
        samples: dict[str, EventSample] = {}
        for holder, counters in self.feeds.counters().items():
            counts = asdict(counters)
            lag_s = counts.pop("lag_s")
            samples[holder] = EventSample(counts, lag_s)
        return samples

    def prompts(self) -> Mapping[str, int]:
        """How many prompts were identified by their tokens, or why not."""
        tokens = self.exact.tokens
        return {"tokens": tokens.exact} | {reason.value: n for reason, n in tokens.inexact.items()}

    def tier_questions(self) -> Mapping[str, int]:
        """How many times lower tiers were asked about a prompt, by what came of it."""
        tiers = self.tiers
        if tiers is None:
            return {}
        found = {tier.value: count for tier, count in tiers.found.items()}
        return found | {"asked": tiers.asked, "late": tiers.late, "failed": tiers.failed}

    def mismatches(self) -> Mapping[str, int]:
        """How much is wrong, by model."""
        return {model: len(found) for model, found in self.exact.audit.verdicts.items()}


def insight(
    settings: Settings, fleet: Fleet, predicted: PredictedIndex, shared: Shared | None = None
) -> Insight:
    """Build it for `fleet`; `predicted` is what goes by text."""
    reported = UnionIndex()
    lower = {medium: UnionIndex() for medium in _MEDIA}
    feeds = EventFeeds(_sinks({GPU: reported, **lower}, shared))
    knowledge = Knowledge(predicted, reported, feeds.resync)
    library = Library(
        partial(_load, settings, SegmentCache(_CACHE_BYTES)),
        settings.tokenizers,
        hub_cache(settings),
    )
    post = WorkerTokenizer(fleet, settings.worker_api_key)
    asked = RemoteTokenizer(post, SegmentCache(_ASKED_BYTES))
    tiers = _tiers(settings)
    sizes: dict[str, Set[int]] = {}
    exact = ExactPrompts(
        knowledge,
        TokenService(library, asked, deadline_s=settings.token_deadline_s),
        events=[
            TierEvents(tier, lower[medium], partial(_sizes, sizes, medium))
            for medium, tier in _MEDIA.items()
        ],
        deep=tiers,
        deadline_s=2 * settings.token_deadline_s + settings.lmcache_deadline_s,
    )
    finder = None if settings.kv_events == "off" else _finder(settings, fleet, feeds)
    heard: dict[WorkerId, Told] = {}
    if shared is not None:
        knowledge.on_sent = shared.teller.sent
        shared.board.shares.on_share = knowledge.set_share
        shared.teller.block_of, shared.facts.heard = knowledge.block_of, lambda: heard
        if finder is not None:
            finder.follows = shared.owns
    silence = Silence(lambda worker: _spent(fleet, worker))
    return Insight(knowledge, exact, library, feeds, finder, tiers, sizes, heard, silence, shared)


def _spent(fleet: Fleet, worker: WorkerId) -> int:
    known = fleet.get(worker)
    return 0 if known is None else known.load.spent


def _sinks(indexes: Mapping[str, UnionIndex], shared: Shared | None) -> Mapping[str, BlockSink]:
    """What events are reported to."""
    if shared is None:
        return indexes
    return {medium: shared.teller.sink(_KINDS[medium], index) for medium, index in indexes.items()}


def _sizes(by_medium: Mapping[str, Set[int]], medium: str) -> Set[int]:
    return by_medium.get(medium, frozenset())


def _tiers(settings: Settings) -> TierService | None:
    sources: list[TierSource] = []
    size = settings.lmcache_world_size
    if settings.lmcache_coordinator is not None:
        address = Address.parse(settings.lmcache_coordinator)
        pool = Pool(address, None, connect_s=settings.connect_timeout_s, idle_s=_COORDINATOR_IDLE_S)
        sources.append(Directory(pool, world_size=size))
    if settings.lmcache_redis_url is not None:
        sources.append(RedisTier(settings.lmcache_redis_url, world_size=size))
    if not sources:
        return None
    chunker = Chunker(settings.lmcache_chunk_tokens)
    return TierService(sources, chunker, deadline_s=settings.lmcache_deadline_s)


def _finder(settings: Settings, fleet: Fleet, feeds: EventFeeds) -> SourceFinder:
    ask = partial(discover, api_key=settings.worker_api_key, timeout_s=settings.health_timeout_s)
    configured = None
    if settings.kv_events_endpoint is not None:
        configured = ConfiguredSources(
            settings.kv_events_endpoint,
            settings.kv_events_replay_endpoint,
            settings.kv_events_topic,
            settings.kv_events_ranks,
        )
    return SourceFinder(fleet, feeds, ask, configured=configured)


def _load(settings: Settings, cache: SegmentCache, model: str, directory: Path) -> LocalTokenizer:
    template = settings.chat_templates.get(model)
    return LocalTokenizer.load(
        directory,
        cache,
        template=None if template is None else template.read_text(encoding="utf-8"),
        defaults=settings.chat_template_kwargs.get(model),
    )
