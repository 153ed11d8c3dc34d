"""What one source, a worker or one of its data-parallel ranks, holds, by its own account (pure)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from router.events.counters import Counters
from router.events.tier import BlockSink, Tier
from router.events.wire import AllBlocksCleared, BlockRemoved, BlockStored, Event, Hash
from router.ids import BlockKey, WorkerId
from router.prompt.token_blocks import Extra, block_contents, next_key, pack, token_seed

GPU = "GPU"
"""The engine's own pool; what an event means that names no medium."""

PORTION = 64
"""Blocks between two pauses: some 0.2 ms."""

_LARGEST_BLOCK = 2**32 - 1
"""Tokens of a block that keys can be made for."""

_SPARSE = {
    "sliding_window",
    "sliding_window_mla",
    "chunked_local_attention",
    "mamba",
    "encoder_only_attention",
    "cross_attention",
}
"""Layers that keep only some blocks of a prompt: what they hold says nothing about a prefix."""


class Ledger:
    """Turns events into reports to an index per medium; media that have none are passed over.

    Work is done in portions: whoever iterates decides when the next one is due. What an iterator was begun for must
    be finished before another one is begun.
    """

    def __init__(
        self, holder: WorkerId, sinks: Mapping[str, BlockSink], counters: Counters
    ) -> None:
        self._counters = counters
        self._tiers = {medium: Tier(holder, sink, counters) for medium, sink in sinks.items()}

    def blocks(self, medium: str = GPU) -> int:
        """How many different blocks are held there."""
        return self._tiers[medium].blocks

    def block_sizes(self, medium: str = GPU) -> set[int]:
        """Tokens per block, as far as any was stored there."""
        return self._tiers[medium].block_sizes

    def apply(self, events: Iterable[Event]) -> Iterator[None]:
        """Apply what a batch says."""
        done = 0
        for event in events:
            match event:
                case BlockRemoved():
                    self._removed(event)
                    done += len(event.block_hashes)
                case BlockStored():
                    for count in self._stored(event):
                        done += count
                        if done >= PORTION:
                            self._tell()
                            yield
                            done = 0
                case AllBlocksCleared():
                    self._counters.cleared += 1
                    yield from self._cleared()
            if done >= PORTION:
                self._tell()
                yield
                done = 0
        self._tell()

    def empty(self) -> Iterator[None]:
        """Nothing that was said counts any more."""
        for tier in self._tiers.values():
            yield from tier.empty(PORTION)

    # ------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        for tier in self._tiers.values():
            tier.tell()

    def _cleared(self) -> Iterator[None]:
        """An engine's reset leaves alone what a connector keeps elsewhere."""
        tier = self._tiers.get(GPU)
        return tier.empty(PORTION) if tier is not None else iter(())

    def _removed(self, event: BlockRemoved) -> None:
        tier = self._tiers.get(event.medium or GPU)
        shelf = tier.shelves.get(event.group_idx) if tier is not None else None
        if tier is None or shelf is None:
            return
        for name in event.block_hashes:
            tier.drop(shelf, name)
        self._counters.removed += len(event.block_hashes)

    def _stored(self, event: BlockStored) -> Iterator[int]:
        """Take the blocks in; yields their number at every portion."""
        tier = self._tiers.get(event.medium or GPU)
        if tier is None:
            return
        if event.kv_cache_spec_kind in _SPARSE:
            self._counters.sparse += 1
            return
        self._counters.stored += len(event.block_hashes)
        contents = _contents(event)
        if contents is None:
            self._counters.nameless += 1
            self._store_known(tier, event)
        else:
            tier.block_sizes.add(event.block_size)
            yield from self._store(tier, event, contents)
        yield len(event.block_hashes) % PORTION

    def _store(self, tier: Tier, event: BlockStored, contents: Iterator[bytes]) -> Iterator[int]:
        shelf, adds = tier.shelf(event.group_idx), _adds_copies(event)
        parent = event.parent_block_hash
        key = token_seed(event.block_size) if parent is None else self._find(parent)
        for place, (name, content) in enumerate(zip(event.block_hashes, contents, strict=False), 1):
            known = shelf.keys.get(name)
            if known is None and key is not None:
                known = next_key(key, content)
            if known is not None:
                tier.hold(shelf, name, known, adds=adds)
            elif parent is not None:
                self._counters.orphans += 1
                shelf.hold_orphan(name, parent, content, adds=adds)
            parent, key = name, known
            if not place % PORTION:
                yield PORTION

    def _store_known(self, tier: Tier, event: BlockStored) -> None:
        """Blocks that come without tokens: those that are held elsewhere under the same name have a key."""
        shelf, adds = tier.shelf(event.group_idx), _adds_copies(event)
        for name in event.block_hashes:
            key = self._find(name)
            if key is not None:
                tier.hold(shelf, name, key, adds=adds)

    def _find(self, name: Hash) -> BlockKey | None:
        for tier in self._tiers.values():
            key = tier.find(name)
            if key is not None:
                return key
        return None


def _adds_copies(event: BlockStored) -> bool:
    """Whether blocks that are held already are held once more now.

    `kv_cache_report_mode=full` announces a request's hits again, from the first block of the prompt on. A request
    that finds its first block does not compute it again, so stores from there on are news or such a report - except
    that a prompt of exactly one block is always computed, and that requests for prompt logprobs do not look. Their
    copies are missed: a block that is thought to be gone too early comes back with its next store, one that is
    counted too often would stay for ever.
    """
    if event.parent_block_hash is not None:
        return True
    return len(event.block_hashes) == 1 and event.session_id is None


def _contents(event: BlockStored) -> Iterator[bytes] | None:
    """What the blocks consist of; None when the event does not say that of each."""
    size, count = event.block_size, len(event.block_hashes)
    if not 0 < size <= _LARGEST_BLOCK or len(event.token_ids) != count * size:
        return None
    try:
        packed = pack(event.token_ids)
    except OverflowError:
        return None
    return block_contents(packed, size, _extras(event, count))


def _extras(event: BlockStored, count: int) -> Sequence[Extra]:
    """Older engines and connectors tell an adapter only beside the blocks."""
    if event.extra_keys is not None and len(event.extra_keys) == count:
        return event.extra_keys
    adapter = event.lora_name if event.lora_name is not None else event.lora_id
    return [] if adapter is None else [(adapter,)] * count
