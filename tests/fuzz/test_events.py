"""Whatever a worker says of its cache: bookkeeping goes on, and takes back all that it reported."""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router.events.subscriber import Reply, Subscriber
from router.events.wire import decode
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import mutated
from tests.unit.events.support import Book

encode = msgspec.msgpack.encode

ODD: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
HASHES = st.lists(
    st.integers(0, 5) | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=3), max_size=4
)
MEDIA = st.sampled_from([None, "GPU", "CPU", "STORAGE", ""])
STORED = st.fixed_dictionaries(
    {"type": st.just("BlockStored"), "block_hashes": HASHES},
    optional={
        "parent_block_hash": st.none() | st.integers(0, 5) | st.binary(max_size=3),
        "token_ids": st.lists(st.integers(-2, 2**33), max_size=9) | st.lists(st.just(1), min_size=4, max_size=4),
        "block_size": st.integers(-1, 5) | st.sampled_from([2**32 - 1, 2**32, 2**63 - 1]),
        "lora_id": st.none() | st.integers(-1, 2**40),
        "lora_name": st.none() | st.text(max_size=3),
        "medium": MEDIA,
        "extra_keys": st.none() | st.lists(st.none() | st.lists(ODD, max_size=2), max_size=4),
        "group_idx": st.none() | st.integers(-1, 2),
        "session_id": st.none() | st.text(max_size=2),
    },
)  # fmt: skip
REMOVED = st.fixed_dictionaries(
    {"type": st.just("BlockRemoved"), "block_hashes": HASHES},
    optional={"medium": MEDIA, "group_idx": st.none() | st.integers(-1, 2)},
)
EVENTS = STORED | REMOVED | st.just({"type": "AllBlocksCleared"}) | ODD
PAST = st.sampled_from([b"\xc1", b"\xc2", *(encode([float(n), [], 0]) for n in range(4))])
BATCHES = st.tuples(st.floats(), st.lists(EVENTS, max_size=5), st.none() | st.integers(0, 3))
SEED = encode(
    [
        1.5,
        [
            {"type": "BlockStored", "block_hashes": [1], "token_ids": [1, 2], "block_size": 2},
            ["BlockRemoved", [1], "GPU"],
            ["BlockStored", [2], 1, [3, 4], 2, None, "GPU", None, [[["x", 1]]]],
        ],
        0,
    ]
)
WORDS = [
    b"\xc1",
    b"\xdc\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 600,
    b"\xcb" + bytes(8),
    b"\xd9\xff",
]


class Past:
    """A replay of these payloads by their numbers."""

    def __init__(self, payloads: Iterable[tuple[int, bytes]]) -> None:
        self._payloads = iter(payloads)

    def receive(self) -> tuple[int, bytes] | Reply:
        """The next, then the end."""
        return next(self._payloads, Reply.END)

    def close(self) -> None:
        """Nothing to let go of."""


def follow(live: Iterable[tuple[int, bytes]], said: list[bytes] | None = None) -> None:
    """Work on it all, then forget the worker; `said`: all that it can be asked for again."""
    book = Book()
    subscriber = Subscriber(book.ledger, book.counters, lambda _: None)
    past = list(enumerate(said or ()))
    subscriber.attach(None if said is None else lambda first: Past(past[first:]))
    for number, payload in live:
        subscriber.offer(number, payload)
        _rest(subscriber)
    subscriber.check(started_at=5.0)
    _rest(subscriber)
    subscriber.leave()
    _rest(subscriber)
    assert not book.held
    assert not book.held_on_cpu


def _rest(subscriber: Subscriber) -> None:
    assert any(not subscriber.step() for _ in range(1000)), "it never comes to rest"


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 6), BATCHES.map(encode)), max_size=6))
def test_any_events(live: list[tuple[int, bytes]]) -> None:
    follow(live)


@FUZZ
@given(st.lists(st.tuples(st.lists(EVENTS, max_size=4), st.booleans()), max_size=8))
def test_any_events_asked_for_again(said: list[tuple[list[Any], bool]]) -> None:
    payloads = [encode([float(n), events, 0]) for n, (events, _) in enumerate(said)]
    arrived = [(n, payloads[n]) for n, (_, arrives) in enumerate(said) if arrives]
    follow(arrived, payloads)


@FUZZ
@given(
    said=st.lists(PAST, max_size=5),
    arrives=st.lists(st.tuples(st.integers(0, 6), PAST), max_size=5),
)
def test_a_past_that_contradicts_what_arrives(
    said: list[bytes], arrives: list[tuple[int, bytes]]
) -> None:
    """Clocks that go back, batches that cannot be read or are others than before."""
    follow(arrives, said)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 3), mutated([SEED], WORDS)), max_size=4))
def test_mutated_batches(live: list[tuple[int, bytes]]) -> None:
    for _, payload in live:
        decode(payload)
    follow(live)


EMPTY = encode([1.0, [], 0])


def test_a_gap_behind_an_unreadable_batch() -> None:
    """Batch 1 cannot be read, 2 is lost and not kept: that is no reason to ask without end."""
    follow([(0, EMPTY), (3, EMPTY)], [EMPTY, b"\xc1"])


def test_a_clock_that_went_back() -> None:
    follow([(1, encode([2.0, [], 0]))], [EMPTY, EMPTY])


def test_a_block_too_large_for_a_key() -> None:
    stored = {"type": "BlockStored", "block_hashes": [], "token_ids": [], "block_size": 2**32}
    follow([(0, encode([1.0, [stored], 0]))])
