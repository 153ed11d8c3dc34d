"""Why a request would go where: the figures that decide, for each worker. Nothing is sent and nothing changes."""

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter
from typing import Literal

import msgspec

from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import Headers, Tier
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.request import Incoming, Request
from router.routing.chooser import Chooser
from router.routing.dispatch import Dispatch
from router.routing.intake import HOME, PINNED, Intake
from router.routing.policy import QUEUE_FULL, Choice, Decision, Preview, Question
from router.routing.pricing import Prices

Identify = Callable[[Request, Identity, Sequence[Worker]], Awaitable[Identity]]
"""Finds out the prompt's tokens for these candidates; gives the identity back as it was where they do not count."""

Outcome = Literal["sent", "waits", "turned_away"]


class Prompt(msgspec.Struct, frozen=True):
    """A prompt's size, and what caches are looked up `by`: blocks of `text`, whose tokens are predicted, or of `tokens`."""

    tokens: int
    blocks: int
    by: Literal["text", "tokens"]


class Prospect(msgspec.Struct, frozen=True):
    """What is to be expected of one worker that can serve the request.

    `blocks` of the prompt are known to be there, which stand for `covered_tokens`; `cached_tokens` will be found,
    `loaded_tokens` of them in a lower `tier`, and `uncached_tokens` computed. `foreign`: requests there that are not ours. `room`: it is sent more now, None
    where the policy does not look; `lacks` says why not. `scale`: its seconds for one of the cost model's, learned.
    The time to first token, were it sent now, is the sum of the three after it. `cost_ms` is what decides under
    `prefix` and `prefix_direct`: that time and what the request does to others.
    """

    id: str
    up: bool
    chosen: bool
    reason: str
    blocks: int
    covered_tokens: int
    cached_tokens: int
    loaded_tokens: int
    tier: Tier
    uncached_tokens: int
    inflight: int
    foreign: int
    pending_prefill_tokens: int
    kv_cache_usage: float | None
    room: bool | None
    lacks: str
    scale: float
    predicted_ttft_ms: float
    waiting_ms: float
    prefill_ms: float
    step_ms: float
    cost_ms: float


class Excluded(msgspec.Struct, frozen=True):
    """A worker that cannot be chosen. `why`: it is in another state than `up`, the `model_not_served` there, it only stands
    in for others (`fallback`), the request names an `other_rank`, or it goes to one that it names (`pinned_elsewhere`) or
    that stores what it refers to (`stored_elsewhere`).
    """

    id: str
    why: str


class Explanation(msgspec.Struct, frozen=True):
    """What would become of a request now.

    `worker`: where it goes, or what it waits for; None when a lot decides between those in `equal`. `waits`: why
    it does not go at once. `queue_depth`: how many wait, for any model. `workers`: the chosen first, then by cost.
    """

    policy: str
    endpoint: str
    model: str | None
    prompt: Prompt
    outcome: Outcome
    worker: str | None
    equal: list[str]
    reason: str
    waits: str
    queue_depth: int
    workers: list[Prospect]
    excluded: list[Excluded]


class Explainer:
    """Explains requests by what decides about them. `identify` finds out a prompt's tokens, where they count; `lots`
    is what ties are drawn with: it is left as it was.
    """

    def __init__(
        self,
        fleet: Fleet,
        intake: Intake,
        identify: Identify,
        dispatch: Dispatch,
        chooser: Chooser,
        lots: random.Random,
    ) -> None:
        self._fleet = fleet
        self._intake = intake
        self._identify = identify
        self._dispatch = dispatch
        self._chooser = chooser
        self._lots = lots

    async def explain(self, incoming: Incoming) -> Explanation:
        """What would become of the request; raises the `RouterError` that it would be answered with."""
        request = Request(incoming)
        question, bound = self._intake.question(request, perf_counter())
        identity = await self._identify(request, question.identity, question.candidates)
        if identity is not question.identity:
            question.identity, question.overlaps = identity, self._intake.look_up(identity)
            question.now = perf_counter()
        preview = self._preview(question, bound, works=request.endpoint.works)
        names = [choice.worker.id for choice in preview.choices]
        return Explanation(
            policy=self._dispatch.policy,
            endpoint=request.endpoint.name,
            model=request.model,
            prompt=_prompt(question.identity),
            outcome=_outcome(preview.waits),
            worker=names[0] if len(names) == 1 else None,
            equal=sorted(names) if len(names) > 1 else [],
            reason=preview.choices[0].reason,
            waits=preview.waits,
            queue_depth=len(self._dispatch),
            workers=sorted(self._prospects(question, preview), key=_rank),
            excluded=list(_excluded(self._fleet, question, bound)),
        )

    def _preview(self, question: Question, bound: str, *, works: bool) -> Preview:
        before = self._lots.getstate()
        try:
            return self._dispatch.preview(question, bound=bound, works=works)
        finally:
            self._lots.setstate(before)

    def _prospects(self, question: Question, preview: Preview) -> Iterator[Prospect]:
        workers = question.candidates
        costs = preview.costs or self._costs(question)
        reasons = {choice.worker: choice.reason for choice in preview.choices}
        for place, (worker, cost) in enumerate(zip(workers, costs, strict=True)):
            choice = Choice(worker, reasons.get(worker, ""))
            expected = self._chooser.expect(self._dispatch.policy, choice, question)
            lacks = preview.lacks[place] if preview.lacks is not None else None
            yield _prospect(question, expected, worker in reasons, cost, lacks)

    def _costs(self, question: Question) -> Sequence[float]:
        workers = question.candidates
        places = {worker.id: place for place, worker in enumerate(workers)}
        prices = Prices(workers, places, self._chooser.cost, question.now)
        return prices.of(question.identity, question.overlaps)


def _prompt(identity: Identity) -> Prompt:
    by: Literal["text", "tokens"] = "tokens" if isinstance(identity, TokenIdentity) else "text"
    return Prompt(round(identity.tokens), len(identity.keys), by)


def _prospect(
    question: Question, expected: Decision, chosen: bool, cost_s: float, lacks: str | None
) -> Prospect:
    worker, load = expected.worker, expected.worker.load
    covered = question.identity.covered_tokens(expected.blocks) if expected.blocks else 0.0
    return Prospect(
        id=worker.id,
        up=worker.up,
        chosen=chosen,
        reason=expected.reason,
        blocks=expected.blocks,
        covered_tokens=round(covered),
        cached_tokens=round(expected.cached_tokens),
        loaded_tokens=round(expected.loaded_tokens),
        tier=expected.tier,
        uncached_tokens=round(expected.uncached_tokens),
        inflight=load.inflight,
        foreign=load.foreign,
        pending_prefill_tokens=round(load.pending_tokens(question.now)),
        kv_cache_usage=load.kv_usage,
        room=None if lacks is None else not lacks,
        lacks=lacks or "",
        scale=round(expected.scale, 3),
        predicted_ttft_ms=_ms(expected.ttft_s),
        waiting_ms=_ms(expected.waiting_s),
        prefill_ms=_ms(expected.prefill_s),
        step_ms=_ms(expected.ttft_s - expected.waiting_s - expected.prefill_s),
        cost_ms=_ms(cost_s),
    )


def _excluded(fleet: Fleet, question: Question, bound: str) -> Iterator[Excluded]:
    elsewhere = {PINNED: "pinned_elsewhere", HOME: "stored_elsewhere"}.get(bound)
    model, now = question.request.model, question.now
    for worker in fleet:
        if worker in question.candidates:
            continue
        if not worker.up:
            yield Excluded(worker.id, "down")
        elif elsewhere is not None:
            yield Excluded(worker.id, elsewhere)
        elif model is not None and model not in worker.report.models:
            yield Excluded(worker.id, "model_not_served")
        elif worker.target.service is not None:
            yield Excluded(worker.id, "fallback")
        else:
            state = worker.state(now)
            yield Excluded(worker.id, "other_rank" if state == "up" else state)


def _outcome(waits: str) -> Outcome:
    if waits == QUEUE_FULL:
        return "turned_away"
    return "waits" if waits else "sent"


def _rank(prospect: Prospect) -> tuple[bool, float]:
    return not prospect.chosen, prospect.cost_ms


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def told(decision: Decision, queued_s: float) -> Headers:
    """Header fields of an answer that say why it comes from where it does."""
    return [
        (b"x-router-policy", decision.policy.encode("ascii")),
        (b"x-router-reason", decision.reason.encode("ascii")),
        (b"x-router-cached-tokens", b"%d" % round(decision.cached_tokens)),
        (b"x-router-predicted-ttft-ms", b"%.1f" % (decision.ttft_s * 1e3)),
        (b"x-router-queue-ms", b"%.1f" % (queued_s * 1e3)),
    ]
