"""How DNS is asked."""

import builtins
import sys
from typing import Any

import pytest

from router.config_file import ConfigurationError
from router.discovery.asking import asker, nameserver
from router.discovery.system_resolver import SystemResolver
from router.fleet.target import Target
from tests.fakes.dns_server import dns_server


async def test_addresses_are_asked_of_the_host() -> None:
    (target,) = (await asker("http://localhost:8000/x", "ipv4", ())()).targets
    assert target == Target(url="http://127.0.0.1:8000/x")


async def test_addresses_are_asked_of_name_servers_where_there_are_some() -> None:
    def forbidden(*asked: Any) -> list[Any]:
        raise AssertionError

    async with dns_server() as server:
        server.records["v.test", "A"] = ["10.0.0.1"]
        server.ttl = 7
        ask = asker("http://v.test:8000", "auto", [server.address], SystemResolver(forbidden))
        answer = await ask()
    assert answer.targets == (Target(url="http://10.0.0.1:8000"),)
    assert answer.ttl_s == 7


async def test_services() -> None:
    async with dns_server() as server:
        server.records["_http._tcp.v.test", "SRV"] = ["0 0 8001 w1.test.", "1 0 8001 w2.test."]
        answer = await asker("srv://_http._tcp.v.test", "auto", [server.address])()
    assert answer.targets == (Target(url="http://w1.test:8001"),)


@pytest.mark.parametrize(
    ("url", "nameservers", "why"),
    [("ftp://a", [], "write `http"), ("http://a", ["ns.test"], "'ns.test' is not the address")],
)
def test_mistakes(url: str, nameservers: list[str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        asker(url, "auto", nameservers)


@pytest.mark.parametrize(
    ("url", "nameservers"), [("srv://_http._tcp.v", []), ("http://v", ["10.0.0.1"])]
)
def test_without_the_library(
    monkeypatch: pytest.MonkeyPatch, url: str, nameservers: list[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "dns":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "router.discovery.records", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install prefix-router\[dns\]"):
        asker(url, "auto", nameservers)
    asker("http://v", "auto", ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:8600", ("10.0.0.1", 8600)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]", ("fd00::1", 53)),
        ("[fd00::1]:8600", ("fd00::1", 8600)),
    ],
)
def test_name_servers(text: str, expected: tuple[str, int]) -> None:
    assert nameserver(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "ns.test", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0:53", "[10.0.0.1", "::1]:53", "http://10.0.0.1", "10.0.0.1:x"],
)  # fmt: skip
def test_what_is_no_name_server(text: str) -> None:
    with pytest.raises(ValueError, match="is not the address of a name server"):
        nameserver(text)
