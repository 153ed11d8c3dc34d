"""Runs a source of workers before a scripted API server, and keeps what it tells."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from router.discovery.base import Source
from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.reflector import Pace
from router.fleet.target import Target
from tests.fakes.certificate import Certificate
from tests.fakes.kubernetes import TOKEN, KubernetesApi

QUICK = Pace(pause_s=0.02, longest_pause_s=0.1, settle_s=0.01)
"""Failures are soon tried again."""


def account_files(folder: Path, certificate: Certificate) -> Path:
    """What kubelet mounts for a pod's service account; the token's file."""
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "namespace").write_text("default")
    (folder / "ca.crt").write_bytes(certificate.cert.read_bytes())
    return folder / "token"


def account_of(api: KubernetesApi, token_file: Path) -> Account:
    """A pod's account at this server."""
    return Account.find(api.url, token_file=token_file, ca_file=token_file.with_name("ca.crt"))


class Table:
    """What a source told: `told` holds every set, the last one counts."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.told: list[Sequence[Target]] = []
        self._news = asyncio.Event()

    def tell(self, targets: Sequence[Target]) -> None:
        self.told.append(targets)
        self._news.set()

    @property
    def hosts(self) -> list[str]:
        """Hosts of the workers told last, those that are drained with a `-`."""
        last = self.told[-1] if self.told else ()
        hosts = (
            t.url.partition("://")[2].rpartition(":")[0] + "-" * (t.drained or t.leaving)
            for t in last
        )
        return sorted(hosts)

    async def is_(self, *hosts: str) -> None:
        """Wait until the workers are these."""
        try:
            async with asyncio.timeout(10):
                while not self.told or self.hosts != sorted(hosts):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.hosts}, not {hosts}; {self.source.problem}") from None

    async def until_problem(self, text: str) -> str:
        """Wait until it says that this is wrong; all that it says."""
        async with asyncio.timeout(10):
            while text not in (self.source.problem or ""):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert self.source.problem is not None
        return self.source.problem

    async def until_well(self) -> None:
        """Wait until nothing is wrong."""
        async with asyncio.timeout(10):
            while self.source.problem:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@asynccontextmanager
async def following(source: Source) -> AsyncIterator[Table]:
    """Run it."""
    table = Table(source)
    task = asyncio.ensure_future(source.run(table.tell))
    try:
        yield table
        assert not task.done(), "a source never ends"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
