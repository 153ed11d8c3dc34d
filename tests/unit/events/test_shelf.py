"""Copies of blocks, and blocks behind unknown ones."""

import pytest

from router.events import shelf as module
from router.events.shelf import Shelf
from router.prompt.token_blocks import next_key


def test_a_block_is_gone_with_its_last_copy() -> None:
    shelf = Shelf()
    assert shelf.put(1, 11) == [11]
    shelf.copy(1)
    shelf.copy(1)
    assert [shelf.take(1) for _ in range(4)] == [None, None, 11, None]
    shelf.copy(1)  # it is not held: nothing to copy
    assert shelf.take(1) is None


def test_orphans_get_their_keys_when_the_first_block_does() -> None:
    shelf = Shelf()
    shelf.hold_orphan(2, 1, b"two", adds=False)
    shelf.hold_orphan(3, 2, b"three", adds=False)
    shelf.hold_orphan(4, 2, b"four", adds=False)
    two = next_key(11, b"two")
    assert shelf.put(1, 11)[:2] == [11, two]
    expected = {1: 11, 2: two, 3: next_key(two, b"three"), 4: next_key(two, b"four")}
    assert dict(shelf.keys.pop_some(9)) == expected


def test_an_orphan_that_is_evicted_has_no_key_later() -> None:
    shelf = Shelf()
    shelf.hold_orphan(2, 1, b"two", adds=False)
    shelf.hold_orphan(3, 1, b"three", adds=False)
    assert shelf.take(2) is None
    assert shelf.put(1, 11) == [11, next_key(11, b"three")]


def test_copies_of_orphans_are_counted_too() -> None:
    shelf = Shelf()
    shelf.hold_orphan(2, 1, b"two", adds=True)
    shelf.hold_orphan(2, 1, b"two", adds=True)
    shelf.hold_orphan(2, 1, b"two", adds=False)
    assert shelf.take(2) is None
    key = next_key(11, b"two")
    assert shelf.put(1, 11) == [11, key]
    assert shelf.take(2) == key


def test_an_orphan_may_be_named_by_itself() -> None:
    shelf = Shelf()
    shelf.hold_orphan(2, 1, b"two", adds=False)
    assert shelf.put(2, 22) == [22]
    assert shelf.put(1, 11) == [11]


def test_there_is_a_limit_to_orphans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ORPHANS", 2)
    shelf = Shelf()
    for name in (2, 3, 4):
        shelf.hold_orphan(name, 1, b"", adds=False)
    assert len(shelf.put(1, 11)) == 3
