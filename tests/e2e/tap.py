"""A wire tap: a TCP forwarder between the router and a worker that keeps the bytes of both directions."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """An HTTP message taken apart: header names in lower case, body without chunking."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def parse_message(raw: bytes) -> Message:
    """Take apart one whole request or answer."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    chunked = ("transfer-encoding", "chunked") in headers
    return Message(start, headers, b"".join(_chunks(rest)) if chunked else rest)


def _chunks(rest: bytes) -> Iterator[bytes]:
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            return
        yield rest[:length]
        rest = rest[length + 2 :]


@dataclass(slots=True)
class _Exchange:
    request: bytearray = field(default_factory=bytearray)
    answer: bytearray = field(default_factory=bytearray)


class Tap:
    """Listens on a free port of the loopback interface and forwards to `port` there."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._exchanges: list[_Exchange] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; open ones end with their peers."""
        self._listener.close()

    def exchange(self, marker: bytes) -> tuple[Message, Message] | None:
        """The request that holds `marker` and its answer, once the client has read all of it."""
        for exchange in reversed(self._exchanges):
            if marker in exchange.request:
                return parse_message(bytes(exchange.request)), parse_message(bytes(exchange.answer))
        return None

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            worker = socket.create_connection(("127.0.0.1", self._target))
            connection = _Connection(self._exchanges)
            for source, sink, record in (
                (client, worker, connection.sent),
                (worker, client, connection.received),
            ):
                threading.Thread(target=_pump, args=(source, sink, record), daemon=True).start()


class _Connection:
    """Cuts a connection into exchanges: a new one begins when the client speaks after the worker did."""

    def __init__(self, exchanges: list[_Exchange]) -> None:
        self._all = exchanges
        self._current = _Exchange()
        exchanges.append(self._current)

    def sent(self, data: bytes) -> None:
        if self._current.answer:
            self._current = _Exchange()
            self._all.append(self._current)
        self._current.request += data

    def received(self, data: bytes) -> None:
        self._current.answer += data


def _pump(source: socket.socket, sink: socket.socket, record: object) -> None:
    assert callable(record)
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            record(data)
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()
