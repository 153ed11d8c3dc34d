"""A name server that is told what to say, over UDP and TCP."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.fakes.ports import free_ports

UDP_BYTES = 512


class DnsServer:
    """`records`: by name and kind, as `("w.test", "A")`: texts of records. A name without any does not exist.

    `fault`: what is done instead of answering, `silent`, `garbage`, or an rcode as `SERVFAIL`; `closes`: it closes TCP
    connections instead. Each answer begins with another record, as name servers do. `cnames`: names that are others.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.records: dict[tuple[str, str], Sequence[str]] = {}
        self.cnames: dict[str, str] = {}
        self.ttl = 3600
        self.fault: str | None = None
        self.closes = False
        self.asked: list[str] = []
        """`udp A w.test`, in their order."""
        self.news = asyncio.Event()
        self._turn = 0

    @property
    def address(self) -> str:
        """As a setting has it."""
        return f"127.0.0.1:{self.port}"

    async def more_questions(self, count: int) -> None:
        """Wait until so many more were asked."""
        goal = len(self.asked) + count
        async with asyncio.timeout(30):
            while len(self.asked) < goal:
                self.news.clear()
                await self.news.wait()

    def answer(self, wire: bytes, over: str) -> bytes | None:
        """What is sent back, if anything."""
        question = dns.message.from_wire(wire)
        assert isinstance(question, dns.message.QueryMessage)
        (asked,) = question.question
        name = asked.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(asked.rdtype)
        self.asked.append(f"{over} {kind} {name}")
        self.news.set()
        if self.fault == "silent" or (self.closes and over == "tcp"):
            return None
        if self.fault == "garbage":
            return wire[:2] + b"\xff" * 7
        response = cast("dns.message.QueryMessage", dns.message.make_response(question))
        self._fill(response, name, kind)
        sent = response.to_wire(max_size=65535)
        if over == "udp" and len(sent) > UDP_BYTES:
            response.answer.clear()
            response.flags |= dns.flags.TC
            sent = response.to_wire()
        return sent

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        response.flags |= dns.flags.AA | dns.flags.RA
        if self.fault is not None:
            response.set_rcode(dns.rcode.from_text(self.fault))
            return
        if other := self.cnames.get(name):
            response.answer.append(
                dns.rrset.from_text(f"{name}.", self.ttl, "IN", "CNAME", f"{other}.")
            )
            name = other
        if records := self.records.get((name, kind)):
            self._turn += 1
            start = self._turn % len(records)
            turned = [*records[start:], *records[:start]]
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", kind, *turned))
        elif not any(known == name and each for (known, _), each in self.records.items()):
            response.set_rcode(dns.rcode.NXDOMAIN)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and (sent := self._server.answer(data, "udp")):
            self._transport.sendto(sent, addr)


async def _stream(
    server: DnsServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        (size,) = struct.unpack(">H", await reader.readexactly(2))
        sent = server.answer(await reader.readexactly(size), "tcp")
        if sent is not None:
            writer.write(struct.pack(">H", len(sent)) + sent)
            await writer.drain()
        elif not server.closes:
            await reader.read()  # until the client leaves
    writer.close()


@asynccontextmanager
async def dns_server() -> AsyncIterator[DnsServer]:
    """A server on a port of its own."""
    loop = asyncio.get_running_loop()
    (port,) = free_ports(1)
    server = DnsServer(port)
    streams = await asyncio.start_server(
        lambda reader, writer: _stream(server, reader, writer), "127.0.0.1", port
    )
    async with streams:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(server), local_addr=("127.0.0.1", port)
        )
        try:
            yield server
        finally:
            transport.close()
