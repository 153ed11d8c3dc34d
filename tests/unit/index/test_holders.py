"""Sets of workers per block, and the depth of each in a prompt, beside a dictionary of sets."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.ids import BlockKey, WorkerId
from router.index.holders import SHIFT, Holders

A, B, C = (WorkerId(name) for name in "abc")
LETTERS = st.text("ab", max_size=5)
WORKERS = st.sampled_from([WorkerId(f"w{number}") for number in range(6)])


def keys_of(letters: str) -> list[BlockKey]:
    """One key per prefix."""
    return [int.from_bytes(letters[:end].encode()) for end in range(1, len(letters) + 1)]


def held(holders: Holders, worker: WorkerId, letters: str) -> None:
    for key in keys_of(letters):
        holders.add(key, holders.bit_of(worker))


def table(holders: Holders) -> dict[BlockKey, int]:
    return {key: bits for part in holders.parts for key, bits in part.items()}


def test_nobody_holds_anything_at_first() -> None:
    assert Holders().lookup(keys_of("abc")) == {}
    assert Holders().lookup([]) == {}


def test_a_worker_keeps_its_bit_and_shares_it_with_nobody() -> None:
    holders = Holders()
    bits = [holders.bit_of(worker) for worker in (A, B, C)]
    assert [holders.bit_of(worker) for worker in (A, B, C)] == bits
    assert len(set(bits)) == 3
    assert all(bit.bit_count() == 1 for bit in bits)


def test_a_bit_that_was_freed_is_the_next_one_s() -> None:
    holders = Holders()
    for worker in (A, B):
        holders.bit_of(worker)
    freed = holders.bit_of(A)
    holders.free(A)
    holders.free(A)
    assert holders.bit_of(C) == freed
    held(holders, C, "ab")
    assert holders.lookup(keys_of("ab")) == {C: 2}
    assert holders.bit_of(A) not in (freed, holders.bit_of(B))


def test_a_block_that_nobody_holds_takes_no_room() -> None:
    holders = Holders()
    bit = holders.bit_of(A)
    holders.add(1, bit)
    holders.drop(1, bit)
    holders.drop(1, bit)
    assert len(holders) == 0
    assert table(holders) == {}


def test_a_key_s_part_is_found_by_its_first_bits() -> None:
    holders = Holders()
    keys = [part << SHIFT | low for part in range(len(holders.parts)) for low in (0, 5)]
    for key in keys:
        holders.add(key, holders.bit_of(A))
    assert {len(part) for part in holders.parts} == {2}
    assert len(holders) == len(keys)
    assert max(keys) < 2**64 <= max(keys) + (1 << SHIFT)
    assert holders.lookup(keys) == {A: len(keys)}


@given(st.lists(st.integers(0, 80), max_size=70), st.integers(0, 80))
def test_the_depth_of_every_worker_is_found(depths: list[int], size: int) -> None:
    holders = Holders()
    workers = [WorkerId(f"w{number}") for number in range(len(depths))]
    for worker, depth in zip(workers, depths, strict=True):
        bit = holders.bit_of(worker)
        for key in range(depth):
            holders.add(key, bit)
    wanted = {w: min(d, size) for w, d in zip(workers, depths, strict=True) if min(d, size)}
    assert holders.lookup(list(range(size))) == wanted


def test_no_block_is_asked_for_twice() -> None:
    """However many workers there are, and however far apart."""

    class Counting(dict[BlockKey, int]):
        asked = 0

        def get(self, key: BlockKey, default: int = 0) -> int:  # type: ignore[override]
            self.asked += 1
            return super().get(key, default)

    holders, size = Holders(), 100
    counting = Counting()
    holders.parts = [counting] * len(holders.parts)
    for depth in range(1, size + 1):
        bit = holders.bit_of(WorkerId(str(depth)))
        for key in range(depth):
            holders.add(key, bit)
    counting.asked = 0
    assert len(holders.lookup(list(range(size)))) == size
    assert counting.asked <= size


class HoldersMachine(RuleBasedStateMachine):
    """Workers come, hold chains, lose tails and go."""

    def __init__(self) -> None:
        super().__init__()
        self.holders = Holders()
        self.naive: dict[WorkerId, set[str]] = {}
        self.most = 0

    @rule(worker=WORKERS, letters=LETTERS)
    def hold(self, worker: WorkerId, letters: str) -> None:
        self.holders.bit_of(worker)
        held(self.holders, worker, letters)
        prefixes = self.naive.setdefault(worker, set())
        prefixes.update(letters[:end] for end in range(1, len(letters) + 1))
        self.most = max(self.most, len(self.naive))

    @rule(worker=WORKERS, letters=LETTERS)
    def lose(self, worker: WorkerId, letters: str) -> None:
        """All that begins like this."""
        lost = {prefix for prefix in self.naive.get(worker, ()) if prefix.startswith(letters)}
        for prefix in lost:
            self.holders.drop(keys_of(prefix)[-1], self.holders.bit_of(worker))
            self.naive[worker].discard(prefix)

    @rule(worker=WORKERS)
    def leave(self, worker: WorkerId) -> None:
        self.lose(worker, "")
        self.holders.free(worker)
        self.naive.pop(worker, None)

    @rule(letters=LETTERS)
    def ask(self, letters: str) -> None:
        assert self.holders.lookup(keys_of(letters)) == dict(self.depths(letters))

    def depths(self, letters: str) -> Iterator[tuple[WorkerId, int]]:
        for worker, prefixes in self.naive.items():
            depth = sum(letters[:end] in prefixes for end in range(1, len(letters) + 1))
            if depth:
                yield worker, depth

    @invariant()
    def the_table_has_what_is_held_and_no_more(self) -> None:
        wanted: dict[BlockKey, int] = {}
        for worker, prefixes in self.naive.items():
            for prefix in prefixes:
                key = keys_of(prefix)[-1]
                wanted[key] = wanted.get(key, 0) | self.holders.bit_of(worker)
        assert table(self.holders) == wanted

    @invariant()
    def there_are_no_more_places_than_there_were_workers_at_a_time(self) -> None:
        assert all(self.holders.bit_of(w).bit_length() <= self.most for w in self.naive)


TestHoldersMachine = HoldersMachine.TestCase
TestHoldersMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
