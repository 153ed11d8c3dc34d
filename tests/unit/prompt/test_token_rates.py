"""Tokens per byte: by model, and better by how a prompt begins."""

import pytest

from router.prompt import token_rates
from router.prompt.token_rates import TOKENS_PER_BYTE, TokenRates

PROSE, CODE = list(range(10)), list(range(100, 110))


def test_nothing_known() -> None:
    assert not TokenRates().knows("m")
    assert TokenRates().rate("m", PROSE) == TOKENS_PER_BYTE


def test_a_model_s_answers_tell_for_its_other_prompts() -> None:
    rates = TokenRates()
    rates.learn("m", [], 4000, 1200)
    assert rates.knows("m")
    assert rates.rate("m", PROSE) == pytest.approx(0.3)
    assert rates.rate("other", PROSE) == TOKENS_PER_BYTE


def test_what_begins_alike_goes_on_alike() -> None:
    rates = TokenRates()
    rates.learn("m", PROSE, 4000, 1000)
    rates.learn("m", CODE, 4000, 2000)
    assert rates.rate("m", PROSE) == pytest.approx(0.25)
    assert rates.rate("m", [*CODE[:8], 555]) == pytest.approx(0.5)


def test_a_short_prompt_goes_by_its_first_block() -> None:
    rates = TokenRates()
    rates.learn("m", CODE, 4000, 2000)
    assert rates.rate("m", CODE[:1]) == pytest.approx(0.5)
    assert rates.rate("m", [CODE[0], 7, 7, 7, 7, 7, 7, 7]) == pytest.approx(0.5)


def test_later_answers_move_the_rate_by_a_part() -> None:
    rates = TokenRates()
    rates.learn("m", CODE, 4000, 1000)
    rates.learn("m", CODE, 4000, 2000)
    assert 0.25 < rates.rate("m", CODE) < 0.5


def test_old_beginnings_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_rates, "_LIMIT", 10)
    rates = TokenRates()
    for number in range(100):
        rates.learn("m", [number], 4000, 1000)
    assert len(rates._beginnings) == 10
    assert rates.rate("m", [99]) == pytest.approx(0.25)
