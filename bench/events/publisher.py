"""A process that publishes events at a given rate, and replays the past: vLLM's side of the wire.

    python -m bench.events.publisher RATE SECONDS PAST POOL

Has a pool of POOL blocks and PAST batches from before anybody listened, prints its endpoints (events, replay), waits for a
subscriber, publishes RATE block events a second, and answers replays until its standard input is closed.
"""

import select
import sys
import time

import zmq

from bench.events.load import Pool, block_events

BLOCK = 16
PROMPT_BLOCKS = 24
END = (-1).to_bytes(8, "big", signed=True)


class Publisher:
    """Both sockets, and what was published."""

    def __init__(self, past: int, pool: int) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.pub = context.socket(zmq.XPUB)
        self.pub.set_hwm(100_000)
        self.pub.bind("tcp://127.0.0.1:*")
        self._router = context.socket(zmq.ROUTER)
        self._router.set_hwm(0)
        self._router.bind("tcp://127.0.0.1:*")
        self._steps = Pool(pool, BLOCK).steps(PROMPT_BLOCKS)
        for _ in range(pool // PROMPT_BLOCKS * 2):
            next(self._steps)  # until each block costs another one
        self._kept = [next(self._steps) for _ in range(past)]
        ready = [next(self._steps) for _ in range(200)]
        self.mean = sum(map(block_events, ready)) / len(ready)
        self._ready = iter(ready)

    @property
    def endpoints(self) -> tuple[str, str]:
        """Where it publishes and where it replays."""
        found = (each.getsockopt_string(zmq.LAST_ENDPOINT) for each in (self.pub, self._router))
        events, replay = found
        return events, replay

    def prepare(self, count: int) -> None:
        """Make batches ahead: encoding them must not compete for the time to send them."""
        self._ready = iter([*self._ready, *(next(self._steps) for _ in range(count))])

    def publish(self) -> None:
        """One batch."""
        payload = next(self._ready)
        self.pub.send_multipart((b"kv", len(self._kept).to_bytes(8, "big"), payload))
        self._kept.append(payload)

    def answer(self) -> None:
        """Whoever asked for the past."""
        while self._router.poll(0):
            client, _, first = self._router.recv_multipart()
            for number in range(int.from_bytes(first, "big"), len(self._kept)):
                frames = (client, b"", b"kv", number.to_bytes(8, "big"), self._kept[number])
                self._router.send_multipart(frames)
            self._router.send_multipart((client, b"", b"", END, b""))


def main(rate: float, seconds: float, past: int, pool: int) -> None:
    """Publish for a while, answer until told to end."""
    publisher = Publisher(past, pool)
    batches = int(rate * seconds / publisher.mean)
    publisher.prepare(batches)
    print(*publisher.endpoints, flush=True)
    while not publisher.pub.poll(10):
        publisher.answer()
    start = time.perf_counter()
    for number in range(batches):
        while time.perf_counter() < start + number * publisher.mean / rate:
            publisher.answer()
            time.sleep(0.001)
        publisher.publish()
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        publisher.answer()


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:]))
