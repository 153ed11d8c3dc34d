"""Cache events on the wire: vLLM's frames, fields, order, replay."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from router.simworker.hashing import event_id
from router.simworker.tokens import encode

TEXT = "abcd" * 40  # 40 tokens: two full blocks of 16


@contextmanager
def subscriber(kind: int, port: int) -> Iterator["zmq.asyncio.Socket"]:
    context = zmq.asyncio.Context()
    socket = context.socket(kind)
    socket.linger = 0
    if kind == zmq.SUB:
        socket.subscribe(b"")
    socket.connect(f"tcp://127.0.0.1:{port}")
    try:
        yield socket
    finally:
        socket.close()
        context.term()


async def receive(socket: Any) -> list[bytes]:
    async with asyncio.timeout(10):
        frames: list[bytes] = await socket.recv_multipart()
        return frames


async def test_stored_removed_cleared_and_replay(local: Any, free_port: int) -> None:
    options = {"kv_events_port": free_port, "kv_tokens": 5 * 16, "port": 8000}
    async with local(**options) as worker:
        with subscriber(zmq.SUB, free_port) as sub:
            await asyncio.sleep(0.3)  # a subscription takes effect when it reaches the publisher
            await worker.post(
                "/v1/completions", {"prompt": TEXT, "max_tokens": 1, "cache_salt": "s"}
            )
            topic, number, payload = await receive(sub)
            assert (topic, number) == (b"kv@127.0.0.1:8000@sim-model", bytes(8))
            timestamp, [stored], rank = msgspec.msgpack.decode(payload)
            assert (rank, timestamp > 1.7e9) == (0, True)
            assert stored["token_ids"] == encode(TEXT)[:32]
            assert (stored["type"], stored["block_size"], stored["medium"]) == (
                "BlockStored",
                16,
                "GPU",
            )
            assert (stored["parent_block_hash"], stored["lora_name"]) == (None, None)
            assert stored["extra_keys"] == [["s"], None]
            assert all(0 <= digest < 2**64 for digest in stored["block_hashes"])

            await worker.post("/v1/completions", {"prompt": "x" * 200, "max_tokens": 1})
            _, number, payload = await receive(sub)
            removed, *others = msgspec.msgpack.decode(payload)[1]
            assert int.from_bytes(number, "big") == 1
            assert (removed["type"], removed["block_hashes"]) == (
                "BlockRemoved",
                stored["block_hashes"][1:],
            )
            assert others[-1]["type"] == "BlockStored"

            assert (await worker.post("/reset_prefix_cache", {})).json() == {"success": True}
            await worker.post("/v1/completions", {"prompt": TEXT, "max_tokens": 1})
            _, _, payload = await receive(sub)
            assert msgspec.msgpack.decode(payload)[1][0] == {"type": "AllBlocksCleared"}

        with subscriber(zmq.DEALER, free_port + 1) as dealer:
            await dealer.send_multipart([b"", (1).to_bytes(8, "big")])
            answers = [await receive(dealer) for _ in range(3)]
        assert [frames[2] for frames in answers] == [
            (1).to_bytes(8, "big"),
            (2).to_bytes(8, "big"),
            b"\xff" * 8,
        ]
        sources = (await worker.http.get("/kv_event_sources")).json()
        assert sources["0"]["endpoint"] == f"tcp://*:{free_port}"


async def test_no_port_no_sources(local: Any) -> None:
    async with local() as worker:
        assert (await worker.http.get("/kv_event_sources")).json() == {}


def test_event_ids_are_the_low_64_bits() -> None:
    assert event_id(bytes(24) + b"\xff" * 8) == 2**64 - 1
