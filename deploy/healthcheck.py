"""Exits 0 if the router of this container answers on /health, else 1.

Sockets only: an HTTP client costs ten times as much to import, and this runs every ten seconds. The port is
HEALTHCHECK_PORT, else PREFIX_ROUTER_PORT, else 8080: set the first where `port` stands in a file.
"""

import os
import socket
import sys

_LIMIT_S = 2.0
_REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def _status(stream: socket.socket) -> bytes:
    stream.sendall(_REQUEST)
    head = b""
    while len(head) < 12 and (part := stream.recv(12)):
        head += part
    return head[9:12] if head.startswith(b"HTTP/1.") else b""


def _healthy(port: int) -> bool:
    address = ("127.0.0.1", port)
    try:
        with socket.create_connection(address, _LIMIT_S) as plain:
            if status := _status(plain):
                return status == b"200"
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass  # a TLS server does that to plain HTTP
    import ssl  # noqa: PLC0415 - ten times as slow as all the rest

    context = ssl._create_unverified_context()
    with socket.create_connection(address, _LIMIT_S) as plain, context.wrap_socket(plain) as secure:
        return _status(secure) == b"200"


def main() -> int:
    """0: healthy."""
    port = os.environ.get("HEALTHCHECK_PORT") or os.environ.get("PREFIX_ROUTER_PORT") or "8080"
    try:
        return 0 if _healthy(int(port)) else 1
    except OSError as error:
        print(f"127.0.0.1:{port}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
