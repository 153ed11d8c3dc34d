"""A workload, a fleet of simulated engines, and the routers' own brains between them, in virtual time."""

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from time import process_time
from typing import Any

from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.routing.policy import Decision, Question
from router.simulate.brain import MODEL, BrainOptions
from router.simulate.engine import Engine
from router.simulate.flight import Caller, Flight
from router.simulate.hardware import NETWORK_S
from router.simulate.job import Job
from router.simulate.records import Record, Result
from router.simulate.replicas import Replicas
from router.simulate.run_options import Outage, RunOptions
from router.simulate.workload import Workload

LARGEST = 0.9
"""Share of the KV cache that a request may need; larger ones are left out."""

_SETTLE_S = 0.2
"""How long after its first token a prompt's blocks may take to be reported, beyond the events' delay."""


class Run:
    """One simulation. `go` returns what came of it."""

    def __init__(self, workload: Workload, options: RunOptions, brain: BrainOptions) -> None:
        self._workload = workload
        self._options = options
        self._block = workload.block_tokens
        self.replicas = Replicas(options, brain, self._at)
        self.brain = self.replicas.brains[0]
        self._engines = [
            Engine(
                options.hardware,
                self._block,
                speed=options.speeds.get(number, 1.0),
                record_changes=self.brain.union is not None,
            )
            for number in range(options.workers)
        ]
        self._numbers = {worker.id: number for number, worker in enumerate(self.brain.workers)}
        self._wakes = [inf] * options.workers
        self._flights: dict[Job, Flight] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._open = 0
        self._now = 0.0
        self._waited_s = 0.0
        self._ticking = False
        self._looking: set[int] = set()
        self._ended_at = 0.0
        self.result = Result(brain.policy, workload.name, options.load, options.hardware)
        self._limit = LARGEST * options.hardware.kv_tokens
        self._events_known = brain.knowledge in ("both", "events")

    def go(self) -> Result:
        """Run to the end."""
        started = process_time()
        for session in self._workload.sessions:
            self._at(session.start_s / self._options.speed, self._start, Caller(session))
        for outage in self._options.outages:
            self._at(outage.start_s, self._fail, outage)
            self._at(outage.end_s, self._recover, outage)
        heap, patience_s = self._heap, self._options.patience_s
        while heap and self._waited_s <= patience_s:
            self._now, _, action, arguments = heappop(heap)
            action(*arguments)
        self.result.seconds = process_time() - started
        return self.result

    def _at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heappush(self._heap, (when, self._number, action, arguments))

    # -- clients -------------------------------------------------------------------------------

    def _start(self, caller: Caller) -> None:
        """The caller's next step begins."""
        session = caller.session
        if caller.step >= len(session.steps):
            return
        calls = session.steps[caller.step].calls
        fitting = [c for c in calls if c.prompt_tokens + c.output_tokens <= self._limit]
        self.result.dropped += len(calls) - len(fitting)
        caller.left = len(fitting)
        if not fitting:
            self.result.dropped += sum(len(s.calls) for s in session.steps[caller.step + 1 :])
            caller.step = len(session.steps)
        for call in fitting:
            router = self.replicas.pick()
            self._arrive(Flight(self.send, caller, call, self._now, self._block, router))

    def _arrive(self, flight: Flight) -> None:
        if not self._ticking:
            self._ticking = True
            self._at(self._now + self._options.metrics_s, self._tick)
        for when, router in self.replicas.looks(self._now, self._looking):
            self._looking.add(router)
            self._at(when, self._look, router)
        self._open += 1
        self._route(flight)

    def _route(self, flight: Flight) -> None:
        brain, now = self.replicas.brains[flight.router], self._now
        flight.identity = self.replicas.known(flight.router, flight.identity, now)
        question = Question(
            flight,
            flight.identity,
            brain.fleet.candidates(MODEL),
            brain.chooser.look_up(flight.identity),
            now,
            flight.arrived_at,
            flight.caller.session.tenant,
        )
        decision = brain.admission.offer(question)
        if decision is None:
            brain.admission.wait(question, flight)
        else:
            self.send(flight, decision)

    def send(self, flight: Flight, decision: Decision) -> None:
        """As the gateway does: lease, tell the index, send."""
        call = flight.call
        prefill = PendingPrefill(
            decision.prefill_s, decision.uncached_tokens, flight.identity.tokens, streams=True
        )
        flight.decision = decision
        flight.sent_at = self._now
        flight.lease = Lease(decision.worker, prefill, self._now)
        number = self._numbers[decision.worker.id]
        self.replicas.sent(flight.router, number, flight.identity, self._now)
        job = flight.job = Job(
            call.prompt_tokens, call.output_tokens, call.blocks, call.answer_blocks
        )
        self._flights[job] = flight
        self._at(self._now + NETWORK_S, self._submit, number, job)

    # -- workers -------------------------------------------------------------------------------

    def _submit(self, number: int, job: Job) -> None:
        if job not in self._flights:
            return
        self._collect(number)
        self._engines[number].submit(job, self._now)
        self._wake(number)

    def _wake(self, number: int) -> None:
        """Look at the engine again when something may have happened."""
        when = self._engines[number].next_time
        if when < self._wakes[number] or self._wakes[number] <= self._now:
            self._wakes[number] = when
            if when < inf:
                self._at(when, self._awake, number, when)

    def _awake(self, number: int, when: float) -> None:
        if self._wakes[number] == when:
            self._collect(number)
            self._wake(number)

    def _collect(self, number: int) -> None:
        for when, job, first in self._engines[number].advance(self._now):
            self._at(when + NETWORK_S, self._first if first else self._end, job)

    # -- answers -------------------------------------------------------------------------------

    def _first(self, job: Job) -> None:
        flight = self._flights.get(job)
        if flight is None:
            return
        brain, now, decision = self.replicas.brains[flight.router], self._now, flight.decision
        flight.first_at = now
        flight.lease.first_token(now)
        brain.rates.learn(
            decision.worker.id, decision.ttft_s / decision.scale, now - flight.sent_at
        )
        if brain.union is not None:
            settled = now + _SETTLE_S + self._options.events_s
            self._at(settled, brain.union.settled, decision.worker.id, flight.identity)
        elif brain.predicted is not None:
            brain.predicted.audit(
                decision.worker.id, flight.identity, decision.cached_tokens, job.cached_tokens
            )
        brain.admission.drain(now)

    def _end(self, job: Job) -> None:
        flight = self._flights.pop(job, None)
        if flight is None:
            return
        brain, now, call = self.replicas.brains[flight.router], self._now, flight.call
        flight.lease.release(now)
        flight.decision.worker.load.spent += call.output_tokens
        brain.cost.answered(call.output_tokens)
        if brain.predicted is not None:
            brain.predicted.answered(
                flight.decision.worker.id, flight.identity, call.prompt_tokens, call.output_tokens
            )
        self._record(flight, job)
        self._open -= 1
        self._ended_at = now
        caller = flight.caller
        caller.left -= 1
        if not caller.left:
            caller.step += 1
            if caller.step < len(caller.session.steps):
                self._at(now + caller.session.steps[caller.step].think_s, self._start, caller)
        brain.admission.drain(now)

    def _record(self, flight: Flight, job: Job) -> None:
        call = flight.call
        self._waited_s += flight.first_at - flight.arrived_at
        self.result.records.append(
            Record(
                arrived_at=flight.arrived_at,
                tenant=flight.caller.session.tenant,
                worker=self._numbers[flight.decision.worker.id],
                prompt_tokens=call.prompt_tokens,
                cached_tokens=job.cached_tokens,
                ttft_s=flight.first_at - flight.arrived_at,
                tpot_s=(self._now - flight.first_at) / max(1, call.output_tokens - 1),
                duration_s=self._now - flight.arrived_at,
                queued_s=flight.sent_at - flight.arrived_at,
            )
        )

    # -- what routers are told -----------------------------------------------------------------

    def _look(self, router: int) -> None:
        """A router looks around, for as long as there is something to see."""
        again = self.replicas.look(router, self._now)
        if self._open or self._now <= self._ended_at + self.replicas.settle_s:
            self._at(again, self._look, router)
        else:
            self._looking.discard(router)

    def _tick(self) -> None:
        """Metrics are scraped, events come in, time passes for what is learned."""
        for number, engine in enumerate(self._engines):
            self._collect(number)
            self.replicas.measured(number, engine, self._now)
            if engine.changes:
                if self._events_known:
                    told_at = self._now + self._options.events_s
                    self._at(told_at, self._tell, number, list(engine.changes))
                engine.changes.clear()
        self.replicas.pass_time(self._options.metrics_s, self._now)
        if self._open:
            self._at(self._now + self._options.metrics_s, self._tick)
        else:
            self._ticking = False

    def _tell(self, number: int, changes: list[tuple[float, int, bool]]) -> None:
        if self.brain.workers[number].up:
            self.replicas.told(number, changes, self._now)

    # -- faults --------------------------------------------------------------------------------

    def _fail(self, outage: Outage) -> None:
        """The worker dies: what it had is asked of others."""
        worker = self.brain.workers[outage.worker]
        self._collect(outage.worker)
        lost = [
            flight for flight in self._flights.values() if flight.decision.worker.id == worker.id
        ]
        self._engines[outage.worker].crash(self._now)
        self._engines[outage.worker].changes.clear()
        self.replicas.fell(outage.worker)
        for flight in lost:
            assert flight.job is not None
            del self._flights[flight.job]
            flight.lease.release(self._now)
            self._route(flight)

    def _recover(self, outage: Outage) -> None:
        self.replicas.rose(outage.worker, self._now)
