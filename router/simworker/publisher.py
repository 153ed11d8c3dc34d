"""Publishes a rank's cache events over ZMQ like vLLM: PUB with a sequence number, ROUTER for replay."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Any, Self

import zmq

from router.simworker.config import WorkerConfig
from router.simworker.events import KVEvents

BUFFER_STEPS = 2_000
HIGH_WATER_MARK = 100_000
_END_OF_REPLAY = (-1).to_bytes(8, "big", signed=True)
# How often the replay socket is looked at; vLLM's publisher thread is as slow.
_REPLAY_POLL_S = 0.1


def events_port(config: WorkerConfig, rank: int) -> int:
    """Where the events of a rank are published."""
    return config.kv_events_port + rank


def replay_endpoint(config: WorkerConfig, rank: int) -> str:
    """Where past events of a rank can be asked for."""
    return f"tcp://{config.host}:{config.kv_events_port + config.data_parallel_size + rank}"


class EventPublisher:
    """Owns both sockets and the last messages."""

    def __init__(self, context: "zmq.Context[Any]", config: WorkerConfig) -> None:
        self._context = context
        self._topic = config.events_topic.encode()
        self._next = 0
        self._buffer: deque[tuple[int, bytes]] = deque(maxlen=BUFFER_STEPS)
        self._pub = context.socket(zmq.PUB)
        self._pub.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self._pub.setsockopt(zmq.LINGER, 0)
        self._router = context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, 0)

    @classmethod
    def bind(cls, config: WorkerConfig, rank: int) -> Self:
        """Open and bind the sockets; raises zmq.ZMQError if a port is taken."""
        publisher = cls(zmq.Context(), config)
        try:
            publisher._pub.bind(f"tcp://{config.host}:{events_port(config, rank)}")
            publisher._router.bind(replay_endpoint(config, rank))
        except zmq.ZMQError:
            publisher.close()
            raise
        return publisher

    def publish(self, events: KVEvents) -> None:
        """Send what is pending as one message; never blocks, nobody need listen."""
        payload = events.take(datetime.now(UTC).timestamp())
        self._buffer.append((self._next, payload))
        self._pub.send_multipart((self._topic, self._next.to_bytes(8, "big"), payload), zmq.NOBLOCK)
        self._next += 1

    async def replay(self) -> None:
        """Answer requests for past messages, for ever."""
        while True:
            await asyncio.sleep(_REPLAY_POLL_S)
            while self._router.poll(0):
                self._answer(self._router.recv_multipart())

    def close(self) -> None:
        """Close the sockets."""
        self._pub.close()
        self._router.close()
        self._context.term()

    def _answer(self, frames: list[bytes]) -> None:
        if len(frames) != 3 or len(frames[2]) != 8:
            return
        client, _, start = frames
        first = int.from_bytes(start, "big")
        for number, payload in self._buffer:
            if number >= first:
                self._router.send_multipart(
                    (client, b"", self._topic, number.to_bytes(8, "big"), payload)
                )
        self._router.send_multipart((client, b"", b"", _END_OF_REPLAY, b""))
