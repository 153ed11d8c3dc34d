"""Whether something can listen somewhere."""

import errno
import socket

import pytest

from router.ports import require_free
from tests.fakes.ports import free_ports


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "", "localhost"])
def test_a_free_port(host: str) -> None:
    (port,) = free_ports(1)
    require_free(host, port)
    require_free(host, port)
    require_free(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "", "localhost"])
def test_a_taken_one(host: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use") as caught,
    ):
        require_free(host, taken.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


def test_an_address_of_another_machine() -> None:
    with pytest.raises(OSError, match="assign") as caught:
        require_free("192.0.2.1", 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_what_is_no_name() -> None:
    with pytest.raises(OSError, match=r"\w"):
        require_free("no such host", 0)
