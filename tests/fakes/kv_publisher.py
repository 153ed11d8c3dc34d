"""A worker's publisher of KV events, over real ZMQ: XPUB, and a ROUTER that replays the last batches, like vLLM's."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq

_END = (-1).to_bytes(8, "big", signed=True)


class KvPublisher:
    """`endpoint` with a `*` is bound, any other is dialled. `ring` batches are kept; 0: no replay socket.

    Port 0 takes a free one: `port`, `replay_port`. Nothing is heard of it without `subscribers`.
    """

    def __init__(
        self,
        endpoint: str = "tcp://*:0",
        *,
        replay_port: int = 0,
        ring: int = 1_000,
        topic: str = "kv@worker",
        high_water_mark: int = 100_000,
    ) -> None:
        self.muted = False
        self.replays = 0
        self.subscribers = 0
        self.topic = topic.encode()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._next = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=ring)
        self._pub = self._context.socket(zmq.XPUB)
        self._pub.set_hwm(high_water_mark)
        (self._pub.bind if "*" in endpoint else self._pub.connect)(endpoint)
        self._router = self._context.socket(zmq.ROUTER)
        if ring:
            self._router.bind(f"tcp://127.0.0.1:{replay_port or '*'}")

    @property
    def port(self) -> int:
        return _port(self._pub)

    @property
    def replay_port(self) -> int:
        return _port(self._router)

    async def __aenter__(self) -> Self:
        self._answering = asyncio.ensure_future(self._answer())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answering.cancel()
        await asyncio.gather(self._answering, return_exceptions=True)
        self._context.destroy(linger=0)

    def publish(self, *events: Any) -> None:
        """One batch; `muted` ones are kept and not sent."""
        stamp = datetime.now(UTC).timestamp()
        payload = msgspec.msgpack.encode([stamp, events, 0])
        self._kept.append((self._next, payload))
        if not self.muted:
            self._pub.send_multipart(
                (self.topic, self._next.to_bytes(8, "big"), payload), zmq.NOBLOCK
            )
        self._next += 1

    async def _answer(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            while self._pub.poll(0):
                self.subscribers += 1 if self._pub.recv()[:1] == b"\x01" else -1
            while self._router.poll(0):
                client, _, first = self._router.recv_multipart()
                self.replays += 1
                for number, payload in self._kept:
                    if number >= int.from_bytes(first, "big"):
                        self._send(client, self.topic, number.to_bytes(8, "big"), payload)
                self._send(client, b"", _END, b"")

    def _send(self, client: bytes, *frames: bytes) -> None:
        self._router.send_multipart((client, b"", *frames), zmq.NOBLOCK)


def _port(socket: "zmq.Socket[bytes]") -> int:
    return int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
