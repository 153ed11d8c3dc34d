"""One routing target: a worker, or one data-parallel rank of it."""

from router.engines.base import Condition, WorkerReport
from router.fleet.budget import Budget
from router.fleet.circuit import Circuit, State
from router.fleet.load import Load
from router.fleet.target import Role, Target
from router.ids import WorkerId
from router.upstream.pool import Address, Pool


class Worker:
    """A vLLM server, or one of its ranks, each of which has a cache and a batch of its own. Health and report are
    written by `fleet.health`, the load by leases.

    `rank` None: the server has only one. Ranks share URL, pool, health and report; `process` is the id of the
    first. `target`: how it is described where it is known from. `up`: it answers health checks; `condition`: what it does
    with requests then; `circuit`: what its answers to requests say.
    """

    __slots__ = (
        "authority",
        "budget",
        "circuit",
        "condition",
        "failures",
        "id",
        "last_error",
        "load",
        "order",
        "pool",
        "process",
        "rank",
        "report",
        "target",
        "up",
        "wire_id",
    )

    def __init__(
        self,
        target: Target,
        pool: Pool,
        order: int,
        rank: int | None = None,
        circuit: Circuit | None = None,
    ) -> None:
        self.process = worker_id(pool.address)
        self.id = WorkerId(f"{self.process}#{rank}") if rank else self.process
        self.wire_id = self.id.encode("ascii")
        self.authority = pool.address.authority.encode("ascii")
        self.target = target
        self.pool = pool
        self.order = order
        self.rank = rank
        self.load = Load()
        self.report = WorkerReport()
        self.circuit = circuit or Circuit()
        self.budget = Budget()
        self.up = False
        self.condition = Condition.SERVING
        self.failures = 0
        self.last_error: str | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.id} {'up' if self.up else 'down'}, {self.load.inflight} in flight>"

    @property
    def serves(self) -> bool:
        """It takes requests, as far as it and its operators say."""
        return (
            self.up
            and self.condition is Condition.SERVING
            and self.employed
            and not self.target.leaving
        )

    @property
    def employed(self) -> bool:
        """It is for whole requests, and nobody took it out of use."""
        return not self.target.drained and self.target.role is not Role.PREFILL

    @property
    def leaving(self) -> bool:
        """It will be gone, as it says itself or whoever runs it."""
        return self.target.leaving or self.condition is Condition.DRAINING

    @property
    def url(self) -> str:
        """Its base URL."""
        return self.target.url

    def state(self, now: float) -> str:
        """One of `WORKER_STATES`, for people and metrics."""
        if not self.up:
            return Condition.ILL
        if self.target.service is not None and self.circuit.plain and not self.target.drained:
            return FALLBACK
        if self.target.drained or self.target.leaving:
            return Condition.DRAINING
        if self.condition is not Condition.SERVING:
            return self.condition
        return _CIRCUIT_STATES[self.circuit.state(now)]

    @property
    def models(self) -> list[str]:
        """Ids of the models it serves, LoRA adapters too."""
        return list(self.report.models)

    def beside(self, rank: int, order: int) -> "Worker":
        """Another rank of the same server."""
        other = Worker(self.target, self.pool, order, rank, self.circuit)
        other.up, other.failures, other.last_error = self.up, self.failures, self.last_error
        other.condition = self.condition
        return other


_CIRCUIT_STATES: dict[State, str] = {
    State.CLOSED: Condition.SERVING,
    State.OPEN: "ejected",
    State.PROBATION: "probation",
}
FALLBACK = "fallback"
"""The state of a service that stands in: it is no worker."""
WORKER_STATES = (*Condition, "ejected", "probation")


def worker_id(address: Address) -> WorkerId:
    """How a worker is called in headers, logs and metrics."""
    return WorkerId(address.authority + address.prefix.decode("ascii"))
