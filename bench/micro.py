"""What a request and a streamed chunk cost in our own Python alone: no sockets, no kernel, no event loop turns.

    python -m bench.micro [--requests 20000]

The data plane is driven by hand: bytes go into a client connection, what it sends to a worker is answered at
once. Run it on an idle core before and after a change; the median is steady to 1 to 2 %.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from router import app
from router.engines.base import WorkerReport
from router.settings import Settings
from router.telemetry.logs import RequestLog
from router.upstream.connection import Connection

WORKERS = 4
PROMPTS = 64
BATCH = 100

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n"
    b"User-Agent: bench\r\nAccept: */*\r\nAuthorization: Bearer sk\r\nContent-Length: %d\r\n\r\n"
)
BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1795590123,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"%b"},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":240,"total_tokens":272,"completion_tokens":32}}'
) % (b"word " * 40)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Wed, 25 Nov 2026 07:02:03 GMT\r\nserver: uvicorn\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
) % (len(BODY), BODY)
EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" tok"}}]}\n\n'
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Nowhere:
    """A transport that takes everything."""

    def __init__(self, written: Callable[[], None] = lambda: None) -> None:
        self._written = written

    def write(self, data: bytes) -> None:
        self._written()

    def writelines(self, parts: Any) -> None:
        self._written()

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Rig:
    """A router of which both ends are in our hands."""

    def __init__(self) -> None:
        urls = [f"http://127.0.0.1:{9000 + n}" for n in range(WORKERS)]
        self.app = app.build(Settings(workers=urls), RequestLog(Nowhere(), json=True))
        self.asked: list[Connection] = []
        for worker in self.app.fleet:
            self.app.fleet.set_report(worker, WorkerReport({"m": {"id": "m"}}))
            self.app.fleet.mark_up(worker)
            connection = Connection(worker.pool)
            connection.connection_made(
                Nowhere(lambda asked=connection: self.asked.append(asked))  # type: ignore[misc,arg-type]
            )
            worker.pool.connection_idle(connection)
        config: uvicorn.Config = app.server_config(self.app)
        config.load()
        self.client: Any = config.http_protocol_class(
            config=config, server_state=ServerState(), app_state={}
        )
        self.client.connection_made(Nowhere())

    def request(self, data: bytes, answer: bytes) -> None:
        """One request, answered."""
        self.client.data_received(data)
        self.asked.pop().data_received(answer)


def requests(prompt_bytes: int) -> list[bytes]:
    """Some prompts that share three quarters of their text."""
    made = []
    for number in range(PROMPTS):
        text = "lorem ipsum " * (prompt_bytes // 12)
        own = text[: prompt_bytes * 3 // 4] + f"{number:016d}" + text[: prompt_bytes // 4]
        body = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % own.encode()
        made.append(HEAD % len(body) + body)
    return made


def measure(title: str, once: Callable[[int], None], count: int) -> None:
    """Print the median and the tenth percentile over batches, µs of CPU per call."""
    for number in range(BATCH):
        once(number)
    costs = []
    for _ in range(max(10, count // BATCH)):
        started = time.process_time()
        for number in range(BATCH):
            once(number)
        costs.append((time.process_time() - started) / BATCH * 1e6)
    tenth = statistics.quantiles(costs, n=10)[0]
    print(f"{title:<16} median {statistics.median(costs):7.2f} µs   p10 {tenth:7.2f} µs")


async def main(count: int) -> None:
    """All measurements."""
    for title, size, part in (("1 KB request", 1024, 1), ("100 KB request", 100_000, 4)):
        rig, made = Rig(), requests(size)
        measure(title, lambda n: rig.request(made[n % PROMPTS], ANSWER), count // part)  # noqa: B023
    rig = Rig()
    rig.client.data_received(requests(1024)[0])
    worker = rig.asked.pop()
    worker.data_received(STREAM)
    measure("streamed chunk", lambda _: worker.data_received(CHUNK), count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    asyncio.run(main(parser.parse_args().requests))
