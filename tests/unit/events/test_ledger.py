"""What a source holds: real recordings, and every trap that vLLM's events have."""

from typing import Any

import pytest

from router.events.ledger import PORTION
from router.events.wire import AllBlocksCleared, BlockStored, decode
from router.prompt.token_blocks import prompt_extras, token_keys
from tests.unit.events.support import (
    SIZE,
    Book,
    recorded,
    recorded_frames,
    removed,
    stored,
    tokens,
)


def keys(text: list[int], **more: Any) -> list[int]:
    return token_keys(text, SIZE, prompt_extras(len(text) // SIZE, SIZE, **more))


# -- recordings of real vLLM ---------------------------------------------------------------------


def test_recorded_stores_have_the_keys_of_their_tokens() -> None:
    book, text = Book(), []
    for _, _, payload in recorded_frames()[1:4]:  # one prompt, a block a batch
        batch = decode(payload)
        assert batch is not None
        book.apply(*batch.events)
        [event] = batch.events
        assert isinstance(event, BlockStored)
        text += event.token_ids
    assert book.held == set(token_keys(text, 32))


def test_keys_do_not_depend_on_how_the_engine_hashes() -> None:
    _, _, payload = recorded_frames()[-1]  # sha256_cbor, whole digests
    batch = decode(payload)
    assert batch is not None
    [event] = batch.events
    assert isinstance(event, BlockStored)
    book, other = Book(), Book()
    book.apply(event)
    event.block_hashes = [7, 8, 9, 10, 11, 12]
    other.apply(event)
    assert book.held == other.held == set(token_keys(event.token_ids, 32))


def test_a_recorded_eviction_leaves_what_the_engine_still_found() -> None:
    """Two copies of a block; one of them was evicted, and the engine went on finding the other."""
    book, text, probes = Book(), {}, 0
    for line in recorded("eviction.jsonl"):
        if "cached_tokens" in line:  # a prompt of the two blocks and one token was asked for
            found = book.held & set(text["888f898278f399c0"])
            assert len(found) * SIZE == line["cached_tokens"] // 32 * SIZE == 2 * SIZE
            probes += 1
            continue
        for event in line["events"]:
            if "removed" in event:
                book.apply(removed(event["removed"].encode()))
                continue
            names = event["stored"]
            if event["parent"] is None:
                prompt = tokens(1000 * len(text), len(names))
                text[names[0]] = token_keys(prompt, SIZE)
                book.apply(stored(*(name.encode() for name in names), text=prompt))
            else:  # the last block of the two once more
                again = tokens(1000 * (len(text) - 1) + SIZE)
                parent = event["parent"].encode()
                book.apply(stored(names[0].encode(), text=again, parent=parent))
    assert probes == 4
    assert len(book.held) == 18  # the pool had room for 19, one of them a second copy that is gone


# -- copies and reports --------------------------------------------------------------------------


def test_each_copy_has_its_own_end() -> None:
    book, text = Book(), tokens(0, 3)
    book.apply(stored(1, 2, 3, text=text))
    book.apply(stored(3, text=text[2 * SIZE :], parent=2))
    book.apply(removed(3))
    assert book.held == set(keys(text))
    book.apply(removed(3))
    assert book.held == set(keys(text)[:2])


def test_a_prompt_of_one_block_is_stored_again_each_time() -> None:
    book = Book()
    for _ in range(3):
        book.apply(stored(1, text=tokens(0)))
    book.apply(removed(1), removed(1))
    assert len(book.held) == 1
    book.apply(removed(1))
    assert book.held == set()


@pytest.mark.parametrize("session", ["sess-1", None])
def test_a_report_of_what_is_reused_adds_no_copies(session: str | None) -> None:
    book, text = Book(), tokens(0, 3)
    book.apply(stored(1, 2, 3, text=text))
    book.apply(stored(1, 2, 3, text=text, session_id=session))
    book.apply(stored(1, 2, text=text[: 2 * SIZE], session_id=session))
    book.apply(removed(3), removed(2))
    assert book.held == set(keys(text)[:1])


def test_a_report_of_one_block_is_told_by_its_session() -> None:
    book = Book()
    book.apply(stored(1, text=tokens(0)), stored(1, text=tokens(0), session_id="s"))
    book.apply(removed(1))
    assert book.held == set()


def test_a_report_after_copies_leaves_them_counted() -> None:
    book, text = Book(), tokens(0, 2)
    book.apply(stored(1, 2, text=text), stored(2, text=text[SIZE:], parent=1))
    book.apply(stored(1, 2, text=text, session_id="s"))
    book.apply(removed(2))
    assert book.held == set(keys(text))


def test_what_was_missed_is_learned_from_a_report() -> None:
    """We came late: the first two blocks were never announced to us, the ones behind them were."""
    book, text, sibling = Book(), tokens(0, 4), tokens(500)
    book.apply(stored(3, 4, text=text[2 * SIZE :], parent=2), stored(9, text=sibling, parent=2))
    assert (book.held, book.counters.orphans) == (set(), 3)
    book.apply(stored(1, 2, 3, text=text[: 3 * SIZE], session_id="s"))
    assert book.held == set(keys(text)) | set(keys(text[: 2 * SIZE] + sibling))
    book.apply(removed(4), removed(3))
    assert book.held == set(keys(text)[:2]) | set(keys(text[: 2 * SIZE] + sibling))


# -- the end of blocks ---------------------------------------------------------------------------


def test_blocks_that_nobody_announced_may_end() -> None:
    book = Book()
    book.apply(removed(1), removed(2, group=7), removed(3, medium="STORAGE"))
    book.apply(stored(1, text=tokens(0)))
    assert len(book.held) == 1


def test_the_engines_reset_comes_late_and_first_in_its_batch() -> None:
    book = Book()
    book.apply(stored(1, 2, text=tokens(0, 2)))
    book.apply(AllBlocksCleared(), stored(1, text=tokens(0)), removed(2))
    assert book.held == set(keys(tokens(0)))
    assert book.counters.cleared == 1


def test_orphans_end_even_where_nothing_else_is_held() -> None:
    for end in (removed(2), AllBlocksCleared()):
        book = Book()
        book.apply(stored(2, text=tokens(SIZE), parent=1), end, stored(1, text=tokens(0)))
        assert book.held == set(keys(tokens(0)))


def test_a_reset_forgets_copies_and_orphans() -> None:
    book = Book()
    book.apply(
        stored(1, text=tokens(0)), stored(1, text=tokens(0)), stored(8, text=tokens(9), parent=7)
    )
    book.apply(AllBlocksCleared(), stored(1, text=tokens(0)), stored(7, text=tokens(0)))
    assert book.held == set(keys(tokens(0)))
    book.apply(removed(1), removed(7))
    assert book.held == set()


def test_a_reset_of_the_engine_leaves_the_connectors_blocks() -> None:
    book = Book()
    book.apply(stored(1, text=tokens(0)), stored(5, text=tokens(0), medium="CPU", group_idx=None))
    book.apply(AllBlocksCleared())
    assert (len(book.held), len(book.held_on_cpu)) == (0, 1)


def test_emptying_is_for_every_medium() -> None:
    book = Book()
    book.apply(stored(1, text=tokens(0)), stored(5, text=tokens(0), medium="CPU"))
    assert sum(1 for _ in book.ledger.empty()) > 0
    assert (book.held, book.held_on_cpu) == (set(), set())
    assert (book.ledger.blocks(), book.ledger.blocks("CPU")) == (0, 0)


# -- what makes blocks differ --------------------------------------------------------------------


def test_media_are_kept_apart() -> None:
    """LMCache has larger blocks, under names of its own."""
    book, text = Book(), tokens(0, 4)
    book.apply(stored(1, 2, 3, 4, text=text))
    book.apply(stored(8, text=text[:8], medium="CPU", group_idx=None))
    book.apply(stored(9, text=text[8:], parent=8, medium="CPU", group_idx=None))
    book.apply(removed(1))
    assert book.held == set(keys(text)[1:])
    assert book.held_on_cpu == set(token_keys(text, 8))


def test_a_medium_without_an_index_is_passed_over() -> None:
    book = Book()
    book.apply(stored(1, text=tokens(0), medium="STORAGE"))
    assert (book.held, book.held_on_cpu, book.counters.stored) == (set(), set(), 0)


def test_older_releases_name_no_medium() -> None:
    book = Book()
    book.apply(stored(1, 2, text=tokens(0, 2), medium=None, group_idx=None))
    assert len(book.held) == 2
    book.apply(removed(2, medium=None, group=None))
    assert len(book.held) == 1


@pytest.mark.parametrize(
    ("told", "prompt"),
    [
        ({"extra_keys": [["tenant-a"], None]}, {"salt": "tenant-a"}),
        (
            {"extra_keys": [["alpha"], ["alpha"]], "lora_name": "alpha", "lora_id": 1},
            {"adapter": "alpha"},
        ),
        (
            {"extra_keys": [["alpha", "zz"], ["alpha"]], "lora_name": "alpha"},
            {"adapter": "alpha", "salt": "zz"},
        ),
        ({"lora_name": "alpha"}, {"adapter": "alpha"}),
        ({"extra_keys": [None, None]}, {}),
    ],
)
def test_salts_and_adapters_give_the_prompts_keys(
    told: dict[str, Any], prompt: dict[str, Any]
) -> None:
    book, text = Book(), tokens(0, 2)
    book.apply(stored(1, 2, text=text, **told))
    assert book.held == set(keys(text, **prompt))


def test_an_adapter_that_only_has_a_number_is_not_the_base_model() -> None:
    book = Book()
    book.apply(stored(1, text=tokens(0), lora_id=3))
    assert not book.held & set(keys(tokens(0)))


def test_groups_that_see_part_of_a_prompt_are_passed_over() -> None:
    book = Book()
    book.apply(stored(1, text=tokens(0), group_idx=0, kv_cache_spec_kind="full_attention"))
    book.apply(stored(2, text=tokens(0), group_idx=1, kv_cache_spec_kind="sliding_window"))
    book.apply(removed(2, group=1))
    assert (len(book.held), book.counters.sparse) == (1, 1)


def test_two_groups_have_copies_of_their_own() -> None:
    book, text = Book(), tokens(0, 2)
    for group in (0, 1):
        book.apply(stored(1, 2, text=text, group_idx=group))
    book.apply(removed(2, group=0))
    assert book.held == set(keys(text))
    book.apply(removed(2, group=1))
    assert book.held == set(keys(text)[:1])


# -- stores that do not say what they are --------------------------------------------------------


def test_placeholders_are_known_by_what_is_held_elsewhere() -> None:
    """vLLM's own offloading names blocks as the engine does and may tell nothing else."""
    book = Book()
    book.apply(stored(1, text=tokens(0)))
    book.apply(BlockStored([1], medium="CPU", group_idx=0), BlockStored([2], medium="CPU"))
    assert book.held_on_cpu == book.held
    assert book.counters.nameless == 2
    book.apply(removed(1, medium="CPU"), removed(2, medium="CPU"))
    assert (book.held_on_cpu, len(book.held)) == (set(), 1)


def test_a_block_may_follow_one_that_is_held_elsewhere() -> None:
    book, text = Book(), tokens(0, 2)
    book.apply(stored(1, 2, text=text))
    book.apply(stored(2, text=text[SIZE:], parent=1, medium="CPU"))
    assert book.held_on_cpu == set(keys(text)[1:])


@pytest.mark.parametrize(
    "event",
    [
        BlockStored([1, 2], None, tokens(0, 3), SIZE),
        BlockStored([1], None, [], SIZE),
        BlockStored([1], None, [-1] * SIZE, SIZE),
        BlockStored([1], None, [2**40] * SIZE, SIZE),
        BlockStored([1], None, tokens(0), -SIZE),
        BlockStored([], None, [], 2**32),
        BlockStored([], None, [], 2**63),
    ],
)
def test_stores_that_contradict_themselves_are_counted(event: BlockStored) -> None:
    book = Book()
    book.apply(event)
    assert (book.held, book.counters.nameless) == (set(), 1)


def test_a_store_of_no_blocks_changes_nothing() -> None:
    book = Book()
    book.apply(BlockStored([], None, [], SIZE))
    assert (book.held, book.gpu.reports) == (set(), 0)


# -- portions ------------------------------------------------------------------------------------


def test_much_work_is_done_in_portions() -> None:
    book, many = Book(), 3 * PORTION + 1
    pauses = book.apply(stored(*range(many), text=tokens(0, many)))
    assert pauses == 3
    assert len(book.held) == many
    assert book.apply(*(removed(name) for name in range(many))) == 3
    assert book.held == set()


def test_the_index_is_up_to_date_at_every_pause() -> None:
    book, many = Book(), 4 * PORTION
    for done, _ in enumerate(book.ledger.apply([stored(*range(many), text=tokens(0, many))]), 1):
        assert len(book.held) == done * PORTION
