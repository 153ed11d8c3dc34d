"""The index of reports and predictions against the suite and the oracle, fed by either."""

from collections.abc import Mapping

import pytest
from hypothesis import settings

from router.ids import WorkerId
from router.index.base import Index
from router.index.union import UnionIndex
from router.prompt.identity import Identity
from tests.conformance.index_suite import (
    IndexSuite,
    NaiveIndex,
    Prefixes,
    PromptMachine,
    TokensSuite,
)


class Reported:
    """Whatever is sent is computed and reported before anything else happens."""

    def __init__(self, *, expect: bool) -> None:
        self.union = UnionIndex(expect=expect)

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]:
        return self.union.lookup(identity)

    def sent(self, worker: WorkerId, identity: Identity) -> None:
        self.union.sent(worker, identity)
        self.union.stored(worker, identity.keys)
        self.union.settled(worker, identity)

    def clear(self, worker: WorkerId) -> None:
        self.union.clear(worker)


class TestPredictions(IndexSuite, TokensSuite):
    @pytest.fixture
    def index(self) -> Index:
        return UnionIndex()


@pytest.mark.parametrize("expect", [True, False])
class TestReports(IndexSuite):
    @pytest.fixture
    def index(self, expect: bool) -> Prefixes:
        return Reported(expect=expect)


class PredictionsMachine(PromptMachine[UnionIndex]):
    def __init__(self) -> None:
        super().__init__()
        self.index, self.naive = UnionIndex(), NaiveIndex(1e9, 10**9)


class ReportsMachine(PromptMachine[Reported]):
    def __init__(self) -> None:
        super().__init__()
        self.index, self.naive = Reported(expect=True), NaiveIndex(1e9, 10**9)


TestPredictionsMachine = PredictionsMachine.TestCase
TestPredictionsMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestReportsMachine = ReportsMachine.TestCase
TestReportsMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
