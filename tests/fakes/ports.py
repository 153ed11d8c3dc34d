"""Ports for processes that are told where to listen."""

import contextlib
import os
import socket

# Below what Linux gives to outgoing connections (32768 and up): such a port may be taken at any time.
PORTS = range(18100, 19100)


def free_ports(count: int) -> range:
    """`count` successive ports of the loopback interface that are free; each process begins elsewhere."""
    start = os.getpid() * 16 % len(PORTS)
    for first in (*PORTS[start:], *PORTS[:start]):
        ports = range(first, first + count)
        if all(map(_is_free, ports)):
            return ports
    raise AssertionError("no ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False
