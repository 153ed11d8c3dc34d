"""Records, asked of a real name server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from dns.exception import Timeout
from dns.message import make_query
from dns.resolver import NoNameservers

from router.discovery.answers import NoAnswerError, NoRecordsError, Service
from router.discovery.records import Records, _words
from tests.fakes.dns_server import DnsServer, dns_server


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server() as server:
        yield server


@pytest.fixture
def records(server: DnsServer) -> Records:
    return Records([("127.0.0.1", server.port)])


async def test_addresses(server: DnsServer, records: Records) -> None:
    server.records["v.test", "A"] = ["10.0.0.2", "10.0.0.1"]
    server.ttl = 30
    assert await records.addresses("v.test", "auto") == (["10.0.0.1", "10.0.0.2"], 30.0)
    assert server.asked == ["udp A v.test"]


async def test_ipv4_goes_first(server: DnsServer, records: Records) -> None:
    server.records["v.test", "A"] = ["10.0.0.1"]
    server.records["v.test", "AAAA"] = ["fd00::1"]
    assert (await records.addresses("v.test", "auto"))[0] == ["10.0.0.1"]
    assert (await records.addresses("v.test", "ipv6"))[0] == ["fd00::1"]
    server.records["v.test", "A"] = []
    assert (await records.addresses("v.test", "auto"))[0] == ["fd00::1"]


async def test_services(server: DnsServer, records: Records) -> None:
    server.records["_h._tcp.v.test", "SRV"] = ["1 5 8000 A.v.test.", "0 0 0 ."]
    found, _ = await records.services("_h._tcp.v.test")
    assert sorted(found) == [Service(0, ".", 0), Service(1, "a.v.test", 8000)]


async def test_thousands_come_over_tcp(server: DnsServer, records: Records) -> None:
    server.records["v.test", "A"] = [f"10.1.{n // 250}.{n % 250}" for n in range(3000)]
    found, _ = await records.addresses("v.test", "auto")
    assert len(found) == 3000
    assert server.asked == ["udp A v.test", "tcp A v.test"]


async def test_the_shortest_time_of_a_chain_counts(server: DnsServer, records: Records) -> None:
    server.cnames["v.test"] = "w.test"
    server.records["w.test", "A"] = ["10.0.0.1"]
    server.ttl = 4
    assert await records.addresses("v.test", "auto") == (["10.0.0.1"], 4.0)


async def test_there_is_no_such_name(records: Records) -> None:
    with pytest.raises(NoRecordsError, match="there is no such name"):
        await records.addresses("v.test", "auto")


async def test_it_has_no_such_record(server: DnsServer, records: Records) -> None:
    server.records["v.test", "TXT"] = ["x"]
    with pytest.raises(NoRecordsError, match="it has no AAAA record"):
        await records.addresses("v.test", "auto")
    with pytest.raises(NoRecordsError, match="it has no SRV record"):
        await records.services("v.test")


@pytest.mark.parametrize("fault", ["SERVFAIL", "REFUSED", "NOTIMP"])
async def test_errors_are_no_answer(server: DnsServer, records: Records, fault: str) -> None:
    server.fault = fault
    with pytest.raises(NoAnswerError, match=fault):
        await records.addresses("v.test", "auto")


@pytest.mark.parametrize("fault", ["silent", "garbage"])
async def test_silence_is_the_callers_to_end(
    server: DnsServer, records: Records, fault: str
) -> None:
    server.fault = fault
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await records.addresses("v.test", "auto")


async def test_a_connection_that_ends_early_is_no_answer(
    server: DnsServer, records: Records
) -> None:
    server.records["v.test", "A"] = [f"10.1.0.{n}" for n in range(100)]
    server.closes = True
    with pytest.raises(NoAnswerError):
        await records.addresses("v.test", "auto")


async def test_another_server_is_asked(server: DnsServer) -> None:
    server.records["v.test", "A"] = ["10.0.0.1"]
    async with dns_server() as ill:
        ill.fault = "SERVFAIL"
        records = Records([("127.0.0.1", ill.port), ("127.0.0.1", server.port)])
        assert (await records.addresses("v.test", "auto"))[0] == ["10.0.0.1"]
        assert ill.asked == server.asked


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".test"])
async def test_what_is_no_name(records: Records, name: str) -> None:
    with pytest.raises(NoAnswerError):
        await records.services(name)


async def test_a_cancellation_that_comes_with_an_answer_is_heeded(
    server: DnsServer, records: Records
) -> None:
    """In whatever turn of the loop it comes."""
    server.records["v.test", "A"] = ["10.0.0.1"]
    for turns in range(40):
        task = asyncio.get_running_loop().create_task(records.addresses("v.test", "auto"))
        for _ in range(turns):
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel()
        await asyncio.wait({task}, timeout=30)
        assert ended or task.cancelled()


@pytest.mark.parametrize(
    ("tries", "words"),
    [
        (["SERVFAIL", Timeout(timeout=0.0)], "SERVFAIL"),
        ([Timeout(timeout=0.2), "SERVFAIL"], "SERVFAIL"),
        ([Timeout(timeout=0.2), Timeout(timeout=0.1)], "no answer in time"),
    ],
    ids=str,
)
def test_a_failure_has_the_same_words_however_long_its_tries_took(
    tries: list[str | Timeout], words: str
) -> None:
    failures = [("Do53:10.0.0.1@53", False, 53, why, None) for why in tries]
    question = make_query("v.test", "A")
    told = _words(NoNameservers(request=question, errors=failures))
    assert told == f"no name server could answer (Do53:10.0.0.1@53: {words})"
