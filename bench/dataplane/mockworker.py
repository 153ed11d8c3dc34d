"""What a mock vLLM worker answers, and the counters that it keeps; no sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

MODEL = "mock"
_MODEL_CARD = {
    "id": MODEL, "object": "model", "created": 1, "owned_by": "vllm", "root": MODEL, "parent": None,
    "max_model_len": 1048576, "permission": [],
}  # fmt: skip
_INFO = {
    "model_id": MODEL, "model_path": MODEL, "served_model_name": MODEL, "tp_size": 1, "dp_size": 1,
    "version": "0.5.6", "max_total_num_tokens": 1048576, "max_running_requests": 4096, "is_generation": True,
    "tokenizer_path": MODEL, "load_balance_method": "round_robin", "disaggregation_mode": "null",
}  # fmt: skip
_FIXED: dict[str, object] = {
    "/health": {}, "/health_generate": {}, "/ping": {}, "/is_sleeping": {"is_sleeping": False},
    "/version": {"version": "0.32.0"}, "/v1/models": {"object": "list", "data": [_MODEL_CARD]},
    "/get_server_info": _INFO, "/server_info": _INFO, "/get_model_info": _INFO, "/model_info": _INFO,
}  # fmt: skip
_TOKENIZE = {b"/tokenize": b"tokens", b"/v1/chat/completions/render": b"token_ids"}
_TEXT = "word " * 40


def compact(data: object) -> str:
    """JSON as vLLM writes it, without spaces."""
    return json.dumps(data, separators=(",", ":"))


def answer(payload: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    """A whole answer with a content-length."""
    return b"HTTP/1.1 %b\r\nserver: uvicorn\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        status, kind, len(payload), payload,
    )  # fmt: skip


def chunk(payload: bytes) -> bytes:
    """One transfer chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def sse_event(stream_id: str, choices: list[object], usage: dict[str, int] | None = None) -> bytes:
    """One event of a chat stream in its own transfer chunk."""
    data: dict[str, object] = {
        "id": stream_id, "object": "chat.completion.chunk", "created": 1790000000, "model": MODEL,
        "choices": choices,
    }  # fmt: skip
    if usage:
        data["usage"] = usage
    return chunk(b"data: " + compact(data).encode() + b"\n\n")


def token_event(stream_id: str, finish: str | None = None) -> bytes:
    """The event of one token, about 250 bytes."""
    delta = {"content": " token"}
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish,
        "token_ids": None,
    }
    return sse_event(stream_id, [choice])


def usage_of(body: bytes, tokens: int) -> dict[str, int]:
    """Token counts as vLLM reports them, one token per four bytes of the request."""
    prompt = len(body) // 4
    return {"prompt_tokens": prompt, "total_tokens": prompt + tokens, "completion_tokens": tokens}


@lru_cache(maxsize=65536)
def _ids(block: bytes) -> bytes:
    words = memoryview(block.ljust(len(block) + -len(block) % 4)).cast("I")
    return b",".join(b"%d" % (word % 50000) for word in words)


def token_ids(body: bytes) -> tuple[int, bytes]:
    """Count and comma-separated ids of a request: equal text at equal places has equal ids.

    Worked out per kilobyte and remembered, since requests differ in 16 bytes only.
    """
    text = body[max(0, body.find(b'"messages"')) :]
    blocks = [text[i : i + 1024] for i in range(0, len(text), 1024)]
    return (len(text) + 3) // 4, b",".join(map(_ids, blocks))


class Worker:
    """One port: its counters and its answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.running = self.requests = self.aborted = self.bad = self.side = self.probes = 0
        self._fixed = {
            path.encode(): answer(compact(data).encode()) for path, data in _FIXED.items()
        }
        self._live: dict[bytes, Callable[[], bytes]] = {
            b"/metrics": self._metrics, b"/stats": self._stats, b"/get_load": self._load,
        }  # fmt: skip

    def next_id(self) -> str:
        """Count a request and name it."""
        self.requests += 1
        return f"chatcmpl-{self.port:08x}{self.requests:024x}"

    def completion(self, body: bytes, tokens: int) -> bytes:
        """The answer to a request that does not stream."""
        message = {"role": "assistant", "content": _TEXT}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        data = {
            "id": self.next_id(),
            "object": "chat.completion",
            "created": 1790000000,
            "model": MODEL,
        }
        return answer(
            compact(data | {"choices": [choice], "usage": usage_of(body, tokens)}).encode()
        )

    def other(self, path: bytes, body: bytes) -> bytes:
        """The answer to anything that is not inference."""
        if path in _TOKENIZE:
            self.side += 1
            count, ids = token_ids(body)
            head = b'{"count":%d,"max_model_len":1048576,"%b":[' % (count, _TOKENIZE[path])
            return answer(head + ids + b"]}")
        self.probes += 1
        if path in self._live:
            return self._live[path]()
        return self._fixed.get(path) or answer(b'{"detail":"Not Found"}', b"404 Not Found")

    def _load(self) -> bytes:
        load = {"dp_rank": 0, "num_reqs": self.running, "num_waiting_reqs": 0, "num_tokens": 0}
        return answer(compact([load]).encode())

    def _stats(self) -> bytes:
        names = ("requests", "running", "aborted", "bad", "side", "probes")
        return answer(compact({name: getattr(self, name) for name in names}).encode())

    def _metrics(self) -> bytes:
        gauges = {
            "num_requests_running": self.running,
            "num_requests_waiting": 0,
            "kv_cache_usage_perc": 0.1,
        }
        counters = {"prefix_cache_queries": 1, "prefix_cache_hits": 1}
        label = f'{{engine="0",model_name="{MODEL}"}}'
        lines = [f"# TYPE vllm:{n} gauge\nvllm:{n}{label} {v}\n" for n, v in gauges.items()]
        lines += [
            f"# TYPE vllm:{n} counter\nvllm:{n}_total{label} {v}\n" for n, v in counters.items()
        ]
        return answer("".join(lines).encode(), kind=b"text/plain; version=0.0.4")
