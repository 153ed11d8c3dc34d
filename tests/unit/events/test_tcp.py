"""Endpoints taken apart and put together."""

import pytest

from router.events.tcp import is_any, parts, shifted, tcp
from router.upstream.pool import is_loopback


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("tcp://*:5557", "*", 5557),
        ("tcp://gpu-1:5557", "gpu-1", 5557),
        ("tcp://[::1]:5557", "::1", 5557),
        ("tcp://[::]:1", "::", 1),
        ("tcp://*:0", "", None),
        ("tcp://*:70000", "", None),
        ("tcp://gpu-1", "", None),
        ("tcp://:5557", "", None),
        ("ipc:///tmp/events:1", "", None),
        ("inproc://cache", "", None),
        ("", "", None),
    ],
)
def test_an_endpoint_has_a_host_and_a_port(endpoint: str, host: str, port: int | None) -> None:
    assert parts(endpoint) == (host, port)


def test_addresses_with_colons_are_put_in_brackets() -> None:
    assert tcp("::1", 5) == "tcp://[::1]:5"
    assert tcp("gpu-1", 5) == "tcp://gpu-1:5"


def test_ranks_have_the_ports_that_follow() -> None:
    assert shifted("tcp://*:5557", 2) == "tcp://*:5559"
    assert shifted("tcp://[::1]:5557", 1) == "tcp://[::1]:5558"
    assert shifted("", 1) == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_some_hosts_are_the_machine_itself(host: str) -> None:
    assert is_loopback(host)
    assert not is_any(host)


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "::"])
def test_some_hosts_are_all_addresses(host: str) -> None:
    assert is_any(host)
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "gpu-1", "2001:db8::1"])
def test_others_are_neither(host: str) -> None:
    assert not is_any(host)
    assert not is_loopback(host)
