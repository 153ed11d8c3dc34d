"""Workers that DNS knows, by their addresses and by SRV records, asked of a name server and of the host's resolver."""

import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from router.discovery.asking import asker
from router.discovery.dns import DnsWorkers, Pace
from router.discovery.system_resolver import SystemResolver
from router.fleet.target import Target
from tests.conformance.source_suite import ChangingSourceSuite, Scene, ends_wherever_it_is, until
from tests.fakes.dns_server import DnsServer, dns_server

NAME = "vllm.test"
PACE = Pace(deadline_s=20.0, soonest_s=0.0)
INTERVAL_S = 0.002


def address(number: int) -> str:
    return f"10.0.{number // 256}.{number % 256}"


class AddressScene:
    """A record for each worker's address."""

    kind = "A"
    url = f"http://{NAME}:8000/base"

    def __init__(self, server: DnsServer, fault: str) -> None:
        self.source = DnsWorkers(self.url, INTERVAL_S, nameservers=[server.address], pace=PACE)
        self._server = server
        self._fault = fault
        self._have((1, 2))

    def target(self, number: int) -> Target:
        return Target(url=f"http://{address(number)}:8000/base")

    def record(self, number: int) -> str:
        return address(number)

    async def change(self, numbers: Sequence[int]) -> None:
        self._have(numbers)

    async def break_(self) -> None:
        self._server.fault = self._fault

    async def mend(self) -> None:
        self._server.fault = None

    async def looked(self) -> None:
        await self._server.more_questions(4)

    def _have(self, numbers: Sequence[int]) -> None:
        self._server.records[NAME, self.kind] = [self.record(number) for number in numbers]


class ServiceScene(AddressScene):
    """An SRV record for each worker's name and port."""

    kind = "SRV"
    url = f"srv://{NAME}/base"

    def target(self, number: int) -> Target:
        return Target(url=f"http://w{number}.test:{8000 + number}/base")

    def record(self, number: int) -> str:
        return f"0 {number % 3} {8000 + number} W{number}.test."


class HostScene:
    """The host's resolver, which here knows what it is told."""

    def __init__(self) -> None:
        self._numbers: Sequence[int] = (1, 2)
        self._broken = False
        self._asked = 0
        ask = asker(f"http://{NAME}:8000", "ipv4", (), SystemResolver(self._getaddrinfo))
        self.source = DnsWorkers(f"http://{NAME}:8000", INTERVAL_S, pace=PACE, ask=ask)

    def target(self, number: int) -> Target:
        return Target(url=f"http://{address(number)}:8000")

    async def change(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers

    async def break_(self) -> None:
        self._broken = True

    async def mend(self) -> None:
        self._broken = False

    async def looked(self) -> None:
        goal = self._asked + 4
        await until(lambda: self._asked >= goal)

    def _getaddrinfo(self, host: str, *asked: Any) -> list[Any]:
        self._asked += 1
        if self._broken:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if not self._numbers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(2, 1, 6, "", (address(number), 0)) for number in self._numbers]


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server() as server:
        yield server


class TestAddresses(ChangingSourceSuite):
    """A records of a name server."""

    @pytest.fixture(params=["SERVFAIL", "NOTIMP"])
    def scene(self, server: DnsServer, request: pytest.FixtureRequest) -> Scene:
        return AddressScene(server, request.param)

    async def test_it_ends_at_once_while_nobody_answers(self, server: DnsServer) -> None:
        scene = AddressScene(server, "silent")
        await scene.break_()
        await ends_wherever_it_is(scene.source)

    async def test_it_ends_at_once_while_it_asks_anew_over_tcp(self, server: DnsServer) -> None:
        scene = AddressScene(server, "")
        await scene.change(range(1, 100))
        await ends_wherever_it_is(scene.source)


class TestServices(ChangingSourceSuite):
    """SRV records."""

    @pytest.fixture(params=["REFUSED"])
    def scene(self, server: DnsServer, request: pytest.FixtureRequest) -> Scene:
        return ServiceScene(server, request.param)


class TestHost(ChangingSourceSuite):
    """Addresses as the host's resolver has them."""

    @pytest.fixture
    def scene(self) -> Scene:
        return HostScene()
