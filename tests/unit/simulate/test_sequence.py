"""When a decoding sequence touches its blocks, against looking at each token."""

from hypothesis import given
from hypothesis import strategies as st

from router.simulate.job import Job
from router.simulate.sequence import Sequence


@given(
    prompt=st.integers(1, 30),
    output=st.integers(1, 30),
    size=st.integers(1, 8),
    hashed=st.integers(0, 60),
    ahead=st.integers(0, 30),
)
def test_next_growth(prompt: int, output: int, size: int, hashed: int, ahead: int) -> None:
    sequence = Sequence(Job(prompt, output, list(range(hashed)), []))
    sequence.generated = 1
    computed = prompt + ahead
    growths = [
        tokens
        for tokens in range(computed, prompt + output - 1)
        if tokens % size == 0 or ((tokens + 1) % size == 0 and tokens // size < hashed)
    ]
    assert sequence.next_growth(computed, size) == (growths[0] if growths else -1)
