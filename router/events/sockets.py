"""ZMQ: the sockets that batches come through. Read without waiting, one message at a time, by `ingest`."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol, TypeAlias

import zmq

from router.events.ingest import Job
from router.events.subscriber import Reply

Context: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"

logger = logging.getLogger(__name__)

_HIGH_WATER_MARK = 1_000
"""Messages that a socket reads ahead. More wait at the worker, which drops what is too much."""

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_RECONNECT_MS = (100, 2_000)
_HEARTBEAT_MS = (5_000, 15_000)
"""A worker's host that vanished without a word is noticed after the second one."""

_MAX_SOCKETS = 65_536
"""A source takes three, and one more during a replay; ZMQ's own limit is 1,023."""

_END_OF_REPLAY = (-1).to_bytes(8, "big", signed=True)


def new_context() -> Context:
    """What sockets belong to; `destroy` closes all of them. Raises OSError when it cannot be had."""
    with _opening("ZMQ"):
        context: Context = zmq.Context()
        context.set(zmq.MAX_SOCKETS, min(_MAX_SOCKETS, context.get(zmq.SOCKET_LIMIT)))
    return context


@contextmanager
def _opening(endpoint: str) -> Iterator[ExitStack]:
    """Closes what was put on the stack if the rest cannot be opened; errors of ZMQ become OSError."""
    with ExitStack() as opened:
        try:
            yield opened
        except zmq.ZMQError as error:
            raise OSError(error.errno, f"{endpoint}: {error.strerror}") from error
        opened.pop_all()


class Inbox(Protocol):
    """Takes batches (`subscriber.Subscriber`)."""

    def offer(self, number: int, payload: bytes) -> None:
        """One more."""

    def check(self) -> None:
        """Some may have been missed."""


class _Reader:
    """A socket that the event loop watches. ZMQ tells of news once, and only after it was asked in vain: `on_ready` must
    read until there is nothing.
    """

    def __init__(self, context: Context, kind: int, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self.socket: zmq.Socket[bytes] = context.socket(kind)

    def open(self, endpoint: str, *, bind: bool) -> None:
        """Bind or connect."""
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, _HIGH_WATER_MARK),
            (zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES),
            (zmq.RECONNECT_IVL, _RECONNECT_MS[0]),
            (zmq.RECONNECT_IVL_MAX, _RECONNECT_MS[1]),
            (zmq.HEARTBEAT_IVL, _HEARTBEAT_MS[0]),
            (zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_MS[1]),
            (zmq.IPV6, "[" in endpoint),  # names stay IPv4, which vLLM binds
        ):
            self.socket.setsockopt(option, value)
        (self.socket.bind if bind else self.socket.connect)(endpoint)
        self._loop.add_reader(self.socket.fileno(), self._on_ready)

    def receive(self) -> list[bytes] | None:
        """The frames of the next message; None: there is none now."""
        try:
            return self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def close(self) -> None:
        """Let go of the socket."""
        self._loop.remove_reader(self.socket.fileno())
        self.socket.close()


class _Monitor:
    """Calls `on_connect` whenever the socket and a peer have found each other."""

    def __init__(self, socket: "zmq.Socket[bytes]", on_connect: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched = socket
        self._on_connect = on_connect
        self._events = socket.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        self._loop.add_reader(self._events.fileno(), self._read)
        self._read()  # ZMQ tells of news only after it was asked in vain

    def close(self) -> None:
        """Watch no longer."""
        self._loop.remove_reader(self._events.fileno())
        self._watched.disable_monitor()
        self._events.close(0)

    def _read(self) -> None:
        connected = False
        with suppress(zmq.Again):
            while True:
                self._events.recv_multipart(zmq.NOBLOCK)
                connected = True
        if connected:
            self._on_connect()


class Listener:
    """A SUB socket (an `ingest.Job`) for one source, or for several that dial in and differ by their topic.

    Nothing is heard before a connection stands, nor while it is broken: each time that it stands the inboxes are told
    to check. Raises OSError when the endpoint cannot be had. `strangers` counts messages that belong to nobody; the first is told.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        *,
        bind: bool,
        on_work: Callable[[Job], None],
    ) -> None:
        self.strangers = 0
        self._endpoint = endpoint
        self._inboxes: dict[bytes | None, Inbox] = {}
        with _opening(endpoint) as opened:
            self._reader = _Reader(context, zmq.SUB, lambda: on_work(self))
            opened.callback(self._reader.close)
            self._reader.socket.setsockopt(zmq.SUBSCRIBE, b"")
            self._monitor = _Monitor(self._reader.socket, self._check)
            opened.callback(self._monitor.close)
            self._reader.open(endpoint, bind=bind)
        on_work(self)

    def add(self, topic: bytes | None, inbox: Inbox) -> bool:
        """Give `inbox` what comes under `topic` (None: what nobody else wants); False if another one gets that."""
        return self._inboxes.setdefault(topic, inbox) is inbox

    def remove(self, inbox: Inbox) -> bool:
        """Give it nothing more; False when nobody is left."""
        self._inboxes = {topic: each for topic, each in self._inboxes.items() if each is not inbox}
        return bool(self._inboxes)

    def step(self) -> bool:
        """Read one message."""
        frames = self._reader.receive()
        if frames is None:
            return False
        inbox = self._inboxes.get(frames[0]) or self._inboxes.get(None)
        if inbox is None or len(frames) != 3 or len(frames[1]) != 8:
            if not self.strangers:
                logger.warning("events of nobody at %s, topic %r", self._endpoint, frames[0])
            self.strangers += 1
        else:
            inbox.offer(int.from_bytes(frames[1], "big"), frames[2])
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._monitor.close()
        self._reader.close()

    def _check(self) -> None:
        for inbox in self._inboxes.values():
            inbox.check()


class ZmqReplay:
    """Asks a worker for past batches (`subscriber.Replay`); gives up after `timeout_s` without one.

    Raises OSError when it cannot be opened.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        first: int,
        *,
        timeout_s: float,
        on_ready: Callable[[], None],
    ) -> None:
        self._timeout_s = timeout_s
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._expired = False
        with _opening(endpoint) as opened:
            self._reader = _Reader(context, zmq.DEALER, on_ready)
            opened.callback(self._reader.close)
            self._reader.open(endpoint, bind=False)
            self._reader.socket.send_multipart([b"", first.to_bytes(8, "big")], zmq.NOBLOCK)
        self._timer = self._loop.call_later(timeout_s, self._look_at_the_clock)
        on_ready()

    def receive(self) -> tuple[int, bytes] | Reply:
        """The next batch."""
        frames = self._reader.receive()
        if frames is None:
            return Reply.EXPIRED if self._expired else Reply.PENDING
        self._heard_at = self._loop.time()
        if len(frames) != 4 or len(frames[2]) != 8 or frames[2] == _END_OF_REPLAY:
            return Reply.END
        return int.from_bytes(frames[2], "big"), frames[3]

    def close(self) -> None:
        """Let go of the socket."""
        self._timer.cancel()
        self._reader.close()

    def _look_at_the_clock(self) -> None:
        left_s = self._heard_at + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look_at_the_clock)
        else:
            self._expired = True
            self._on_ready()
