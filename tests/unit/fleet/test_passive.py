"""What answers, and their failing to come, say of workers."""

import logging
from collections.abc import Callable

import pytest

from router import errors
from router.engines.base import Condition, WorkerReport
from router.errors import RouterError
from router.fleet.circuit import CircuitOptions, State
from router.fleet.fleet import Fleet
from router.fleet.passive import PassiveHealth
from router.fleet.worker import Worker


class Clinic:
    """A fleet of `a` and `b`, and what is said of `a`; two failures open a circuit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("router.fleet.passive.perf_counter", lambda: self.now)
        monkeypatch.setattr("router.fleet.fleet.perf_counter", lambda: self.now)
        circuits = CircuitOptions(failures=2, open_s=5.0)
        self.fleet = Fleet(None, connect_s=1.0, idle_s=4.0, circuits=circuits)
        self.fleet.set_workers(["http://a:8000", "http://b:8000"])
        self.a, self.b = self.fleet
        for worker in (self.a, self.b):
            self.fleet.set_report(worker, WorkerReport({"m": {"id": "m"}}))
            self.fleet.mark_up(worker)
        self.health = PassiveHealth(self.fleet)
        self.suspects: list[Worker] = []
        self.changes: list[None] = []
        self.health.on_suspect = self.suspects.append
        self.fleet.on_change = lambda: self.changes.append(None)

    def answered(self, status: int, times: int = 1, retry_after_s: float | None = None) -> None:
        for _ in range(times):
            self.health.answered(self.a, status, retry_after_s)

    def failed(self, error: RouterError, times: int = 1) -> None:
        for _ in range(times):
            self.health.failed(self.a, error)

    @property
    def state(self) -> State:
        return self.a.circuit.state(self.now)

    @property
    def asked(self) -> str:
        """Who can be sent something."""
        return "".join(worker.id[0] for worker in self.fleet.candidates("m"))


@pytest.fixture
def clinic(monkeypatch: pytest.MonkeyPatch) -> Clinic:
    return Clinic(monkeypatch)


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 408, 413, 422, 499])
def test_what_is_no_fault_of_the_worker_s_never_counts(clinic: Clinic, status: int) -> None:
    clinic.answered(status, 50)
    assert (clinic.state, clinic.suspects, clinic.asked) == (State.CLOSED, [], "ab")
    assert clinic.changes == []


@pytest.mark.parametrize("status", [500, 501, 505, 599])
def test_what_may_be_the_request_s_fault_is_looked_into(clinic: Clinic, status: int) -> None:
    clinic.answered(status, 50)
    assert clinic.state is State.CLOSED
    assert set(clinic.suspects) == {clinic.a}
    assert clinic.asked == "ab"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_is_the_worker_s_fault_counts(
    clinic: Clinic, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    clinic.answered(status)
    assert (clinic.state, clinic.asked) == (State.CLOSED, "ab")
    clinic.answered(status)
    assert (clinic.state, clinic.asked) == (State.OPEN, "b")
    assert len(clinic.changes) == 1
    assert f"a:8000 is given no requests for 5 s: it answered {status}" in caplog.text


UPSTREAM = [
    errors.worker_lost("a:8000", "before answering"),
    errors.worker_timeout("a:8000", "did not begin to answer within 1 s"),
    errors.bad_response("a:8000", "garbage"),
    errors.engine_died("has lost its engine"),
    errors.stale_connection("a:8000"),
]


@pytest.mark.parametrize("error", UPSTREAM, ids=lambda error: error.code)
def test_a_worker_that_fails_a_request_is_probed_and_it_counts(
    clinic: Clinic, error: RouterError, caplog: pytest.LogCaptureFixture
) -> None:
    clinic.failed(error)
    assert clinic.suspects == [clinic.a]
    assert (clinic.state, clinic.a.up) == (State.CLOSED, True)
    clinic.failed(error)
    assert (clinic.state, clinic.a.up, clinic.asked) == (State.OPEN, True, "b")
    assert error.message in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        errors.out_of_sockets("a:8000", "Too many open files"),
        errors.SHUTTING_DOWN,
        errors.INTERNAL_ERROR,
        errors.no_worker("none"),
        errors.model_not_found("x", []),
    ],
    ids=lambda error: error.code,
)
def test_what_is_not_the_worker_s_doing_says_nothing_of_it(
    clinic: Clinic, error: RouterError
) -> None:
    clinic.failed(error, 50)
    assert (clinic.state, clinic.suspects, clinic.a.up) == (State.CLOSED, [], True)


def test_one_that_cannot_be_reached_is_down(clinic: Clinic) -> None:
    clinic.failed(errors.connect_failed("a:8000", "refused"))
    assert not clinic.a.up
    assert "refused" in str(clinic.a.last_error)
    assert clinic.suspects == [clinic.a]
    assert clinic.asked == "b"


def test_successes_between_make_up_for_failures(clinic: Clinic) -> None:
    for _ in range(20):
        clinic.answered(503)
        clinic.answered(200)
    assert clinic.state is State.CLOSED


def test_a_client_s_mistake_answered_is_a_worker_that_works(clinic: Clinic) -> None:
    for _ in range(20):
        clinic.answered(503)
        clinic.answered(400)
    assert clinic.state is State.CLOSED


def test_a_refusal_does_not_make_up_for_a_failure_on_probation(clinic: Clinic) -> None:
    clinic.answered(502, 2)
    clinic.now += 6.0
    clinic.answered(429, 50)
    assert clinic.state is State.PROBATION


class TestRecovery:
    def test_by_way_of_probation(self, clinic: Clinic, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        clinic.answered(502, 2)
        clinic.now += 4.9
        assert clinic.asked == "b"
        clinic.now += 0.2
        assert (clinic.state, clinic.asked) == (State.PROBATION, "ab")
        clinic.answered(200, 5)
        assert clinic.state is State.PROBATION
        before = len(clinic.changes)
        clinic.answered(200)
        assert (clinic.state, clinic.asked) == (State.CLOSED, "ab")
        assert len(clinic.changes) == before + 1
        assert "a:8000 has recovered" in caplog.text

    def test_one_failure_on_probation_is_enough(self, clinic: Clinic) -> None:
        clinic.answered(502, 2)
        clinic.now += 6.0
        clinic.answered(502)
        assert (clinic.state, clinic.a.circuit.open_for(clinic.now)) == (State.OPEN, 10.0)


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    def test_it_keeps_the_worker_out_for_so_long(self, clinic: Clinic, status: int) -> None:
        clinic.answered(status, retry_after_s=7.0)
        assert clinic.asked == "b"
        clinic.now += 6.9
        assert clinic.asked == "b"
        clinic.now += 0.2
        assert clinic.asked == "ab"
        assert clinic.state is State.CLOSED

    @pytest.mark.parametrize("status", [200, 400, 500, 502])
    def test_other_answers_ask_for_nothing(self, clinic: Clinic, status: int) -> None:
        clinic.answered(status, retry_after_s=7.0)
        assert clinic.asked == "ab"

    @pytest.mark.parametrize("seconds", [None, 0.0])
    def test_who_has_too_much_and_says_no_time_is_left_alone_for_a_second(
        self, clinic: Clinic, seconds: float | None
    ) -> None:
        """It would look idle, refusing at once, and draw all requests."""
        clinic.answered(429, retry_after_s=seconds)
        assert (clinic.state, clinic.asked) == (State.CLOSED, "b")
        clinic.now += 1.1
        assert clinic.asked == "ab"

    @pytest.mark.parametrize("seconds", [None, 0.0])
    def test_of_503_no_time_is_none(self, clinic: Clinic, seconds: float | None) -> None:
        clinic.answered(503, retry_after_s=seconds)
        assert clinic.asked == "ab"

    def test_answers_to_what_was_sent_before_do_not_end_it(self, clinic: Clinic) -> None:
        clinic.answered(429, retry_after_s=7.0)
        clinic.answered(200, 10)
        assert clinic.asked == "b"

    def test_if_all_ask_for_it_all_are_asked(self, clinic: Clinic) -> None:
        for worker in clinic.fleet:
            clinic.health.answered(worker, 429, 7.0)
        assert clinic.asked == "ab"


def test_one_that_says_that_it_drains_gets_nothing_more(clinic: Clinic) -> None:
    clinic.health.drains(clinic.a)
    assert clinic.a.condition is Condition.DRAINING
    assert clinic.asked == "b"


def test_who_is_suspected_can_be_anybody(clinic: Clinic) -> None:
    """Nobody need listen."""
    PassiveHealth(clinic.fleet).answered(clinic.a, 500, None)


@pytest.mark.parametrize(
    "say",
    [
        lambda clinic, rank: clinic.health.answered(rank, 502, None),
        lambda clinic, rank: clinic.health.failed(rank, UPSTREAM[0]),
    ],
)
def test_what_one_rank_does_is_all_ranks_doing(
    clinic: Clinic, say: Callable[[Clinic, Worker], None]
) -> None:
    """They are one server's."""
    clinic.fleet.set_report(clinic.a, WorkerReport({"m": {"id": "m"}}, ranks=2))
    ranks = [worker for worker in clinic.fleet if worker.process == "a:8000"]
    for rank in ranks:
        say(clinic, rank)
    assert clinic.asked == "b"
