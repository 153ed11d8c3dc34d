"""All that is known, against the suite and the oracle: by text, and by tokens of workers that say what they hold."""

from collections.abc import Mapping

import pytest
from hypothesis import settings

from router.ids import WorkerId
from router.index.base import Index
from router.index.knowledge import Knowledge
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.prompt.identity import Identity, TokenIdentity
from tests.conformance.index_suite import (
    IndexSuite,
    NaiveIndex,
    Prefixes,
    PromptMachine,
    TokensSuite,
)


def make(reported: UnionIndex | None = None) -> Knowledge:
    memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
    return Knowledge(PredictedIndex(memory, default_kv_tokens=10**9), reported or UnionIndex())


class Telling:
    """Every worker says what it holds, and whatever is sent is computed before anything else happens."""

    def __init__(self) -> None:
        self.reported = UnionIndex()
        self.knowledge = make(self.reported)

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        return self.knowledge.lookup(_by_tokens(identity))

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        self.knowledge.exact = {**self.knowledge.exact, worker: _by_tokens(identity).block}
        self.knowledge.sent(worker, _by_tokens(identity))
        self.reported.stored(worker, identity.keys)
        self.knowledge.begun(worker, _by_tokens(identity))

    def clear(self, worker: WorkerId) -> None:
        self.reported.clear(worker)
        self.knowledge.clear(worker)


def _by_tokens(identity: Identity) -> TokenIdentity:
    return TokenIdentity.of(identity.keys, round(identity.tokens), 16, identity)


class TestByText(IndexSuite, TokensSuite):
    @pytest.fixture
    def index(self) -> Index:
        return make()


class TestByTokens(IndexSuite):
    @pytest.fixture
    def index(self) -> Prefixes:
        return Telling()


class TextMachine(PromptMachine[Knowledge]):
    def __init__(self) -> None:
        super().__init__()
        self.index, self.naive = make(), NaiveIndex(1e9, 10**9)


class TokensMachine(PromptMachine[Telling]):
    def __init__(self) -> None:
        super().__init__()
        self.index, self.naive = Telling(), NaiveIndex(1e9, 10**9)


TestTextMachine = TextMachine.TestCase
TestTextMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTokensMachine = TokensMachine.TestCase
TestTokensMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
