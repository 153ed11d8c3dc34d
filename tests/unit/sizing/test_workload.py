"""What is asked."""

from dataclasses import replace

from tests.unit.sizing.questions import WANTED


def test_a_request_at_its_end() -> None:
    assert WANTED.tokens == 20_500


def test_a_shared_beginning_is_whole_blocks() -> None:
    assert WANTED.prefix_tokens == 12_000
    assert replace(WANTED, context=100).prefix_tokens == 48
    assert replace(WANTED, shared=0.0).prefix_tokens == 0
