"""A dict in parts does what a dict does."""

from hypothesis import given
from hypothesis import strategies as st

from router.index.shards import PARTS, Shards

KEYS = st.integers(0, 2**64 - 1) | st.binary(min_size=8, max_size=32) | st.integers(0, 20)


@given(st.lists(st.tuples(st.booleans(), KEYS, st.integers())))
def test_it_holds_what_a_dict_would(
    changes: list[tuple[bool, int | bytes, int]],
) -> None:
    shards: Shards[int | bytes, int] = Shards()
    plain: dict[int | bytes, int] = {}
    for stored, key, value in changes:
        for each in (shards.part(key), plain):
            if stored:
                each[key] = value
            else:
                each.pop(key, None)
        assert shards.get(key) == plain.get(key)
        assert (key in shards) is (key in plain)
    assert len(shards) == len(plain)
    assert dict(shards.pop_some(len(plain) + 1)) == plain
    assert len(shards) == 0


def test_entries_are_spread_over_the_parts() -> None:
    shards: Shards[int, None] = Shards()
    for key in range(PARTS * 3):
        shards.part(key)[key] = None
    assert {len(shards.part(key)) for key in range(PARTS)} == {3}


def test_some_are_taken_at_a_time() -> None:
    shards: Shards[int, int] = Shards()
    for key in range(10):
        shards.part(key)[key] = key
    taken = [len(shards.pop_some(4)) for _ in range(4)]
    assert taken == [4, 4, 2, 0]
