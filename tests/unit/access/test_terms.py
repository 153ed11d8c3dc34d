"""What a tenant may do."""

import pytest

from router.access.keys import digest_of
from router.access.terms import Terms

MODELS = ["llama-8b", "llama-70b", "org/llama-8b", "qwen", "qwen-vl"]


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        ((), MODELS),
        (("*",), MODELS),
        (("llama-*",), ["llama-8b", "llama-70b"]),
        (("*llama*",), ["llama-8b", "llama-70b", "org/llama-8b"]),
        (("qwen", "org/*"), ["org/llama-8b", "qwen"]),
        (("LLAMA-*",), []),
        (("llama-[78]*",), ["llama-8b", "llama-70b"]),
        (("llama-8",), []),
        (("qwen\n",), []),
    ],
)
def test_models_by_patterns(patterns: tuple[str, ...], allowed: list[str]) -> None:
    terms = Terms(models=patterns)
    assert [model for model in MODELS if terms.allows(model)] == allowed


def test_a_line_break_does_not_get_past_a_pattern() -> None:
    assert not Terms(models=("qwen",)).allows("qwen\nllama")
    assert not Terms(models=("qwen",)).allows("qwen\n")


@pytest.mark.parametrize(
    ("terms", "limited"),
    [
        (Terms(), False),
        (Terms(models=("a",), priority=3, trusted=True), False),
        (Terms(requests_per_minute=1), True),
        (Terms(tokens_per_minute=1), True),
        (Terms(max_inflight=1), True),
    ],
)
def test_quotas_are_what_routers_share(terms: Terms, limited: bool) -> None:
    assert terms.limited is limited


def test_they_show_no_keys() -> None:
    digest = digest_of(b"k")
    assert digest.hex() not in repr(Terms(frozenset([digest])))
    assert "keys" not in repr(Terms(frozenset([digest])))
