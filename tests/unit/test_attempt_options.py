"""What an operator says of attempts."""

from router.attempt_options import AttemptOptions
from router.upstream.limits import NO_LIMITS, TimeLimits


def test_an_endpoint_s_own_limits_count_there_and_nowhere_else() -> None:
    own, usual = TimeLimits(first_byte_s=1.0), TimeLimits(first_byte_s=9.0)
    options = AttemptOptions(limits=usual, by_endpoint={"embeddings": own})
    assert options.of("embeddings") is own
    assert options.of("completions") is usual
    assert AttemptOptions().of("completions") is NO_LIMITS
