"""The pool never overbooks, finds only what was published, and evicts the oldest tails first."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.simworker.cache import BlockPool


class Removals:
    """Remembers what the pool reports."""

    def __init__(self) -> None:
        self.digests: list[bytes] = []
        self.clears = 0

    def removed(self, digest: bytes) -> None:
        self.digests.append(digest)

    def cleared(self) -> None:
        self.clears += 1


def fill(pool: BlockPool, digests: list[bytes]) -> list[int]:
    """Store a prompt's blocks and let go of them as a finished sequence does."""
    blocks = pool.take(len(digests))
    for block, digest in zip(blocks, digests, strict=True):
        pool.publish(block, digest)
    pool.release(blocks[::-1])
    return blocks


def test_match_stops_at_the_first_absent_block() -> None:
    pool = BlockPool(8, 16)
    blocks = fill(pool, [b"a", b"b", b"c"])
    assert pool.match([b"a", b"b", b"x", b"c"]) == blocks[:2]
    assert pool.match([b"x", b"a"]) == []


def test_least_recently_freed_goes_first_and_tails_before_heads() -> None:
    log = Removals()
    pool = BlockPool(4, 16, log)
    fill(pool, [b"a1", b"a2"])
    fill(pool, [b"b1", b"b2"])
    shared = pool.match([b"a1", b"a2"])
    pool.share(shared)
    pool.release(shared[::-1])
    pool.take(4)
    assert log.digests == [b"b2", b"b1", b"a2", b"a1"]


def test_blocks_without_a_hash_are_reused_before_cached_ones() -> None:
    log = Removals()
    pool = BlockPool(3, 16, log)
    fill(pool, [b"a"])
    partial = pool.take(1)
    pool.release(partial)
    assert pool.take(1) == partial
    assert log.digests == []


def test_a_hash_with_two_copies_survives_the_eviction_of_one() -> None:
    log = Removals()
    pool = BlockPool(2, 16, log)
    fill(pool, [b"a"])
    fill(pool, [b"a"])
    [kept] = pool.take(1)
    assert log.digests == [b"a"]
    assert pool.match([b"a"]) == [1 - kept]


def test_clear_is_refused_while_blocks_are_in_use() -> None:
    log = Removals()
    pool = BlockPool(2, 16, log)
    blocks = pool.take(1)
    pool.publish(blocks[0], b"a")
    assert not pool.clear()
    pool.release(blocks)
    assert pool.clear()
    assert (log.clears, pool.match([b"a"]), pool.cached) == (1, [], 0)


class PoolMachine(RuleBasedStateMachine):
    """Sequences come and go; a naive count of references is the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Removals()
        self.pool = BlockPool(6, 16, self.log)
        self.live: list[list[int]] = []
        self.published = 0

    @rule(prompt=st.lists(st.sampled_from("ab"), min_size=1, max_size=5))
    def start(self, prompt: list[str]) -> None:
        digests = ["".join(prompt[: end + 1]).encode() for end in range(len(prompt))]
        hits = self.pool.match(digests)
        if len(digests) - len(hits) > self.pool.free - self.pool.idle(hits):
            return
        self.pool.share(hits)
        blocks = hits + self.pool.take(len(digests) - len(hits))
        for block, digest in zip(blocks[len(hits) :], digests[len(hits) :], strict=True):
            self.pool.publish(block, digest)
            self.published += 1
        assert self.pool.match(digests) == blocks
        self.live.append(blocks)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        blocks = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        self.pool.release(blocks[::-1])

    @invariant()
    def counts_agree(self) -> None:
        in_use = {block for blocks in self.live for block in blocks}
        assert self.pool.in_use == len(in_use)
        assert self.pool.free == self.pool.blocks - len(in_use)
        assert self.pool.cached <= self.published - len(self.log.digests) <= self.pool.blocks

    def teardown(self) -> None:
        for blocks in self.live:
            self.pool.release(blocks[::-1])
        assert self.pool.free == self.pool.blocks


TestPool = PoolMachine.TestCase
