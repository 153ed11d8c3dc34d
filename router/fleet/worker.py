"""One worker of the fleet."""

from router.engines.base import WorkerReport
from router.fleet.load import Load
from router.ids import WorkerId
from router.upstream.pool import Address, Pool


class Worker:
    """A vLLM server. Health and report are written by `fleet.health`, the load by leases."""

    __slots__ = (
        "authority",
        "failures",
        "id",
        "last_error",
        "load",
        "order",
        "pool",
        "report",
        "up",
        "url",
        "wire_id",
    )

    def __init__(self, url: str, pool: Pool, order: int) -> None:
        self.id = worker_id(pool.address)
        self.wire_id = self.id.encode("ascii")
        self.authority = pool.address.authority.encode("ascii")
        self.url = url
        self.pool = pool
        self.order = order
        self.load = Load()
        self.report = WorkerReport()
        self.up = False
        self.failures = 0
        self.last_error: str | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.id} {'up' if self.up else 'down'}, {self.load.inflight} in flight>"

    @property
    def models(self) -> list[str]:
        """Ids of the models it serves, LoRA adapters too."""
        return list(self.report.models)


def worker_id(address: Address) -> WorkerId:
    """How a worker is called in headers, logs and metrics."""
    return WorkerId(address.authority + address.prefix.decode("ascii"))
