"""A job and its results."""

from math import isnan

import pytest

from router.simulate.job import Job


def test_nothing_is_known_before_it_arrives() -> None:
    job = Job(10, 3, [1], [])
    assert isnan(job.arrived_at)
    assert isnan(job.first_at)
    assert isnan(job.ended_at)


def test_a_second_try_forgets_the_first() -> None:
    job = Job(10, 3, [1], [])
    job.cached_tokens, job.preemptions, job.recomputed = 4, 1, 9
    job.first_at = job.ended_at = 1.0
    job.reset(2.0)
    assert job.arrived_at == 2.0
    assert isnan(job.first_at)
    assert isnan(job.ended_at)
    assert (job.cached_tokens, job.preemptions, job.recomputed) == (0, 0, 0)


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, 0)])
def test_a_job_has_a_prompt_and_an_answer(prompt: int, output: int) -> None:
    with pytest.raises(ValueError, match="needs tokens"):
        Job(prompt, output, [], [])
