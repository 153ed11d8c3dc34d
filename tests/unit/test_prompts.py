"""Which prompts others are asked about, and what comes of it."""

from typing import Any

import msgspec
import pytest

from router.exact import ExactPrompts
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.prompt.identity import Identity, TextIdentity
from router.prompt.request import Request
from router.prompts import Prompts
from tests.unit.support import at_once, chat, knowledge_of, request, text_only, workers_of

ASKED = request(chat("word " * 100))
TEXT = TextIdentity().identify(ASKED)
A, B = workers_of("a", "b")


class Others:
    """Other routers (`prompts.Others`), that know of `A` and of one response."""

    def __init__(self) -> None:
        self.asked: list[Identity] = []

    async def known(self, identity: Identity) -> Identity:
        self.asked.append(identity)
        return msgspec.structs.replace(identity, elsewhere={A.id: 3})

    async def home(self, response_id: str) -> WorkerId | None:
        return A.id if response_id == "resp_1" else None


class Tokens(ExactPrompts):
    """Wants all prompts, and names them by other keys."""

    def __init__(self) -> None:
        super().__init__(_knowledge(), text_only(_knowledge()).tokens)

    def wanted(self, request: Request, candidates: Any) -> bool:
        return True

    async def if_wanted(self, request: Request, text: Identity, candidates: Any) -> Identity:
        return msgspec.structs.replace(text, keys=[1, 2, 3])


def _knowledge() -> Any:
    memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
    return knowledge_of(PredictedIndex(memory, default_kv_tokens=10**9))


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def prompts(others: Others) -> Prompts:
    """With others, and no workers that say what they hold."""
    return Prompts(text_only(_knowledge()), others)


@pytest.fixture
def alone() -> Prompts:
    return Prompts(text_only(_knowledge()))


def identity(prompts: Prompts, *candidates: Worker, asked: Request = ASKED) -> Identity:
    return at_once(prompts.identity(asked, TEXT, candidates))


class TestAlone:
    def test_nobody_is_asked(self, alone: Prompts) -> None:
        assert not alone.shared
        assert not alone.wanted(ASKED, (A, B), bound=False)
        assert identity(alone, A, B) is TEXT

    def test_nobody_knows_of_a_response(self, alone: Prompts) -> None:
        assert at_once(alone.home("resp_1")) is None

    @pytest.mark.parametrize("bound", [True, False])
    def test_tokens_may_be_wanted_all_the_same(self, bound: bool) -> None:
        prompts = Prompts(Tokens())
        assert prompts.wanted(ASKED, (A,), bound=bound)
        assert identity(prompts, A).keys == [1, 2, 3]


class TestOthers:
    def test_they_are_asked_of_a_prompt_that_can_go_to_several(
        self, prompts: Prompts, others: Others
    ) -> None:
        assert prompts.shared
        assert prompts.wanted(ASKED, (A, B), bound=False)
        assert identity(prompts, A, B).elsewhere == {A.id: 3}
        assert others.asked == [TEXT]

    def test_not_of_one_that_can_only_go_to_one(self, prompts: Prompts, others: Others) -> None:
        for candidates in ((A,), ()):
            assert not prompts.wanted(ASKED, candidates, bound=False)
            assert identity(prompts, *candidates) is TEXT
        assert others.asked == []

    def test_nor_of_one_that_is_bound(self, prompts: Prompts) -> None:
        assert not prompts.wanted(ASKED, (A, B), bound=True)

    @pytest.mark.parametrize(
        "asked",
        [
            request({"model": "m"}),
            request(b""),
            request({"model": "m", "input": "text"}, path="/v1/embeddings"),
        ],
    )
    def test_nor_of_what_is_no_prompt_to_be_cached(
        self, prompts: Prompts, others: Others, asked: Request
    ) -> None:
        assert not prompts.wanted(asked, (A, B), bound=False)
        assert identity(prompts, A, B, asked=asked) is TEXT
        assert others.asked == []

    def test_a_request_that_names_no_model_may_be_asked_of(self, prompts: Prompts) -> None:
        asked = request({"messages": [{"role": "user", "content": "word " * 100}]})
        assert prompts.wanted(asked, (A, B), bound=False)

    def test_they_are_asked_by_tokens_where_these_are_known(self, others: Others) -> None:
        prompts = Prompts(Tokens(), others)
        found = identity(prompts, A, B)
        assert (found.keys, found.elsewhere) == ([1, 2, 3], {A.id: 3})
        assert others.asked[0].keys == [1, 2, 3]

    def test_tokens_may_be_wanted_where_others_are_not_asked(self, others: Others) -> None:
        prompts = Prompts(Tokens(), others)
        assert prompts.wanted(ASKED, (A,), bound=False)
        assert prompts.wanted(ASKED, (A, B), bound=True)
        assert identity(prompts, A).keys == [1, 2, 3]
        assert others.asked == []

    def test_they_know_where_responses_are(self, prompts: Prompts) -> None:
        assert at_once(prompts.home("resp_1")) == A.id
        assert at_once(prompts.home("resp_2")) is None
