"""A tenant and what it has spent. All by one clock, `perf_counter` seconds; nothing here waits."""

from collections import Counter
from collections.abc import Callable

from router.access.bucket import Bucket
from router.access.refusals import model_needed, model_not_allowed, rate_limited
from router.access.terms import Terms
from router.errors import RouterError
from router.ids import Headers

_SLOT_WAIT_S = 1.0
"""Nobody knows when a request ends."""


class Tenant:
    """`terms` may change, what is spent stays. `spent_requests` and `spent_tokens`: ever, here; `inflight`: here, and
    `elsewhere` at other routers. `outcomes`, `limited`, `prompt_tokens`, `completion_tokens`: for metrics. `served`:
    whether somebody may serve a model.
    """

    __slots__ = (
        "_places",
        "_served",
        "_share",
        "completion_tokens",
        "elsewhere",
        "inflight",
        "limited",
        "name",
        "outcomes",
        "prompt_tokens",
        "requests",
        "spent_requests",
        "spent_tokens",
        "terms",
        "tokens",
    )

    def __init__(
        self, name: str, terms: Terms, now: float, served: Callable[[str], bool] = bool
    ) -> None:
        self.name = name
        self._served = served
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.inflight = self.elsewhere = 0
        self.spent_requests = self.spent_tokens = 0.0
        self.prompt_tokens = self.completion_tokens = 0
        self.outcomes: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self._share = 1.0
        self.agree(terms, now)

    def __repr__(self) -> str:
        return f"<Tenant {self.name}>"

    def agree(self, terms: Terms, now: float) -> None:
        """New terms."""
        self.terms = terms
        self.requests = _bucket(self.requests, terms.requests_per_minute, now)
        self.tokens = _bucket(self.tokens, terms.tokens_per_minute, now)
        self.divide(self._share)

    def divide(self, share: float) -> None:
        """This router may give out this part of the quotas. 1.0: all of them; what others spend is told to it."""
        self._share = share
        self._places = self.terms.max_inflight
        if self._places is not None:
            self._places = max(1, int(self._places * share))
        for bucket in (self.requests, self.tokens):
            if bucket is not None:
                bucket.divide(share)

    # -- requests ------------------------------------------------------------------------------

    def admit(self, model: str | None, now: float, *, runs: bool) -> "Ticket":
        """Let in a request that names this model. `runs`: a worker would take one of its own if it names none. Raises a
        `RouterError` when the tenant may not, or not now.
        """
        if self.terms.models:
            self._check_model(model, runs=runs)
        return self._enter(now)

    def _check_model(self, model: str | None, *, runs: bool) -> None:
        if model is None:
            if runs:
                raise model_needed()
        elif not self.terms.allows(model):
            raise model_not_allowed(model)
        elif not self._served(model):
            raise model_not_allowed(model)  # the usual answer would name all there are

    def _enter(self, now: float) -> "Ticket":
        if self._places is not None and self.inflight + self.elsewhere >= self._places:
            what = f"{self.terms.max_inflight} requests at a time"
            raise self._refusal("inflight", "requests", what, now)
        requests, tokens = self.requests, self.tokens
        if (
            requests is not None
            and requests.refill(now) < 1.0
            and (wait := requests.wait_s(1, now))
        ):
            what = f"{requests.limit} requests per minute"
            raise self._refusal("requests", "requests", what, now, wait)
        if tokens is not None and tokens.refill(now) < 1.0 and (wait := tokens.wait_s(1, now)):
            what = f"{tokens.limit} tokens per minute"
            raise self._refusal("tokens", "tokens", what, now, wait)
        self.inflight += 1
        self.spent_requests += 1.0
        if requests is not None:
            requests.level -= 1.0
        return Ticket(self)

    def turn_away(self, tokens: float, wait_s: float, now: float) -> RouterError:
        """What to say to a request with so many; it does not count, although it was let in."""
        assert self.tokens is not None
        self.spent_requests -= 1.0
        if self.requests is not None:
            self.requests.take(-1.0, now)
        what = f"{self.tokens.limit} tokens per minute, and the request has about {tokens:.0f}"
        return self._refusal("tokens", "tokens", what, now, wait_s)

    def _refusal(
        self, limit: str, kind: str, what: str, now: float, wait_s: float = _SLOT_WAIT_S
    ) -> RouterError:
        self.limited[limit] += 1
        return rate_limited(kind, what, wait_s, self._left(now))

    def _left(self, now: float) -> Headers:
        fields: Headers = []
        for name, bucket in ((b"requests", self.requests), (b"tokens", self.tokens)):
            if bucket is not None:
                left = max(0, int(bucket.refill(now)))
                fields.append((b"x-ratelimit-limit-" + name, b"%d" % bucket.limit))
                fields.append((b"x-ratelimit-remaining-" + name, b"%d" % left))
        return fields

    # -- what is spent -------------------------------------------------------------------------

    def spend_tokens(self, number: float, now: float) -> None:
        """So many more; less than 0: they were not needed."""
        self.spent_tokens += number
        if self.tokens is not None:
            self.tokens.take(number, now)

    def spent_elsewhere(self, requests: float, tokens: float, now: float) -> None:
        """Other routers have given out so much more."""
        for bucket, number in ((self.requests, requests), (self.tokens, tokens)):
            if bucket is not None and number:
                bucket.take(number, now)


class Ticket:
    """A request's claim on its tenant's quotas. `charged`: tokens that were taken for it."""

    __slots__ = ("_inside", "charged", "tenant")

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.charged = 0.0
        self._inside = True

    def charge(self, tokens: float, now: float) -> None:
        """The prompt has about so many. Raises a `RouterError` when they are too many now; then the request does not
        count either.
        """
        tenant = self.tenant
        bucket = tenant.tokens
        if bucket is not None:
            if bucket.refill(now) < tokens and (wait_s := bucket.wait_s(tokens, now)):
                raise tenant.turn_away(tokens, wait_s, now)
            bucket.level -= tokens
        self.charged = tokens
        tenant.spent_tokens += tokens

    def settle(self, prompt_tokens: int, completion_tokens: int, now: float) -> None:
        """So many it was in truth; to be called once, at the end."""
        tenant, number = self.tenant, prompt_tokens + completion_tokens
        tenant.spend_tokens(number - self.charged, now)
        self.charged = number
        tenant.prompt_tokens += prompt_tokens
        tenant.completion_tokens += completion_tokens

    def release(self) -> None:
        """The request has ended. Calling again does nothing."""
        if self._inside:
            self._inside = False
            self.tenant.inflight -= 1


def _bucket(known: Bucket | None, limit: int | None, now: float) -> Bucket | None:
    if limit is None:
        return None
    if known is None:
        return Bucket(limit, now)
    known.resize(limit)
    return known
