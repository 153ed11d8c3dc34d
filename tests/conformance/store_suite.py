"""What every store that routers share must do, whatever it is made of.

A test class inherits `StoreSuite` and makes the store in a fixture; each test has block keys of its own, so that the
store need not be emptied. `NaiveStore` says in a few lines who holds what.
"""

import asyncio
import random
import struct
from collections.abc import Sequence
from itertools import count

import pytest

from router.ids import BlockKey, WorkerId
from router.prompt.segments import by_place
from router.prompt.token_blocks import token_keys
from router.shared.base import (
    IGNORED,
    Change,
    Drop,
    Hold,
    Holder,
    Replica,
    Row,
    Share,
    Store,
    Told,
    Write,
    rows_of,
)

HASTE_S = 0.2
"""After so long a `hasty` store takes silent routers off its board."""

HOLDERS = range(12)
A, B, C = 4, 5, 11

_prompts = count(1)


def chain(blocks: int, beginning: Sequence[int] = ()) -> list[BlockKey]:
    """Keys of a prompt that nobody has seen yet, behind the tokens of `beginning`."""
    number = next(_prompts)
    rest = [number * 100_003 + place for place in range(blocks * 2 - len(beginning))]
    return token_keys([*beginning, *rest], 2)


def valid(stamps: dict[Holder, tuple[int, int]] | None = None) -> bytes:
    """All holders, at stamp 0 with no window; but for `stamps`."""
    stamps = stamps or {}
    return b"".join(struct.pack(">HH", *stamps.get(holder, (0, 0))) for holder in HOLDERS)


VALID = valid()


class NaiveStore:
    """The oracle."""

    def __init__(self) -> None:
        self.held: dict[BlockKey, dict[Holder, int]] = {}

    def write(self, write: Write) -> None:
        for key in write.keys:
            holders = self.held.setdefault(key, {})
            if isinstance(write, Hold):
                holders[write.holder] = max(write.stamp, holders.get(write.holder, 0))
            else:
                holders.pop(write.holder, None)

    def runs(self, keys: Sequence[BlockKey], oldest: dict[Holder, int]) -> dict[Holder, int]:
        found = {}
        for holder in HOLDERS:
            run = 0
            for key in keys:
                if self.held.get(key, {}).get(holder, -1) < oldest.get(holder, 0):
                    break
                run += 1
            if run:
                found[holder] = run
        return found


class StoreSuite:
    """Behaviour of a store, by examples; `hasty` is one of its own. `epochs_are_one`: it was never emptied."""

    epoch = b"test"
    epochs_are_one = False

    async def _runs(
        self, store: Store, *chains: Sequence[BlockKey], valid: bytes = VALID
    ) -> list[dict[Holder, int]]:
        return (await store.look_up(self.epoch, chains, valid, rows=False)).runs

    # -- blocks --------------------------------------------------------------------------------

    async def test_nothing_is_known_at_first(self, store: Store) -> None:
        assert await self._runs(store, chain(10)) == [{}]

    async def test_no_question_has_no_answer(self, store: Store) -> None:
        assert await self._runs(store) == []
        assert await self._runs(store, []) == [{}]

    async def test_what_is_held_is_found_as_far_as_it_is_held(self, store: Store) -> None:
        keys = chain(20)
        await store.write(self.epoch, [Hold(A, 0, keys[:7])])
        assert await self._runs(store, keys, keys[:3]) == [{A: 7}, {A: 3}]

    async def test_each_holder_has_its_own_depth(self, store: Store) -> None:
        keys = chain(40)
        await store.write(
            self.epoch, [Hold(A, 0, keys), Hold(B, 0, keys[:1]), Hold(C, 0, keys[:17])]
        )
        assert await self._runs(store, keys) == [{A: 40, B: 1, C: 17}]

    async def test_prompts_are_found_up_to_where_they_part(self, store: Store) -> None:
        beginning = range(30)
        one, other = chain(40, beginning), chain(40, beginning)
        await store.write(self.epoch, [Hold(A, 0, one)])
        assert await self._runs(store, other, one) == [{A: 15}, {A: 40}]

    async def test_a_chain_whose_beginning_is_gone_is_not_found(self, store: Store) -> None:
        keys = chain(8)
        await store.write(self.epoch, [Hold(A, 0, keys), Drop(A, keys[:1])])
        assert await self._runs(store, keys) == [{}]

    @pytest.mark.parametrize("blocks", [64, 700])
    async def test_who_lacks_one_early_counts_no_further(self, store: Store, blocks: int) -> None:
        """A store may have lost any block, here those up to the middle and some more."""
        keys = chain(blocks)
        early, late = keys[:10], keys[blocks * 2 // 3 :]
        await store.write(self.epoch, [Hold(A, 0, [*early, *late]), Hold(B, 0, keys)])
        (found,) = await self._runs(store, keys)
        assert found[B] == blocks
        assert 1 <= found[A] <= 10

    async def test_what_is_dropped_is_not_found(self, store: Store) -> None:
        keys = chain(30)
        await store.write(self.epoch, [Hold(A, 0, keys), Hold(B, 0, keys)])
        await store.write(self.epoch, [Drop(A, keys[12:]), Drop(C, keys)])
        assert await self._runs(store, keys) == [{A: 12, B: 30}]
        await store.write(self.epoch, [Drop(A, keys[:12]), Drop(B, keys)])
        assert await self._runs(store, keys) == [{}]

    async def test_writes_count_in_their_order(self, store: Store) -> None:
        keys = chain(5)
        await store.write(self.epoch, [Hold(A, 0, keys), Drop(A, keys), Hold(A, 0, keys[:2])])
        assert await self._runs(store, keys) == [{A: 2}]

    @pytest.mark.parametrize("blocks", [1, 2, 31, 64, 255, 256, 257, 2048])
    async def test_every_length_is_found(self, store: Store, blocks: int) -> None:
        keys = chain(blocks + 3)
        await store.write(self.epoch, [Hold(A, 0, keys[:blocks]), Hold(B, 0, keys[: blocks // 2])])
        found = {A: blocks} | ({B: blocks // 2} if blocks > 1 else {})
        assert await self._runs(store, keys) == [found]

    async def test_keys_of_text_name_their_segments_by_place(self, store: Store) -> None:
        keys = by_place([key * 7919 % 2**64 for key in chain(300)])
        await store.write(self.epoch, [Hold(A, 0, keys[:200])])
        assert await self._runs(store, keys) == [{A: 200}]

    async def test_epochs_are_kept_apart(self, store: Store) -> None:
        keys = chain(4)
        await store.write(b"past", [Hold(A, 0, keys)])
        assert await self._runs(store, keys) == [{A: 4} if self.epochs_are_one else {}]

    async def test_who_is_ignored_is_not_found(self, store: Store) -> None:
        keys = chain(4)
        await store.write(self.epoch, [Hold(A, 0, keys), Hold(B, 0, keys), Hold(5000, 0, keys)])
        assert await self._runs(store, keys, valid=valid({A: IGNORED})) == [{B: 4}]

    async def test_holders_that_are_alike_in_some_bytes_are_not_mixed_up(
        self, store: Store
    ) -> None:
        keys = chain(3)
        await store.write(
            self.epoch, [Hold(1, 0x0200, keys), Hold(2, 0x0001, keys), Hold(0, 0x0102, keys)]
        )
        await store.write(
            self.epoch, [Hold(0x0102, 3, keys), Drop(0x0102, keys), Drop(2, keys[1:])]
        )
        stamps = valid({0: (0x0102, 0), 1: (0x0200, 0), 2: (1, 0)})
        assert await self._runs(store, keys, valid=stamps) == [{0: 3, 1: 3, 2: 1}]

    # -- stamps --------------------------------------------------------------------------------

    async def test_what_is_too_old_does_not_count(self, store: Store) -> None:
        keys = chain(10)
        await store.write(self.epoch, [Hold(A, 5, keys), Hold(A, 9, keys[:4])])
        for now, window, found in [(9, 4, 10), (10, 4, 4), (13, 4, 4), (14, 4, 0), (9, 0, 4)]:
            answer = await self._runs(store, keys, valid=valid({A: (now, window)}))
            assert answer == [{A: found} if found else {}], (now, window)

    async def test_what_is_newer_than_this_router_knows_counts(self, store: Store) -> None:
        keys = chain(3)
        await store.write(self.epoch, [Hold(A, 7, keys)])
        assert await self._runs(store, keys, valid=valid({A: (6, 0)})) == [{A: 3}]

    async def test_a_late_write_makes_nothing_older(self, store: Store) -> None:
        keys = chain(3)
        await store.write(self.epoch, [Hold(A, 7, keys), Hold(A, 6, keys)])
        assert await self._runs(store, keys, valid=valid({A: (7, 0)})) == [{A: 3}]

    async def test_stamps_run_over(self, store: Store) -> None:
        keys = chain(3)
        await store.write(self.epoch, [Hold(A, 65535, keys), Hold(A, 1, keys[:1])])
        assert await self._runs(store, keys, valid=valid({A: (1, 2)})) == [{A: 3}]
        assert await self._runs(store, keys, valid=valid({A: (1, 1)})) == [{A: 1}]

    async def test_it_agrees_with_the_oracle(self, store: Store) -> None:
        """Prefix-closed writes at random, as workers and routers make them."""
        dice, naive = random.Random(7), NaiveStore()
        beginnings = [
            range(at, at + 2 * dice.randrange(20)) for at in (10**9, 2 * 10**9, 3 * 10**9)
        ]
        prompts = [chain(40, dice.choice(beginnings)) for _ in range(12)]
        clock = 0
        for _ in range(60):
            clock += dice.randrange(2)
            keys, holder = dice.choice(prompts), dice.choice(HOLDERS[:6])
            writes: list[Write] = [Hold(holder, clock, keys[: dice.randrange(1, 41)])]
            if dice.random() < 0.2:
                part = dice.randrange(40)
                gone = {
                    k for prompt in prompts if prompt[:part] == keys[:part] for k in prompt[part:]
                }
                writes.append(Drop(dice.choice(HOLDERS[:6]), sorted(gone)))
            await store.write(self.epoch, writes)
            for write in writes:
                naive.write(write)
            window = dice.randrange(12)
            stamps = dict.fromkeys(HOLDERS, (clock, window))
            oldest = dict.fromkeys(HOLDERS, max(0, clock - window))
            found = await self._runs(store, *prompts, valid=valid(stamps))
            expected = [naive.runs(prompt, oldest) for prompt in prompts]
            assert found == expected

    async def test_of_many_depths_the_deepest_are_exact_and_none_is_too_deep(
        self, store: Store
    ) -> None:
        keys = chain(2000)
        depths = {holder: 170 * holder + 100 for holder in HOLDERS}
        await store.write(
            self.epoch, [Hold(holder, 0, keys[:depth]) for holder, depth in depths.items()]
        )
        (found,) = await self._runs(store, keys)
        assert found.keys() == depths.keys()
        assert all(1 <= found[holder] <= depth for holder, depth in depths.items())
        assert [found[holder] for holder in HOLDERS[-3:]] == [depths[h] for h in HOLDERS[-3:]]

    # -- workers and the board -----------------------------------------------------------------

    async def test_workers_have_numbers_that_stay(self, store: Store) -> None:
        one, two = WorkerId("numbers-1:8000"), WorkerId("numbers-2:8000")
        first, second = await store.enrol([one, two])
        assert first != second
        assert await store.enrol([two, one]) == [second, first]
        assert await store.enrol([]) == []

    async def test_shares_add_up(self, store: Store) -> None:
        me, other = Replica("sums-me"), Replica("sums-other", leads=False)
        await store.publish(me, [])
        (number,) = await store.enrol([WorkerId("sums:8000")])
        await store.publish(me, [Change(number, Share(2, 1, 700, 30, 9000), sent=1000)])
        board = await store.publish(other, [Change(number, Share(3, 2, 50, 7, 800), sent=24)])
        assert rows_of(board.rows)[number][:6] == (5, 3, 750, 37, 9800, 1024)
        board = await store.publish(me, [Change(number, Share(1, 0, 0, 0, 40), sent=6)])
        assert rows_of(board.rows)[number][:6] == (4, 2, 50, 7, 840, 1030)
        answer = await store.look_up(self.epoch, [], b"", rows=True)
        assert answer.rows is not None
        assert rows_of(answer.rows)[number][:6] == (4, 2, 50, 7, 840, 1030)

    async def test_what_metrics_told_stays_until_it_is_told_anew(self, store: Store) -> None:
        me = Replica("told")
        await store.publish(me, [])
        (number,) = await store.enrol([WorkerId("told:8000")])
        board = await store.publish(me, [Change(number, Share())])
        assert rows_of(board.rows)[number] == Row()
        told = Told(7, 3, 998)
        for change in (Change(number, Share(1), told=told), Change(number, Share())):
            board = await store.publish(me, [change])
            assert rows_of(board.rows)[number][6:] == (*told, 1)

    async def test_routers_are_counted(self, store: Store) -> None:
        before = await store.publish(Replica("count-me"), [])
        await store.publish(Replica("count-other"), [])
        after = await store.publish(Replica("count-follower", leads=False), [])
        assert after.leaders >= before.leaders + 1
        assert after.followers >= before.followers + 1
        assert after.epoch == before.epoch

    async def test_a_router_is_new_once(self, store: Store) -> None:
        me = Replica("once")
        assert [(await store.publish(me, [])).known for _ in range(3)] == [False, True, True]

    async def test_a_silent_router_is_taken_off(self, hasty: Store) -> None:
        (number,) = await hasty.enrol([WorkerId("silent:8000")])
        silent, follower, me = (
            Replica("silent"),
            Replica("silent-too", leads=False),
            Replica("awake"),
        )
        await hasty.publish(silent, [Change(number, Share(5, 4, 300, 20), sent=1)])
        await hasty.publish(follower, [Change(number, Share(1, 1, 1, 1))])
        await asyncio.sleep(3 * HASTE_S)
        board = await hasty.publish(me, [Change(number, Share(1, 0, 0, 0))])
        assert rows_of(board.rows)[number] == Row(inflight=1, clock=1)
        assert (board.leaders, board.followers) == (1, 0)
        board = await hasty.publish(silent, [Change(number, Share(2, 0, 0, 0))])
        assert not board.known
        assert rows_of(board.rows)[number].inflight in (2, 3)  # `me` may have been silent, too
