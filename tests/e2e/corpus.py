"""More than a hundred requests that a relay can get wrong, as data.

Together they use every field of vLLM's chat and completion schemas (a test compares), and each kind of
error that vLLM finds in a request. Temperature is 0 or a seed is given, so that a worker answers alike
every time. An unknown model is not among them: that answer is the router's own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.harness import MODEL

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"

LONG = " ".join(f"line {number} of a long document;" for number in range(400))
UNICODE = (
    "Zażółć gęślą jaźń — 你好\uff0c世界 🌍 👩\u200d👩\u200d👧 שלום \u202eabc\u202c "
    "e\u0301 \u0000 \u2028 \U0010ffff"
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city ☀",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 8}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CITY = WEATHER["function"]["parameters"]  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class Case:
    """One request; `body` is what goes on the wire."""

    name: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    @property
    def members(self) -> set[str]:
        """The names of the body's JSON members; none if it is not an object."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return set()
        return set(parsed) if isinstance(parsed, dict) else set()


def _wire(body: dict[str, Any] | bytes) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()


def _turns(*texts: str) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def _chat(name: str, headers: dict[str, str] | None = None, **fields: Any) -> Case:
    usual = {
        "model": MODEL,
        "messages": _turns("Tell me of prefix caches."),
        "max_tokens": 6,
        "temperature": 0,
    }
    return Case(f"chat {name}", CHAT, _wire(usual | fields), headers or {})


def _completion(name: str, headers: dict[str, str] | None = None, **fields: Any) -> Case:
    usual = {"model": MODEL, "prompt": "import os, sys", "max_tokens": 6, "temperature": 0}
    return Case(f"completion {name}", COMPLETIONS, _wire(usual | fields), headers or {})


def _raw(name: str, body: bytes, path: str = CHAT, **headers: str) -> Case:
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(f"raw {name}", path, body, fields)


def _chat_messages() -> Iterator[Case]:
    system = {"role": "system", "content": "Be brief."}
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Łódź"}'},
    }
    yield _chat("plain")
    yield _chat("system and turns", messages=[system, *_turns("a", "b", "c")])
    yield _chat("developer role", messages=[{"role": "developer", "content": "d"}, *_turns("a")])
    yield _chat(
        "parts", messages=[{"role": "user", "content": [{"type": "text", "text": "a"}] * 3}]
    )
    yield _chat("named", messages=[{"role": "user", "name": "Ann", "content": "hello"}])
    yield _chat("unicode", messages=_turns(UNICODE))
    yield _chat("long", messages=_turns(LONG))
    yield _chat("empty content", messages=_turns(""))
    yield _chat(
        "tool turn",
        tools=[WEATHER],
        messages=[
            *_turns("Weather?"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
    )


def _chat_sampling() -> Iterator[Case]:
    yield _chat("max_completion_tokens", max_completion_tokens=3, max_tokens=None)
    yield _chat("seeded", temperature=0.8, seed=7, top_p=0.9, top_k=40, min_p=0.01)
    yield _chat("penalties", frequency_penalty=0.5, presence_penalty=0.5, repetition_penalty=1.2)
    yield _chat("logit_bias", logit_bias={"300": 100})
    yield _chat("allowed tokens", allowed_token_ids=[300, 301], min_tokens=2, ignore_eos=True)
    yield _chat("bad words", bad_words=["import"], length_penalty=1.1)
    yield _chat("stop", stop=["e", "a"], include_stop_str_in_output=True, max_tokens=40)
    yield _chat("stop string", stop="e", max_tokens=40)
    yield _chat("stop ids", stop_token_ids=list(range(300, 2000)), max_tokens=40)
    yield _chat("special tokens", skip_special_tokens=False, spaces_between_special_tokens=False)
    yield _chat("truncate left", truncate_prompt_tokens=16, truncation_side="left")
    yield _chat("truncate right", truncate_prompt_tokens=16, truncation_side="right")
    yield _chat("n=2 seeded", n=2, temperature=0.9, seed=11)
    yield _chat("beam search", n=2, use_beam_search=True, max_tokens=3)
    yield _chat("repetition", repetition_detection={"max_pattern_size": 4, "min_count": 3})
    yield _chat("stream_interval", stream=True, stream_interval=3)
    yield _chat("watermarking", watermarking=True)


def _chat_output() -> Iterator[Case]:
    usage = {"include_usage": True}
    yield _chat("logprobs", logprobs=True, top_logprobs=5)
    yield _chat("logprobs as ids", logprobs=True, top_logprobs=2, return_tokens_as_token_ids=True)
    yield _chat("logprobs of ids", logprobs=True, logprob_token_ids=[300, 400])
    yield _chat("prompt_logprobs", prompt_logprobs=2)
    yield _chat("token ids", return_token_ids=True, return_prompt_text=True)
    yield _chat("token offsets", return_token_offsets=True, routed_experts_prompt_start=0)
    yield _chat("stream", stream=True)
    yield _chat("stream false", stream=False)
    yield _chat("stream null", stream=None, stream_options=None)
    yield _chat("stream usage", stream=True, stream_options=usage)
    yield _chat(
        "stream usage each", stream=True, stream_options=usage | {"continuous_usage_stats": True}
    )
    yield _chat("stream unicode", stream=True, messages=_turns(UNICODE), max_tokens=24)
    yield _chat("stream token ids", stream=True, return_token_ids=True)
    yield _chat("stream big lines", stream=True, messages=_turns(LONG), return_token_ids=True)
    yield _chat(
        "stream logprobs", stream=True, logprobs=True, top_logprobs=20, stream_options=usage
    )
    yield _chat("stream n=2", stream=True, n=2, temperature=0.9, seed=3, stream_options=usage)
    yield _chat("stream stop", stream=True, stop=["e"], max_tokens=40)
    yield _chat("stream of 60", stream=True, max_tokens=60, ignore_eos=True, stream_options=usage)
    yield _chat("big answer", prompt_logprobs=15, logprobs=True, messages=_turns(LONG[:6000]))


def _chat_structured() -> Iterator[Case]:
    schema = {"name": "city", "schema": CITY, "strict": True}
    named = {"type": "function", "function": {"name": "weather"}}
    json_format = {"type": "json_schema", "json_schema": schema}
    yield _chat("text format", response_format={"type": "text"})
    yield _chat("json object", response_format={"type": "json_object"}, max_tokens=12)
    yield _chat("json schema", response_format=json_format, max_tokens=24)
    yield _chat("json schema stream", stream=True, response_format=json_format, max_tokens=24)
    yield _chat("choice", structured_outputs={"choice": ["yes", "no"]})
    yield _chat("regex", structured_outputs={"regex": "[a-z]{3}-[0-9]{2}"}, max_tokens=12)
    yield _chat("tools unused", tools=[WEATHER], tool_choice="none")
    yield _chat("tools auto", tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False)
    yield _chat("tools required", tools=[WEATHER], tool_choice="required", max_tokens=40)
    yield _chat("tools named", tools=[WEATHER], tool_choice=named, max_tokens=40)
    yield _chat(
        "tools named stream", stream=True, tools=[WEATHER], tool_choice=named, max_tokens=40
    )


def _chat_engine() -> Iterator[Case]:
    yield _chat("user and session", user="ann", session_id="s-1")
    yield _chat("request_id", request_id="from-the-body")
    yield _chat("cache_salt", cache_salt="salt")
    yield _chat("template kwargs", chat_template_kwargs={"enable_thinking": False, "x": [1]})
    yield _chat("own template", chat_template="{{ messages[0].content }}")
    yield _chat("documents", documents=[{"title": "t", "text": "d"}])
    yield _chat("generation prompt", add_generation_prompt=False, add_special_tokens=True)
    yield _chat("continue", echo=True, add_generation_prompt=False, continue_final_message=True)
    yield _chat("reasoning", reasoning_effort="low", include_reasoning=False)
    yield _chat("thinking budget", thinking_token_budget=4)
    yield _chat("multimodal kwargs", media_io_kwargs={}, mm_processor_kwargs={}, mm_payload="none")
    yield _chat("return_mm_kwargs", return_mm_kwargs=False)
    yield _chat("xargs", vllm_xargs={"mode": "x", "level": 2})
    yield _chat("kv transfer", kv_transfer_params={"do_remote_decode": False})
    yield _chat("ec transfer", ec_transfer_params={"a": 1})
    yield _chat("priority", priority=3)


def _completions() -> Iterator[Case]:
    usage = {"include_usage": True, "continuous_usage_stats": True}
    yield _completion("plain")
    yield _completion("unicode", prompt=UNICODE)
    yield _completion("token ids", prompt=[100, 200, 300, 400], return_token_ids=True)
    yield _completion("several prompts", prompt=["one", "two", "three"])
    yield _completion("several token prompts", prompt=[[10, 20], [30, 40]])
    yield _completion("prompt embeddings", prompt=None, prompt_embeds="AAAA")
    yield _completion("echo", echo=True, logprobs=3)
    yield _completion("suffix", suffix=" end")
    yield _completion("logprobs", logprobs=5, return_tokens_as_token_ids=True)
    yield _completion("logprobs of ids", logprobs=1, logprob_token_ids=[300])
    yield _completion("prompt_logprobs", prompt_logprobs=1, return_token_offsets=True)
    yield _completion("stream", stream=True)
    yield _completion("stream usage", stream=True, stream_options=usage)
    yield _completion("stream interval", stream=True, stream_interval=2, stream_options=usage)
    yield _completion("stream echo", stream=True, echo=True, logprobs=2)
    yield _completion("stream several", stream=True, prompt=["one", "two"])
    yield _completion("n=2", n=2, temperature=0.7, seed=5, top_p=0.95, top_k=50, min_p=0.0)
    yield _completion("long", prompt=LONG, min_tokens=3, ignore_eos=True)
    yield _completion("penalties", frequency_penalty=1, presence_penalty=1, repetition_penalty=1.1)
    yield _completion(
        "tokens", logit_bias={"400": 90}, allowed_token_ids=[400, 401], bad_words=["x"]
    )
    yield _completion("stop", stop=["\n", " "], stop_token_ids=[5], include_stop_str_in_output=True)
    yield _completion("beam search", use_beam_search=True, n=2, length_penalty=0.9, max_tokens=3)
    yield _completion("special tokens", skip_special_tokens=False, add_special_tokens=False)
    yield _completion("spaces", spaces_between_special_tokens=False, watermarking=False)
    yield _completion("truncate", prompt=LONG, truncate_prompt_tokens=20, truncation_side="right")
    yield _completion("json object", response_format={"type": "json_object"}, max_tokens=12)
    yield _completion("grammar", structured_outputs={"grammar": 'root ::= "yes" | "no"'})
    yield _completion("ids", user="u", session_id="s", request_id="r", cache_salt="c")
    yield _completion("repetition", repetition_detection={"max_pattern_size": 2, "min_count": 2})
    yield _completion(
        "transfer", kv_transfer_params={}, ec_transfer_params={}, vllm_xargs={"a": "b"}
    )
    yield _completion("multimodal", mm_payload="none", return_mm_kwargs=False)
    yield _completion("thinking", thinking_token_budget=2, routed_experts_prompt_start=0)
    yield _completion("priority", priority=1)


def _other_endpoints() -> Iterator[Case]:
    def case(name: str, path: str, **body: Any) -> Case:
        return Case(name, path, _wire({"model": MODEL} | body))

    turns = _turns("Hello there")
    yield case("responses", RESPONSES, input="Hello", max_output_tokens=4, temperature=0)
    yield case(
        "responses stream",
        RESPONSES,
        input="Hello",
        max_output_tokens=4,
        temperature=0,
        stream=True,
    )
    yield case(
        "responses instructions",
        RESPONSES,
        input=turns,
        instructions="Be",
        max_output_tokens=4,
        temperature=0,
    )
    yield case("messages", MESSAGES, messages=turns, max_tokens=4, temperature=0)
    yield case(
        "messages stream", MESSAGES, messages=turns, max_tokens=4, temperature=0, stream=True
    )
    yield case("messages system", MESSAGES, messages=turns, max_tokens=4, system="S", top_k=1)
    yield case("messages without max_tokens", MESSAGES, messages=turns)
    yield case("count_tokens", MESSAGES + "/count_tokens", messages=turns)
    yield case("tokenize", "/tokenize", prompt=UNICODE, return_token_strs=True)
    yield case("tokenize chat", "/tokenize", messages=turns)
    yield case("detokenize", "/detokenize", tokens=[1, 500, 600])
    yield case("chat render", CHAT + "/render", messages=turns)
    yield case("batch", CHAT + "/batch", messages=[turns, turns], max_tokens=3, temperature=0)
    yield case("embeddings", "/v1/embeddings", input="a text model has none")
    yield Case("stored response unknown", RESPONSES + "/resp_unknown", b"", method="GET")
    yield Case("version", "/version", b"", method="GET")


def _errors() -> Iterator[Case]:
    good = _wire({"model": MODEL, "messages": _turns("hi"), "max_tokens": 1, "temperature": 0})
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    yield _chat("too long", messages=_turns(LONG * 5))
    yield _chat("too long stream", messages=_turns(LONG * 5), stream=True)
    yield _chat("max_tokens too large", max_tokens=100_000)
    yield _chat("negative temperature", temperature=-3)
    yield _chat("temperature in words", temperature="hot")
    yield _chat("no messages", messages=[])
    yield _chat("messages null", messages=None)
    yield _chat("n=2 greedy", n=2)
    yield _chat("image", messages=[{"role": "user", "content": [image]}])
    yield _chat("bad stop type", stop=5, stream=True)
    yield _chat("bad schema", response_format={"type": "json_schema"})
    yield _chat(
        "unknown tool", tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "x"}}
    )
    yield _chat("bad priority header", {"x-vllm-priority": "high"})
    yield _chat("rank out of range", {"x-data-parallel-rank": "7"})
    yield _raw("truncated", good[:-5])
    yield _raw("empty", b"")
    yield _raw("array", b"[1,2,3]")
    yield _raw("number", b"5")
    yield _raw("no messages member", b'{"model":"%s"}' % MODEL.encode())
    yield _raw("not utf-8", good.replace(b"hi", b"\xff\xfe"))
    yield _raw("byte order mark", b"\xef\xbb\xbf" + good)
    yield _raw("text/plain", good, content_type="text/plain")
    yield _raw("form", b"a=b&c=d", content_type="application/x-www-form-urlencoded")
    yield Case("method", CHAT, b"", method="GET")
    yield Case("completion method", COMPLETIONS, b"", method="DELETE")


def _spellings() -> Iterator[Case]:
    """Valid requests that are written in unusual ways."""
    name = MODEL.encode()
    tail = b'"messages":[{"role":"user","content":"hi"}],"max_tokens":2,"temperature":0}'
    yield _raw("no model", b"{" + tail)
    yield _raw("model null", b'{"model":null,' + tail)
    yield _raw("model last", b"{" + tail[:-1] + b',"model":"' + name + b'"}')
    yield _raw("model escaped", b'{"model":"\\u0073' + name[1:] + b'",' + tail)
    yield _raw("model twice", b'{"model":"' + name + b'","model":"' + name + b'",' + tail)
    yield _raw("spaced", b' \r\n\t{ "model" :\n "' + name + b'" , ' + tail + b"  \n")
    yield _raw("escapes", b'{"model":"' + name + rb'","stop":["\ud83d\ude00","\/"],' + tail)
    yield _raw("exponent", b'{"model":"' + name + b'","top_p":1e0,"seed":1E2,' + tail)
    yield _raw("lone surrogate", b'{"model":"' + name + rb'","user":"\ud800",' + tail)
    yield _raw("deep", b'{"model":"' + name + b'","x":' + b"[" * 50 + b"]" * 50 + b"," + tail)
    yield _chat("unknown fields", anything={"at": ["all", None, 1.5e300]}, größe="ü")
    yield _chat("big unknown field", padding="x" * 300_000)
    yield _chat("number forms", temperature=0.0, top_p=1, seed=0, n=1)
    yield Case("chat query", CHAT + "?api-version=1&x=%20%2F", _chat("").body)
    yield _chat("load report", {"endpoint-load-metrics-format": "JSON"})
    yield _completion("load report text", {"endpoint-load-metrics-format": "TEXT"})
    yield _chat(
        "accept", {"accept": "text/event-stream", "x-any": "thing", "cookie": "a=b"}, stream=True
    )
    yield _chat(
        "trace", {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": "k=v"}
    )
    yield _chat(
        "key", {"authorization": "Bearer sk-none", "x-session-id": "s", "user-agent": "t/1"}
    )


CASES: list[Case] = [
    *_chat_messages(),
    *_chat_sampling(),
    *_chat_output(),
    *_chat_structured(),
    *_chat_engine(),
    *_completions(),
    *_other_endpoints(),
    *_errors(),
    *_spellings(),
]
