"""Algorithms that let requests wait in the router until workers are less busy."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from router.errors import RouterError, queue_full
from router.fleet.load import Load
from router.fleet.worker import Worker
from router.routing.chooser import Chooser
from router.routing.lane import Line, Ticket
from router.routing.options import QueueOptions
from router.routing.peers.common import uncached
from router.routing.peers.scored import dynamo, llmd, waiting
from router.routing.policies import Tools
from router.routing.policy import (
    QUEUE_FULL,
    Choice,
    Decision,
    Policy,
    Preview,
    Question,
    Waiter,
)
from router.routing.preview import possible
from router.routing.waiting import Waiting

_LLMD_QUEUE, _LLMD_KV = 5.0, 0.8
_RETRY_AFTER_S = 1


class Rule(msgspec.Struct, frozen=True):
    """`policy` chooses; `is_open` says of the workers whether anything may be sent to them now; the lowest `key`
    goes first.
    """

    policy: Policy
    is_open: Callable[[Sequence[Worker], float, QueueOptions], bool]
    key: Callable[[Question], float]


def dynamo_fcfs(tools: Tools) -> Rule:
    """NVIDIA Dynamo's router queue: requests wait while every worker has more prefill than one step takes.

    That is more uncached tokens waiting than `room_tokens` (max_num_batched_tokens); a threshold of 1.0, as
    Dynamo has none by default. First come, first served.
    """
    return Rule(dynamo(tools), _any_idle, _arrival)


def dynamo_wspt(tools: Tools) -> Rule:
    """Dynamo's router queue in the order of the fewest uncached tokens, as they were on arrival."""
    return Rule(dynamo(tools), _any_idle, _fewest_tokens)


def llmd_fc(tools: Tools) -> Rule:
    """llm-d with flow control: requests wait, first come first served, while the pool is saturated.

    A worker's saturation is the larger of queue / 5 and KV usage / 0.8 by its last metrics, the queue with what
    was sent since (their correction for the age of metrics). The pool's is the mean; at 1 requests wait. Workers
    beyond 1 are not chosen while there are others. One priority and one flow.
    """
    choose = llmd(tools)

    def choose_fit(q: Question) -> Choice:
        fit = [worker for worker in q.candidates if _saturation(worker.load) <= 1.0]
        return choose(replace(q, candidates=fit or q.candidates))

    return Rule(choose_fit, _unsaturated, _arrival)


def _any_idle(workers: Sequence[Worker], now: float, options: QueueOptions) -> bool:
    return any(worker.load.pending_tokens(now) <= options.room_tokens for worker in workers)


def _unsaturated(workers: Sequence[Worker], now: float, options: QueueOptions) -> bool:
    del now, options
    return sum(_saturation(worker.load) for worker in workers) < len(workers)


def _saturation(load: Load) -> float:
    queue = waiting(load)
    if load.reported_running is not None:
        queue = max(queue, load.inflight - load.reported_running)
    return max(queue / _LLMD_QUEUE, (load.kv_usage or 0.0) / _LLMD_KV)


def _arrival(q: Question) -> float:
    return q.arrived_at


def _fewest_tokens(q: Question) -> float:
    return min(uncached(q))


class Gate(Waiting):
    """Holds requests back while a rule says so (`policy.Admission`): one queue a model.

    `candidates` gives the workers that can serve a model.
    """

    def __init__(
        self,
        name: str,
        rule: Rule,
        chooser: Chooser,
        candidates: Callable[[str | None], Sequence[Worker]],
        options: QueueOptions | None = None,
    ) -> None:
        super().__init__(options)
        self.name = name
        self._rule = rule
        self._chooser = chooser
        self._candidates = candidates
        self._lines: dict[str | None, Line] = {}

    def offer(self, question: Question) -> Decision | None:
        """At once while nobody waits for this model and the rule allows it."""
        if question.request.model in self._lines:
            return None
        if not self._rule.is_open(question.candidates, question.now, self.options):
            return None
        return self._decide(question)

    def preview(self, question: Question) -> Preview:
        """What `offer` would say."""
        waits = ""
        if question.request.model in self._lines:
            waits = "others_wait"
        elif not self._rule.is_open(question.candidates, question.now, self.options):
            waits = "saturated"
        if waits and len(self._tickets) >= self.options.limit:
            waits = QUEUE_FULL
        return Preview(possible(self._rule.policy, question), waits)

    def wait(self, question: Question, waiter: Waiter) -> None:
        """Take a place in the queue; it may be this one's turn at once."""
        if len(self._tickets) >= self.options.limit:
            raise queue_full(self.options.limit, self._retry_after())
        ticket = Ticket(question, waiter, self._number)
        ticket.rank(self._rule.key(question))
        self._number += 1
        self._lines.setdefault(question.request.model, Line()).add(ticket)
        self._tickets[waiter] = ticket
        self.drain(question.now)

    def withdraw(self, waiter: Waiter) -> None:
        """It waits no longer."""
        ticket = self._tickets.pop(waiter, None)
        if ticket is not None:
            ticket.line.remove(ticket)
            if not ticket.line:
                del self._lines[ticket.question.request.model]

    def _drain_all(self, now: float) -> None:
        for model, line in list(self._lines.items()):
            self._drain_line(model, line, now)

    def _drain_line(self, model: str | None, line: Line, now: float) -> None:
        while line:
            ticket = line.first(1)[0]
            try:
                workers = self._candidates(model)
            except RouterError as error:
                self._turn_away(ticket, error)
                continue
            left = [worker for worker in workers if worker not in ticket.question.tried] or workers
            if not self._rule.is_open(left, now, self.options):
                return
            self._send(ticket, left, now)

    def _send(self, ticket: Ticket, workers: Sequence[Worker], now: float) -> None:
        self.withdraw(ticket.waiter)
        question = ticket.question
        question.candidates, question.now = workers, now
        question.overlaps = self._chooser.look_up(question.identity)
        self.on_leave(now - question.arrived_at)
        ticket.waiter.go(self._decide(question))

    def _decide(self, question: Question) -> Decision:
        return self._chooser.expect(self.name, self._rule.policy(question), question)

    def _retry_after(self) -> int:
        return _RETRY_AFTER_S
