"""What requests that ended came to."""

import pytest

from router.console.tally import Recent, Tally, Work
from tests.unit.console.lines import line


def test_nothing_has_no_hit_rate() -> None:
    assert (Work().hit_rate, Work().predicted_rate) == (None, None)


def test_requests_are_counted_by_outcome_and_worker() -> None:
    tally = Tally()
    tally.add([line(), line(worker="b"), line(worker=None, outcome="client_error", ttft_ms=None)])
    assert dict(tally.outcomes) == {"ok": 2, "client_error": 1}
    assert tally.ttft_ms == [20.0, 20.0]
    assert {worker: work.requests for worker, work in tally.workers.items()} == {"a": 1, "b": 1}


def test_hit_rates_are_of_answers_that_tell() -> None:
    tally = Tally()
    tally.add([line(), line(cached_tokens=None), line(prompt_tokens=None, cached_tokens=None)])
    work = tally.work()
    assert work.hit_rate == 0.5
    assert work.predicted_rate == 0.6
    assert work.requests == 3


def busy(requests: int) -> Work:
    work = Work()
    tally = Tally()
    tally.add([line()] * requests)
    work.add(tally.work())
    return work


class TestRecent:
    def test_of_a_worker_that_did_nothing(self) -> None:
        recent = Recent(step_s=10.0, steps=3)
        assert recent.rate("a") is None
        assert recent.work("a").requests == 0

    def test_its_rate_is_that_of_the_last_step(self) -> None:
        recent = Recent(step_s=10.0, steps=3)
        recent.add({"a": busy(4)}, 100.0)
        assert recent.rate("a") is None
        recent.add({"a": busy(6)}, 110.0)
        assert (recent.rate("a"), recent.rate("b")) == (1.0, 0.0)

    def test_its_work_is_that_of_the_last_steps(self) -> None:
        recent = Recent(step_s=10.0, steps=3)
        for step in range(20):
            recent.add({"a": busy(1 if step < 10 else 2)}, 10.0 * step)
        assert recent.work("a").requests == 6
        assert recent.work("a").hit_rate == 0.5

    def test_who_is_gone_is_forgotten(self) -> None:
        recent = Recent(step_s=10.0, steps=3)
        recent.add({"a": busy(1)}, 0.0)
        for step in range(1, 8):
            recent.add({}, 10.0 * step)
        assert recent.work("a").requests == 0
        assert not recent._sum


@pytest.mark.parametrize("times", [1, -1])
def test_work_is_taken_away_as_it_is_added(times: int) -> None:
    work = busy(3)
    work.add(busy(2), times)
    assert (work.requests, work.cached, work.prompt) == (
        3 + 2 * times,
        150 + 100 * times,
        300 + 200 * times,
    )
