"""A tenant's quotas, by a clock that the test turns."""

import random
from typing import Any

import pytest

from router.access.tenant import Tenant, Ticket
from router.access.terms import Terms
from router.errors import RouterError

T0 = 1000.0


def tenant(**terms: Any) -> Tenant:
    return Tenant("acme", Terms(**terms), T0)


def admit(tenant: Tenant, now: float = T0, model: str | None = "m") -> Ticket:
    return tenant.admit(model, now, runs=True)


def refused(tenant: Tenant, now: float = T0, model: str | None = "m") -> RouterError:
    with pytest.raises(RouterError) as caught:
        admit(tenant, now, model)
    return caught.value


def left(error: RouterError) -> dict[str, int]:
    return {name.decode().removeprefix("x-ratelimit-"): int(value) for name, value in error.fields}


class TestModels:
    def test_all_without_patterns(self) -> None:
        for model in ("anything", None):
            assert admit(tenant(), model=model)

    def test_some_by_patterns(self) -> None:
        some = tenant(models=("llama-*",))
        assert admit(some, model="llama-8b")
        assert refused(some, model="qwen").code == "model_not_found"
        assert some.inflight == 1
        assert some.spent_requests == 1

    def test_a_worker_s_own_choice_is_not_allowed_where_models_are_told(self) -> None:
        some = tenant(models=("llama-*",))
        assert refused(some, model=None).code == "model_required"
        assert some.admit(None, T0, runs=False)

    def test_a_model_that_nobody_serves_is_told_without_the_names_of_others(self) -> None:
        some = Tenant("acme", Terms(models=("llama-*",)), T0, lambda model: model == "llama-8b")
        assert admit(some, model="llama-8b")
        assert refused(some, model="llama-1b").code == "model_not_found"


class TestRequests:
    def test_so_many_a_minute(self) -> None:
        few = tenant(requests_per_minute=3)
        for _ in range(3):
            admit(few).release()
        error = refused(few)
        assert (error.status, error.kind, error.retry_after_s) == (429, "requests", 20)
        assert left(error) == {"limit-requests": 3, "remaining-requests": 0}
        assert admit(few, T0 + 20.001)
        assert few.limited == {"requests": 1}

    def test_who_is_refused_is_not_counted(self) -> None:
        few = tenant(requests_per_minute=1)
        admit(few)
        for _ in range(100):
            refused(few)
        assert few.spent_requests == 1
        assert few.inflight == 1


class TestInflight:
    def test_so_many_at_a_time(self) -> None:
        two = tenant(max_inflight=2)
        first, _ = admit(two), admit(two)
        error = refused(two)
        assert (error.status, error.retry_after_s, left(error)) == (429, 1, {})
        assert two.limited == {"inflight": 1}
        first.release()
        assert admit(two)
        refused(two)

    def test_a_ticket_is_released_once(self) -> None:
        one = tenant(max_inflight=1)
        ticket = admit(one)
        for _ in range(3):
            ticket.release()
        assert one.inflight == 0

    def test_those_at_other_routers_count(self) -> None:
        few = tenant(max_inflight=3)
        few.elsewhere = 2
        admit(few)
        refused(few)

    def test_at_least_one_where_there_are_more_routers_than_places(self) -> None:
        few = tenant(max_inflight=2)
        few.divide(1 / 5)
        admit(few)
        refused(few)


class TestTokens:
    def test_a_prompt_is_charged_when_it_comes(self) -> None:
        some = tenant(tokens_per_minute=1000)
        admit(some).charge(600.0, T0)
        ticket = admit(some)
        with pytest.raises(RouterError) as caught:
            ticket.charge(600.0, T0)
        assert (caught.value.kind, caught.value.retry_after_s) == ("tokens", 12)
        assert left(caught.value) == {"limit-tokens": 1000, "remaining-tokens": 400}
        assert "about 600" in caught.value.message
        assert (some.spent_tokens, some.spent_requests) == (600.0, 1), "the second never was"
        admit(some, T0 + 12.001).charge(600.0, T0 + 12.001)

    def test_in_the_end_what_it_was_in_truth(self) -> None:
        some = tenant(tokens_per_minute=1000)
        ticket = admit(some)
        ticket.charge(600.0, T0)
        ticket.settle(500, 100, T0)
        assert some.spent_tokens == 600.0
        assert (some.prompt_tokens, some.completion_tokens) == (500, 100)
        ticket = admit(some)
        ticket.charge(100.0, T0)
        ticket.settle(100, 2000, T0)
        assert some.tokens is not None
        assert some.tokens.level == pytest.approx(-1700)
        error = refused(some)
        assert (error.kind, error.retry_after_s) == ("tokens", 103)
        assert left(error)["remaining-tokens"] == 0

    def test_what_came_to_nothing_is_given_back(self) -> None:
        some = tenant(tokens_per_minute=1000)
        ticket = admit(some)
        ticket.charge(600.0, T0)
        ticket.release()
        ticket.settle(0, 0, T0)
        assert some.spent_tokens == 0.0
        admit(some).charge(1000.0, T0)

    def test_a_prompt_larger_than_the_quota_needs_all_of_it(self) -> None:
        some = tenant(tokens_per_minute=1000)
        admit(some).charge(5000.0, T0)
        assert refused(some).retry_after_s == 241

    def test_without_a_quota_they_are_counted_all_the_same(self) -> None:
        free = tenant()
        ticket = admit(free)
        ticket.charge(1e9, T0)
        ticket.settle(7, 3, T0)
        assert (free.prompt_tokens, free.completion_tokens) == (7, 3)


class TestOthers:
    def test_what_they_give_out_is_missing_here(self) -> None:
        some = tenant(requests_per_minute=10, tokens_per_minute=1000)
        some.spent_elsewhere(9, 999, T0)
        admit(some).charge(1.0, T0)
        refused(some)
        assert (some.spent_requests, some.spent_tokens) == (1, 1.0), "not of this one's own"

    def test_it_may_be_more_than_there_is(self) -> None:
        some = tenant(requests_per_minute=10)
        some.spent_elsewhere(20, 0, T0)
        assert refused(some).retry_after_s == 66

    def test_alone_it_gives_out_its_part(self) -> None:
        some = tenant(requests_per_minute=60)
        some.divide(0.5)
        for _ in range(30):
            admit(some)
        assert refused(some).retry_after_s == 2
        some.divide(1.0)
        refused(some)
        assert admit(some, T0 + 1.001)


class TestNewTerms:
    def test_what_was_spent_stays_spent(self) -> None:
        some = tenant(requests_per_minute=10)
        for _ in range(10):
            admit(some)
        some.agree(Terms(requests_per_minute=20, max_inflight=10), T0)
        assert refused(some).kind == "requests"
        assert some.inflight == 10

    def test_a_quota_may_come_and_go(self) -> None:
        some = tenant()
        some.agree(Terms(tokens_per_minute=10), T0)
        admit(some).charge(10, T0)
        refused(some)
        some.agree(Terms(), T0)
        admit(some)

    def test_a_new_quota_is_divided_like_others(self) -> None:
        some = tenant()
        some.divide(0.5)
        some.agree(Terms(tokens_per_minute=10), T0)
        assert some.tokens is not None
        assert some.tokens.refill(T0) == 5.0


def test_it_is_named_and_nothing_else() -> None:
    assert repr(tenant(keys=frozenset([b"x" * 32]))) == "<Tenant acme>"


def test_by_chance_whatever_happens_the_books_are_right() -> None:
    """Requests that come, end, fail and are refused in any order, against a naive count."""
    dice = random.Random(5)
    some = tenant(requests_per_minute=300, tokens_per_minute=30_000, max_inflight=20)
    running: list[tuple[Ticket, float]] = []
    now, requests, tokens, charged = T0, 0, 0.0, 0.0
    for _ in range(5000):
        now += dice.expovariate(8.0)
        try:
            ticket = admit(some, now)
            size = dice.uniform(1, 400)
            try:
                ticket.charge(size, now)
            except RouterError:
                ticket.release()
                ticket.settle(0, 0, now)
            else:
                requests += 1
                charged += size
                running.append((ticket, size))
        except RouterError:
            pass
        while running and dice.random() < 0.3:
            ticket, size = running.pop(dice.randrange(len(running)))
            prompt, answer = dice.choice([(0, 0), (round(size), 50), (round(size), 0)])
            ticket.release()
            ticket.settle(prompt, answer, now)
            tokens += prompt + answer
            charged -= size
        assert some.inflight == len(running) <= 20
        assert some.spent_requests == requests <= 300 + (now - T0) * 5 + 1
        assert some.spent_tokens == pytest.approx(tokens + charged)
    assert sum(some.limited.values()) > 100
