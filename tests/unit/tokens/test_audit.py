"""Verdicts on what we count otherwise than the workers do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.tokens.audit import CACHE_PATIENCE, PATIENCE, Counted, TokenAudit


def seen(ours: int, theirs: int, *, model: str = "m", chat: bool = True, **cached: Any) -> Counted:
    return Counted(model, chat, ours, theirs, **cached)


def told(audit: TokenAudit, *answers: Counted) -> list[str | None]:
    return [audit.observe(answer) for answer in answers]


def test_three_disagreements_in_a_row_are_a_verdict_told_once() -> None:
    audit = TokenAudit()
    first, second, third, fourth = told(audit, seen(5, 9), seen(6, 8), seen(7, 9), seen(7, 9))
    assert (first, second, fourth) == (None, None, None)
    assert third is not None
    assert third.startswith(
        "the chat template used for model m gives 7 tokens, the worker counted 9: "
    )
    assert audit.verdicts == {"m": [third]}
    assert audit.disagreements == 4


def test_an_agreement_between_them_starts_anew() -> None:
    audit = TokenAudit()
    assert told(audit, *[seen(5, 9)] * 2, seen(5, 5), *[seen(5, 9)] * 2) == [None] * 5
    assert audit.verdicts == {}


def test_an_agreement_lifts_the_verdict() -> None:
    audit = TokenAudit()
    told(audit, *[seen(5, 9)] * 3, seen(5, 5))
    assert audit.verdicts == {}
    assert told(audit, *[seen(5, 9)] * 3)[-1] is not None


@pytest.mark.parametrize(
    ("theirs", "difference"), [(6, "(always 1 more)"), (3, "(always 2 fewer)")]
)
def test_a_difference_that_is_always_the_same_is_pointed_out(theirs: int, difference: str) -> None:
    verdict = told(TokenAudit(), *[seen(5, theirs)] * 3)[-1]
    assert verdict is not None
    assert difference in verdict


def test_models_and_forms_of_prompts_are_told_apart() -> None:
    audit = TokenAudit()
    told(audit, seen(5, 9), seen(5, 9, model="n"), seen(5, 9, chat=False), seen(5, 9, model="n"))
    assert audit.verdicts == {}
    told(audit, *[seen(5, 9, chat=False)] * 2, *[seen(5, 5)] * 3)
    (verdict,) = audit.verdicts["m"]
    assert verdict.startswith("the tokenizer used for model m gives 5 tokens")


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (64, 0, "64 cached tokens were expected and the worker found none, 8 times in a row"),
        (0, 32, "no cached tokens were expected and the worker found 32, 8 times in a row"),
    ],
)
def test_caches_that_share_nothing_are_a_verdict(ours: int, theirs: int, words: str) -> None:
    audit = TokenAudit()
    new = seen(99, 99, cached=0, worker_cached=0)
    surprise = seen(99, 99, cached=ours, worker_cached=theirs)
    *before, verdict = told(audit, *[new, surprise] * CACHE_PATIENCE)
    assert before == [None] * (2 * CACHE_PATIENCE - 1)
    assert verdict is not None
    assert words in verdict
    assert audit.verdicts == {"m": [verdict]}
    audit.observe(seen(99, 99, cached=64, worker_cached=32))
    assert audit.verdicts == {}


def test_a_cache_that_evicts_what_was_expected_now_and_then_is_no_verdict() -> None:
    audit = TokenAudit()
    evicted, hit = (seen(99, 99, cached=64, worker_cached=theirs) for theirs in (0, 48))
    assert told(audit, *[*[evicted] * (CACHE_PATIENCE - 1), hit] * 5) == [None] * 5 * CACHE_PATIENCE
    assert audit.disagreements == 5 * (CACHE_PATIENCE - 1)


def test_a_cache_is_not_judged_by_prompts_that_were_counted_wrong() -> None:
    audit = TokenAudit()
    told(audit, *[seen(99, 98, cached=64, worker_cached=0)] * 3)
    (verdict,) = audit.verdicts["m"]
    assert "chat template" in verdict


def test_nothing_is_said_of_a_cache_that_is_not_told() -> None:
    audit = TokenAudit()
    assert told(audit, *[seen(9, 9, cached=4)] * 3) == [None] * 3
    assert audit.disagreements == 0


@given(st.lists(st.tuples(st.sampled_from("mn"), st.booleans(), st.integers(1, 3))))
def test_a_verdict_stands_exactly_while_the_last_three_disagree(
    answers: list[tuple[str, bool, int]],
) -> None:
    audit = TokenAudit()
    rows: dict[tuple[str, bool], list[bool]] = {}
    for model, chat, theirs in answers:
        audit.observe(seen(2, theirs, model=model, chat=chat))
        rows.setdefault((model, chat), []).append(theirs != 2)
    wrong = [key for key, row in rows.items() if len(row) >= PATIENCE and all(row[-PATIENCE:])]
    assert sorted(model for model, _ in wrong) == sorted(
        model for model, verdicts in audit.verdicts.items() for _ in verdicts
    )
