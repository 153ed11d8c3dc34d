"""Keys and sizes of prompts, and what answers teach about them."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ids import Tier, WorkerId
from router.prompt.blocks import covered_bytes
from router.prompt.identity import Identity, TextIdentity, TokenIdentity
from router.prompt.request import Request
from router.prompt.stored import Loadable
from router.prompt.token_rates import TOKENS_PER_BYTE
from tests.unit.support import chat, request

LONG = "word " * 400


def identify(body: dict[str, Any]) -> Identity:
    return TextIdentity().identify(request(body))


def learn(identities: TextIdentity, asked: Request, tokens: int) -> None:
    identities.learn(asked, identities.identify(asked), tokens)


def test_equal_prompts_are_equal_whatever_the_sampling() -> None:
    first, second = (
        identify(chat(LONG, temperature=0)),
        identify(chat(LONG, top_p=0.5, stream=True)),
    )
    assert first.keys == second.keys
    assert first.keys


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "other"},
        {"cache_salt": "s"},
        {"chat_template": "{{ x }}"},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_what_separates_caches_separates_keys(fields: dict[str, Any]) -> None:
    plain, other = identify(chat(LONG)), identify({**chat(LONG), **fields})
    assert not set(plain.keys) & set(other.keys)


def test_separators_are_told_apart_from_each_other() -> None:
    salted, templated = (
        identify(chat(LONG, cache_salt="x")),
        identify(chat(LONG, chat_template="x")),
    )
    assert salted.keys != templated.keys


def test_a_next_turn_shares_the_keys_of_the_one_before() -> None:
    first, second = identify(chat(LONG)), identify(chat(LONG, "more " * 100))
    assert second.keys[: len(first.keys)] == first.keys
    assert len(second.keys) > len(first.keys)


def test_no_prompt_has_no_keys_and_no_tokens() -> None:
    empty = identify({"model": "m"})
    assert (empty.keys, empty.tokens) == ([], 0)
    assert empty.covered_tokens(0) == 0


@given(st.integers(0, 40))
def test_covered_tokens_never_exceed_the_prompt(blocks: int) -> None:
    identity = identify(chat(LONG))
    assert 0 <= identity.covered_tokens(blocks) <= identity.tokens
    assert identity.covered_tokens(blocks) <= identity.covered_tokens(blocks + 1)
    assert identity.covered_tokens(blocks) <= identity.shared_tokens(blocks) <= identity.tokens


def test_a_shared_block_s_successor_is_shared_by_half() -> None:
    identity = identify(chat(LONG))
    assert identity.shared_tokens(2) == (covered_bytes(2) + covered_bytes(3)) / 2 * TOKENS_PER_BYTE


def test_an_answer_teaches_the_tokens_per_byte_of_its_model() -> None:
    identities = TextIdentity()
    asked = request(chat(LONG))
    size = len(asked.prompt)
    learn(identities, asked, size // 5)
    assert identities.identify(asked).tokens == pytest.approx(size // 5)
    other = request({**chat(LONG), "model": "other"})
    assert identities.identify(other).tokens == size * TOKENS_PER_BYTE


def test_later_answers_move_the_estimate_by_a_part() -> None:
    identities = TextIdentity()
    asked = request(chat(LONG))
    size = len(asked.prompt)
    learn(identities, asked, size // 5)
    for _ in range(200):
        learn(identities, asked, size // 2)
    assert identities.identify(asked).tokens == pytest.approx(size // 2, rel=0.01)


def test_a_short_prompt_says_little() -> None:
    identities = TextIdentity()
    long, short = request(chat(LONG)), request(chat("hi"))
    learn(identities, long, len(long.prompt) // 4)
    before = identities.identify(long).tokens
    learn(identities, short, len(short.prompt) * 10)
    assert identities.identify(long).tokens < before * 1.1


@pytest.mark.parametrize("tokens", [0, 10])
def test_no_prompt_or_no_count_teaches_nothing(tokens: int) -> None:
    identities = TextIdentity()
    learn(identities, request({"model": "m"}), tokens)
    learn(identities, request(chat(LONG)), 0)
    asked = request(chat(LONG))
    assert identities.identify(asked).tokens_per_byte == TOKENS_PER_BYTE


def picture(size: int, shape: str = "url") -> dict[str, Any]:
    data = base64.b64encode(bytes(size)).decode()
    part: dict[str, Any] = {
        "url": {"url": f"data:image/png;base64,{data}"},
        "anthropic": {"type": "image", "source": {"type": "base64", "data": data}},
        "audio": {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
    }[shape]
    return {"model": "m", "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize("shape", ["url", "anthropic", "audio"])
def test_an_inline_image_costs_an_image_whatever_its_bytes(shape: str) -> None:
    small, large = identify(picture(30_000, shape)), identify(picture(300_000, shape))
    assert small.tokens == large.tokens < 1100
    assert large.covered_tokens(len(large.keys)) <= large.tokens


def test_images_teach_nothing_about_text() -> None:
    identities = TextIdentity()
    learn(identities, request(picture(3000)), 50)
    assert identities.identify(request(chat(LONG))).tokens_per_byte == TOKENS_PER_BYTE


def answered(identity: Identity, prompt_tokens: int = 500, answer_tokens: int = 20) -> Any:
    return identity.tail(prompt_tokens, answer_tokens)


def test_a_next_turn_with_the_answer_resumes_behind_it() -> None:
    first = identify(chat(LONG))
    body = chat(LONG)
    body["messages"] += [
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "next " * 100},
    ]
    second = identify(body)
    assert second.resumed_tokens(len(first.keys), answered(first)) == 520


def test_a_next_turn_without_the_answer_resumes_behind_the_prompt() -> None:
    first, second = identify(chat(LONG)), identify(chat(LONG, "more " * 50))
    assert second.resumed_tokens(len(first.keys), answered(first)) == 500


def test_the_same_prompt_again_resumes_at_its_end() -> None:
    first = identify(chat(LONG))
    assert first.resumed_tokens(len(first.keys), answered(first)) == 500


def test_another_end_is_not_resumed() -> None:
    first, second = identify(chat(LONG + "a")), identify(chat(LONG + "b"))
    blocks = len(first.keys)
    assert first.keys == second.keys[:blocks]
    assert second.resumed_tokens(blocks, answered(first)) is None


def test_a_shorter_prompt_is_not_resumed() -> None:
    long, short = identify(chat(LONG + "x" * 60)), identify(chat(LONG))
    blocks = min(len(long.keys), len(short.keys))
    assert short.resumed_tokens(blocks, answered(long)) is None


class TestByTokens:
    KNOWN = TokenIdentity.of([1, 2, 3], 50, 16)

    @given(st.integers(0, 3))
    def test_a_block_is_its_tokens(self, blocks: int) -> None:
        assert self.KNOWN.covered_tokens(blocks) == blocks * 16
        assert self.KNOWN.shared_tokens(blocks) == blocks * 16, "where blocks part, nothing more is"
        assert self.KNOWN.block_tokens(blocks) == 16

    def test_its_text_is_known_beside_it(self) -> None:
        text = identify(chat(LONG))
        assert TokenIdentity.of([1], 20, 16, text).text is text
        assert text.text is text

    def test_or_it_has_to_do_by_itself(self) -> None:
        assert self.KNOWN.text is self.KNOWN

    def test_what_is_stored_below_is_said_of_the_same_prompt(self) -> None:
        text = identify(chat(LONG))
        plain = TokenIdentity.of([1, 2], 40, 16, text)
        stored = {WorkerId("a:1"): Loadable(Tier.CPU, 32)}
        found = plain.with_stored(stored)
        assert found.stored == stored
        assert (found.keys, found.tokens, found.block, found.text) == ([1, 2], 40, 16, text)
        assert plain.stored == text.stored == {}, "and of no other"

    def test_an_end_is_not_resumed(self) -> None:
        """Blocks are all that an engine shares."""
        tail = self.KNOWN.tail(50, 10)
        assert self.KNOWN.resumed_tokens(3, tail) is None
