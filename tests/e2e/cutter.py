"""A TCP forwarder that breaks connections off, as a worker does that dies in the middle of an answer."""

import contextlib
import socket
import threading


class Cutter:
    """Listens on a free port of the loopback interface and forwards to `port` there.

    After `arm(n)` the next stream breaks off once `n` of its events have passed; then all is well again.
    """

    def __init__(self, port: int) -> None:
        self.cuts = 0
        self._target = port
        self._events: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, events: int | None) -> None:
        """Break the next stream off after so many events; None: do not."""
        self._events = events

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            worker = socket.create_connection(("127.0.0.1", self._target))
            for run in (self._ask, self._answer):
                threading.Thread(target=run, args=(client, worker), daemon=True).start()

    def _ask(self, client: socket.socket, worker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                worker.sendall(data)
            worker.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, worker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            passed = 0
            while data := worker.recv(65536):
                events = data.count(b"data: ")
                if self._events is not None and events and passed + events > self._events:
                    keep = self._until(data, self._events - passed)
                    client.sendall(data[:keep])
                    self._cut(client)
                    break
                passed += events
                client.sendall(data)
        for end in (client, worker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _cut(self, client: socket.socket) -> None:
        self._events = None
        self.cuts += 1
        client.shutdown(socket.SHUT_RDWR)  # closing alone does not wake the thread that reads

    @staticmethod
    def _until(data: bytes, events: int) -> int:
        """Where the event after these begins, and a bit more: half an event is what a death leaves."""
        at = -1
        for _ in range(events + 1):
            at = data.index(b"data: ", at + 1)
        return at + 10
