"""Clients as their users have them, through the router as a process, to simulated workers as processes."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

import anthropic
import openai
import pytest

from tests.e2e.harness import Router, ask, router_process, wait_until
from tests.fakes.ports import free_ports

CHAT, EMBEDDER = "org/chat-model", "embedder"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@contextlib.contextmanager
def sim_workers(*models: str, events: bool = False) -> Iterator[list[str]]:
    """One simulated worker per model; `events`: they publish those of their caches."""
    count = len(models)
    ports = free_ports(3 * count)
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "router.simworker"),
                *("--port", str(port), "--model", model),
                *(("--kv-events-port", str(ports[count + 2 * number])) if events else ()),
            ]
        )
        for number, (port, model) in enumerate(zip(ports, models, strict=False))
    ]
    urls = [f"http://127.0.0.1:{port}" for port in ports[:count]]
    try:
        wait_until(lambda: all(map(_listens, urls)), 20, "simulated workers")
        yield urls
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


def _listens(url: str) -> bool:
    try:
        return ask(url, "/health", method="GET").status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with (
        sim_workers(CHAT, CHAT, EMBEDDER) as urls,
        router_process(urls, tmp_path_factory.mktemp("router")) as running,
    ):
        wait_until(
            lambda: ask(running.url, "/ready", method="GET").json()["workers_up"] == 3, 20, "fleet"
        )
        yield running


@pytest.fixture
def client(router: Router) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key="-", max_retries=0) as made:
        yield made


MESSAGES = [{"role": "user", "content": "Tell me about prefix caches."}]


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=MESSAGES, max_tokens=8)
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens == 8


def test_chat_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=CHAT,
        messages=MESSAGES,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 8


def test_tools(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=MESSAGES, tools=[TOOL], tool_choice="required"
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "weather"


def test_tools_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=CHAT, messages=MESSAGES, tools=[TOOL], tool_choice="required"
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "weather"


def test_completions(client: openai.OpenAI) -> None:
    assert client.completions.create(model=CHAT, prompt="Once", max_tokens=5).choices[0].text


@pytest.mark.parametrize("text", ["one", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
def test_embeddings(client: openai.OpenAI, text: object) -> None:
    """All four input shapes, and the model that only one worker has."""
    answer = client.embeddings.create(model=EMBEDDER, input=text)  # type: ignore[arg-type]
    assert answer.data[0].embedding


def test_responses(client: openai.OpenAI) -> None:
    """A stored response is found again on the worker that stores it, and can be continued."""
    first = client.responses.create(model=CHAT, input="Hello", max_output_tokens=8)
    assert client.responses.retrieve(first.id).id == first.id
    second = client.responses.create(
        model=CHAT, input="Go on", previous_response_id=first.id, max_output_tokens=8
    )
    assert second.previous_response_id == first.id


def test_responses_stream(client: openai.OpenAI) -> None:
    events = [
        event.type
        for event in client.responses.create(
            model=CHAT, input="Hello", max_output_tokens=8, stream=True
        )
    ]
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {CHAT, EMBEDDER}
    assert client.models.retrieve(CHAT).id == CHAT


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist") as caught:
        client.chat.completions.create(model="nope", messages=MESSAGES)
    assert caught.value.code == "model_not_found"


async def test_async(router: Router) -> None:
    async with openai.AsyncOpenAI(base_url=f"{router.url}/v1", api_key="-") as client:
        stream = await client.chat.completions.create(
            model=CHAT, messages=MESSAGES, max_tokens=8, stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
    assert text


def test_anthropic(router: Router) -> None:
    with anthropic.Anthropic(base_url=router.url, api_key="-", max_retries=0) as client:
        message = client.messages.create(model=CHAT, max_tokens=8, messages=MESSAGES)
        assert message.content[0].type == "text"
        with client.messages.stream(model=CHAT, max_tokens=8, messages=MESSAGES) as stream:
            assert stream.get_final_text()
        assert client.messages.count_tokens(model=CHAT, messages=MESSAGES).input_tokens > 0
        with pytest.raises(anthropic.NotFoundError, match="does not exist"):
            client.messages.create(model="nope", max_tokens=8, messages=MESSAGES)


def test_a_prefix_returns_to_its_worker(router: Router) -> None:
    """A second request with the same long prefix meets the cache that the first one filled."""
    system = "You answer questions about caches. " * 60
    seen = []
    for question in ("First?", "Second?", "Third?"):
        answer = ask(
            router.url,
            "/v1/chat/completions",
            {
                "model": CHAT,
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": question},
                ],
                "max_tokens": 4,
            },
        )
        seen.append((answer.header("x-router-worker"), answer.cached_tokens > 0))
    assert len({worker for worker, _ in seen}) == 1
    assert [cached for _, cached in seen] == [False, True, True]


def test_demo() -> None:
    """`prefix-router demo` shows a better hit rate and TTFT than by turns, and how to go on."""
    run = subprocess.run(
        [sys.executable, "-m", "router", "demo", "--once", "--port", "0", "--workers", "2"],
        capture_output=True,
        text=True,
        timeout=55,
        check=True,
    )
    rates = {m[1]: int(m[2]) for m in re.finditer(r"(round_robin|prefix)\s+│\s+(\d+)%", run.stdout)}
    assert rates["prefix"] > rates["round_robin"]
    assert "curl http://127.0.0.1:" in run.stdout
    assert not run.stderr
