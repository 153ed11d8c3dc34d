"""Ports that a server is to listen on."""

import errno
import socket

_NOT_OF_THIS_MACHINE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def require_free(host: str, port: int) -> None:
    """Raises OSError when nothing can listen there: of a name's addresses one must be this machine's, and free every one
    that is.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    elsewhere: list[OSError] = []
    for family, kind, protocol, _, address in found:
        try:
            _bind(socket.socket(family, kind, protocol), address)
        except OSError as error:
            if error.errno not in _NOT_OF_THIS_MACHINE:
                raise
            elsewhere.append(error)
    if len(elsewhere) == len(found):
        raise elsewhere[0]


def _bind(listener: socket.socket, address: object) -> None:
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)  # type: ignore[arg-type]
