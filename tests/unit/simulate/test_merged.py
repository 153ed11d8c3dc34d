"""What others told counts as far as it goes further."""

from router.ids import WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.simulate.merged import Merged

A, B, C = (WorkerId(name) for name in "abc")


def test_the_greater_count_of_each_worker() -> None:
    index = UnionIndex()
    merged = Merged(index)
    prompt = TokenIdentity.of([1, 2, 3], 192, 64)
    merged.sent(A, prompt)
    index.stored(B, [1])
    assert merged.lookup(prompt) == {A: 3, B: 1}
    told = TokenIdentity(b"", [1, 2, 3], 192, 0.0, block=64, elsewhere={A: 1, B: 2, C: 3})
    assert merged.lookup(told) == {A: 3, B: 2, C: 3}
    assert merged.cached_tokens(C, told, 3) == 192


def test_a_worker_that_holds_nothing() -> None:
    index = UnionIndex()
    index.stored(A, [1])
    Merged(index).clear(A)
    assert index.lookup(TokenIdentity.of([1], 64, 64)) == {}
