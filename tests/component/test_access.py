"""Clients with keys: who is let in, for what, how much; and that no key shows anywhere."""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import uvicorn

from router import app as composition
from router.access.keys import digest_of, written
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, asgi_config, chat, eventually
from tests.fakes.client import Fields, Response, request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

ACME, BETA, WORKER = "pr-acme-0123456789", "pr-beta-0123456789", "worker-0123456789"
USAGE = {"usage": {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}}
MESSAGES = "/v1/messages"


def bearer(key: str = ACME) -> Fields:
    return [("Authorization", f"Bearer {key}")]


def tenants(acme: dict[str, Any], **others: dict[str, Any]) -> str:
    """The file of tenants, as YAML reads JSON."""
    keys = {
        "acme": [written(digest_of(ACME.encode()))],
        "beta": [written(digest_of(BETA.encode()))],
    }
    listed = {"acme": acme, **others}
    return json.dumps(
        {"tenants": {name: {"keys": keys.get(name, []), **terms} for name, terms in listed.items()}}
    )


@pytest.fixture
def start(start_router: StartRouter, tmp_path: Path) -> StartRouter:
    """A router with a file of tenants: `acme` is what that one may, `others` too."""

    async def start(
        *workers: FakeWorker | str, acme: Any = None, others: Any = None, **rest: Any
    ) -> RunningRouter:
        file = tmp_path / "tenants.yaml"
        file.write_text(tenants(acme or {}, **(others or {"beta": {}})))
        return await start_router(*workers, tenants_file=file, **rest)

    return start


async def with_usage(request: Request, wire: Wire) -> None:
    await wire.json(USAGE)


def headers_of(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


def asked_of(worker: FakeWorker) -> list[Request]:
    """Clients' requests; the router's own questions are none."""
    return [each for each in worker.requests if each.header("x-request-id") != "router-probe"]


# -- who is let in -----------------------------------------------------------------------------


@pytest.fixture(params=["protocol", "asgi"])
async def both(
    request: pytest.FixtureRequest, worker: FakeWorker, start: StartRouter
) -> RunningRouter:
    """On each of the two server adapters."""
    configure: dict[str, Callable[[composition.App], uvicorn.Config]] = {
        "protocol": composition.server_config,
        "asgi": asgi_config,
    }
    return await start(worker, configure=configure[request.param], worker_api_key=WORKER)


@pytest.mark.parametrize(
    "field",
    [
        ("Authorization", f"Bearer {ACME}"),
        ("authorization", f"bearer {ACME}"),
        ("x-api-key", ACME),
        ("api-key", ACME),
    ],
)
async def test_a_key_may_come_in_three_ways_and_goes_no_further(
    both: RunningRouter, worker: FakeWorker, field: tuple[str, str]
) -> None:
    response = await both.post(chat(), headers=[field, ("x-other", "1")])
    assert response.status == 200
    (asked,) = asked_of(worker)
    fields = headers_of(asked)
    assert fields["authorization"] == f"Bearer {WORKER}"
    assert fields["x-other"] == "1"
    assert not fields.keys() & {"x-api-key", "api-key"}
    assert ACME not in str(asked.headers)
    assert (await both.line())["tenant"] == "acme"


@pytest.mark.parametrize(
    "fields",
    [[], bearer("pr-wrong"), [("x-api-key", "pr-wrong")], [("Authorization", "Basic eDp5")]],
)
async def test_others_are_not_let_in(
    both: RunningRouter, worker: FakeWorker, fields: Fields
) -> None:
    for target in (CHAT, "/v1/responses", "/tokenize", "/v1/responses/resp_1"):
        response = await both.post(chat(), target, fields)
        assert (response.status, response.complete) == (401, True)
        assert response.header("www-authenticate") == "Bearer"
        error = response.json()["error"]
        assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
    response = await both.post(chat(), MESSAGES, fields)
    assert response.status == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert asked_of(worker) == []
    assert "pr-wrong" not in json.dumps(both.lines())
    line = both.lines()[0]
    assert (line["status"], line["outcome"], line["tenant"]) == (401, "client_error", None)


async def test_a_body_is_not_read_for_who_is_not_let_in(
    worker: FakeWorker, start: StartRouter
) -> None:
    router = await start(worker)
    async with router.connect() as client:
        fields = [("Content-Length", "50000000"), ("Expect", "100-continue")]
        await client.send(request("POST", CHAT, b"", fields))
        response = await client.response()
        assert (response.status, response.interim) == (401, [])
        assert response.header("connection") == "close"
    assert router.app.services.bodies.held == 0


async def test_behind_another_request_on_the_connection(
    worker: FakeWorker, start: StartRouter
) -> None:
    router = await start(worker)
    body = json.dumps(chat()).encode()
    async with router.connect() as client:
        await client.send(
            request("POST", CHAT, body, bearer())
            + request("POST", CHAT, body)
            + request("POST", CHAT, body, bearer())
        )
        assert (await client.response()).status == 200
        assert (await client.response()).status == 401
    assert len(asked_of(worker)) == 1


async def test_what_needs_no_key(both: RunningRouter) -> None:
    for target in ("/health", "/ready", "/ping", "/metrics"):
        assert (await both.get(target)).status == 200


async def test_a_preflight_needs_none(both: RunningRouter, worker: FakeWorker) -> None:
    """Browsers send no key with it. It reaches the worker without one."""
    asks = [("Origin", "http://x"), ("Access-Control-Request-Method", "POST")]
    assert (await both.get(CHAT, asks, method="OPTIONS")).status == 200
    assert "authorization" not in headers_of(asked_of(worker)[0])
    assert (await both.get(CHAT, method="OPTIONS")).status == 401
    assert (await both.get("/v1/models", asks, method="OPTIONS")).status == 200


async def test_without_keys_all_is_open_and_passed_on(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, worker_api_key=WORKER)
    fields = [*bearer("sk-of-the-worker"), ("x-api-key", "k"), ("api-key", "a")]
    assert (await router.post(chat(), headers=fields)).status == 200
    (asked,) = asked_of(worker)
    for name, value in fields:
        assert headers_of(asked)[name.lower()] == value
    assert (await router.get("/v1/models")).status == 200
    assert (await router.line())["tenant"] is None


async def test_the_simplest_case(worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker, api_keys=f"acme={ACME},beta={BETA}")
    for key, status in ((ACME, 200), (BETA, 200), ("pr-other", 401)):
        assert (await router.post(chat(), headers=bearer(key))).status == status
    assert [line["tenant"] for line in router.lines()] == ["acme", "beta", None]
    assert "authorization" not in headers_of(asked_of(worker)[0]), "workers need none"


# -- for what ----------------------------------------------------------------------------------


async def test_models(start_worker: StartWorker, start: StartRouter) -> None:
    worker = await start_worker(models=("llama-8b", "llama-70b", "qwen"))
    router = await start(worker, acme={"models": ["llama-*"]})

    async def listed(key: str) -> list[str]:
        response = await router.get("/v1/models", bearer(key))
        assert response.status == 200
        return [card["id"] for card in response.json()["data"]]

    assert await listed(ACME) == ["llama-8b", "llama-70b"]
    assert await listed(BETA) == ["llama-8b", "llama-70b", "qwen"]
    assert (await router.get("/v1/models")).status == 401
    assert (await router.get("/v1/models")).header("www-authenticate") == "Bearer"
    assert (await router.get("/v1/models/llama-8b", bearer())).json()["id"] == "llama-8b"
    assert (await router.get("/v1/models/qwen", bearer(BETA))).status == 200
    for target in ("/v1/models/qwen", "/v1/models/none"):
        response = await router.get(target, bearer())
        assert response.status == 404
        assert "Models served here: `llama-70b`, `llama-8b`." in response.json()["error"]["message"]


@pytest.mark.parametrize("model", ["qwen", "llama-1b", "none"])
async def test_a_model_that_is_not_allowed_does_not_exist(
    start_worker: StartWorker, start: StartRouter, model: str
) -> None:
    """As with OpenAI: 404, and not a word of which models there are."""
    worker = await start_worker(models=("llama-8b", "qwen", "secret-model"))
    router = await start(worker, acme={"models": ["llama-*"]})
    response = await router.post(chat(model=model), headers=bearer())
    assert response.status == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert f"`{model}` does not exist or you do not have access to it" in error["message"]
    assert "secret-model" not in error["message"]
    assert asked_of(worker) == []


async def test_a_model_must_be_named_where_only_some_are_allowed(
    start_worker: StartWorker, start: StartRouter
) -> None:
    """A worker would take its own, whatever cannot be read here too."""
    worker = await start_worker(models=("llama-8b", "qwen"))
    router = await start(worker, acme={"models": ["llama-*"]})
    for body in ({"messages": []}, b"\xff", chat(model=5), '{"model": "qwen"}'.encode("utf-16")):
        response = await router.post(body, headers=bearer())
        assert (response.status, response.json()["error"]["code"]) == (400, "model_required")
    for target, method in (("/version", "GET"), ("/v1/responses/resp_1", "DELETE")):
        assert (await router.get(target, bearer(), method=method)).status == 200
    cancel = await router.post({}, "/v1/responses/resp_1/cancel", bearer())
    assert cancel.status == 200
    assert (await router.post({"messages": []}, headers=bearer(BETA))).status == 200


async def test_priorities_are_bounded_by_the_tenant_s(
    worker: FakeWorker, start: StartRouter
) -> None:
    router = await start(worker, acme={"priority": 2}, others={"beta": {"trusted": True}})
    for key, asked, told in ((ACME, "-9", "2"), (ACME, "1", "3"), (BETA, "-9", "-9")):
        fields = [*bearer(key), ("x-vllm-priority", asked)]
        assert (await router.post(chat(priority=-50), headers=fields)).status == 200
        assert headers_of(asked_of(worker)[-1])["x-vllm-priority"] == told


# -- how much ----------------------------------------------------------------------------------


def limits_of(response: Response) -> dict[str, int]:
    return {
        name.removeprefix("x-ratelimit-"): int(value)
        for name, value in response.headers
        if name.startswith("x-ratelimit-")
    }


async def test_requests_per_minute(worker: FakeWorker, start: StartRouter) -> None:
    router = await start(worker, acme={"requests_per_minute": 3, "tokens_per_minute": 10_000})
    for _ in range(3):
        response = await router.post(chat(), headers=bearer())
        assert (response.status, limits_of(response)) == (200, {})
    for target, kind in ((CHAT, "requests"), (MESSAGES, "rate_limit_error")):
        response = await router.post(chat(), target, bearer())
        assert (response.status, response.complete) == (429, True)
        assert response.json()["error"]["type"] == kind
        assert 1 <= int(response.header("retry-after") or 0) <= 20
        found = limits_of(response)
        assert found.pop("remaining-tokens") > 9000
        assert found == {"limit-requests": 3, "remaining-requests": 0, "limit-tokens": 10_000}
    assert response.json()["type"] == "error"
    assert (await router.post(chat(), headers=bearer(BETA))).status == 200, "not of this one's"
    assert router.total("router_rate_limited_total", tenant="acme", limit="requests") == 2
    assert router.total("router_tenant_requests_total", tenant="acme", outcome="ok") == 3
    assert router.total("router_tenant_requests_total", tenant="acme", outcome="client_error") == 2


async def test_tokens_per_minute(worker: FakeWorker, start: StartRouter) -> None:
    """Charged by the prompt's length, settled with what the worker counted."""
    worker.script = with_usage
    router = await start(worker, acme={"tokens_per_minute": 1000})
    long = chat("word " * 700)
    assert (await router.post(long, headers=bearer())).status == 200
    bucket = router.app.tenancy.tenants.identify({b"api-key": ACME.encode()}).tokens
    assert 943 <= bucket.level < 944, "57 tokens, not the 800 that it looked like"
    assert router.total("router_tenant_tokens_total", tenant="acme", kind="prompt") == 50
    assert router.total("router_tenant_tokens_total", tenant="acme", kind="completion") == 7
    worker.script = lambda request, wire: wire.json(
        {"usage": {"prompt_tokens": 900, "completion_tokens": 900}}
    )
    assert (await router.post(chat(), headers=bearer())).status == 200
    refused = await router.post(chat(), headers=bearer())
    assert (refused.status, refused.json()["error"]["type"]) == (429, "tokens")
    assert limits_of(refused) == {"limit-tokens": 1000, "remaining-tokens": 0}
    assert 45 <= int(refused.header("retry-after") or 0) <= 60
    assert router.total("router_tenant_requests_total", tenant="acme", outcome="ok") == 2


async def test_what_is_not_used_is_given_back(worker: FakeWorker, start: StartRouter) -> None:
    """However a request ends that got nothing."""
    router = await start(worker, acme={"tokens_per_minute": 100_000, "max_inflight": 3})
    tenant = router.app.tenancy.tenants.identify({b"api-key": ACME.encode()})
    body = chat("word " * 2000)

    async def fails(request: Request, wire: Wire) -> None:
        await wire.json({"error": "no"}, status=400)

    async def breaks_off(request: Request, wire: Wire) -> None:
        wire.reset()

    for script in (fails, breaks_off):
        worker.script = script
        assert (await router.post(body, headers=bearer())).status in (400, 502)
        await eventually(lambda: tenant.inflight == 0)
        assert tenant.spent_tokens == 0
    assert (await router.post(chat(model="none"), headers=bearer())).status == 404
    assert (tenant.inflight, tenant.spent_tokens) == (0, 0)


async def test_a_client_that_leaves_pays_for_what_was_begun(
    worker: FakeWorker, start: StartRouter
) -> None:
    router = await start(worker, acme={"tokens_per_minute": 100_000, "max_inflight": 1})
    tenant = router.app.tenancy.tenants.identify({b"api-key": ACME.encode()})
    begun = asyncio.Event()

    async def streams(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        for _ in range(4):
            await wire.chunk(sse({"choices": [{"delta": {"content": "x"}}]}, done=False)[0])
        begun.set()
        await asyncio.sleep(30)

    worker.script = streams
    async with router.connect() as client:
        await client.post(CHAT, chat("word " * 2000, stream=True), bearer())
        await client.head()
        await begun.wait()
        await eventually(lambda: router.inflight == 1)
        assert (await router.post(chat(), headers=bearer())).status == 429
        await client.leave()
    await eventually(lambda: tenant.inflight == 0)
    assert tenant.spent_tokens == tenant.prompt_tokens + tenant.completion_tokens
    assert tenant.prompt_tokens > 1000
    assert 1 <= tenant.completion_tokens <= 4


async def test_requests_at_a_time(worker: FakeWorker, start: StartRouter) -> None:
    gate = asyncio.Event()

    async def waits(request: Request, wire: Wire) -> None:
        await gate.wait()
        await wire.json({})

    worker.script = waits
    router = await start(worker, acme={"max_inflight": 2})
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(router.post(chat(), headers=bearer())) for _ in range(2)]
        await eventually(lambda: router.inflight == 2)
        refused = await router.post(chat(), headers=bearer())
        assert (refused.status, refused.header("retry-after")) == (429, "1")
        assert router.total("router_rate_limited_total", limit="inflight") == 1
        gate.set()
    assert [task.result().status for task in running] == [200, 200]
    assert (await router.post(chat(), headers=bearer())).status == 200


# -- changes -----------------------------------------------------------------------------------


async def test_keys_change_while_it_runs(worker: FakeWorker, start: StartRouter) -> None:
    router = await start(worker)
    file: Path = router.app.settings.tenants_file
    router.app.tenancy.watch._look_s = 0.02

    def put(text: str) -> None:
        file.with_suffix(".new").write_text(text)
        os.replace(file.with_suffix(".new"), file)

    async def status(key: str) -> int:
        return (await router.post(chat(), headers=bearer(key))).status

    async def becomes(key: str, wanted: int) -> None:
        async with asyncio.timeout(10):
            while await status(key) != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    assert (await status(ACME), await status(BETA)) == (200, 200)
    put(tenants({}))
    await becomes(BETA, 401)
    put("tenants: [")
    await asyncio.sleep(0.2)
    assert (await status(ACME), await status(BETA)) == (200, 401), "as it was"
    put(tenants({}, beta={}))
    await becomes(BETA, 200)


# -- silence -----------------------------------------------------------------------------------


async def test_no_key_shows_anywhere(
    worker: FakeWorker,
    start_router: StartRouter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In logs (at debug), metrics, errors, what is told of workers: not of clients, not of workers, not a wrong one."""
    wrong = "pr-wrong-0123456789"
    secrets = [ACME, WORKER, wrong, digest_of(ACME.encode()).hex(), repr(digest_of(ACME.encode()))]
    caplog.set_level(logging.DEBUG)
    router = await start_router(
        worker, api_keys=f"acme={ACME}", worker_api_key=WORKER, log_level="debug"
    )
    written_out: list[bytes] = []

    async def note(response: Response) -> None:
        written_out.append(repr(response.headers).encode() + response.body)

    async def lost(request: Request, wire: Wire) -> None:
        wire.reset()

    def fails(*arguments: object) -> object:
        raise ZeroDivisionError

    worker.script = with_usage
    for key in (ACME, wrong):
        for fields in (bearer(key), [("x-api-key", key)], [("api-key", key)]):
            for target in (CHAT, MESSAGES, "/v1/responses", "/tokenize", "/v1/nothing"):
                await note(await router.post(chat(), target, fields))
            for target in ("/v1/models", "/workers", "/metrics", "/health", "/nothing"):
                await note(await router.get(target, fields))
            await note(await router.post(chat(), "/explain", fields))
            await note(await router.post(chat(model="none"), headers=fields))
            await note(await router.post(b"\xff" * 10, headers=fields))
    worker.script = lost
    await note(await router.post(chat(), headers=bearer()))
    with monkeypatch.context() as patch:
        patch.setattr("router.gateway.Request", fails)
        await note(await router.post(chat(), headers=bearer()))
    assert "ZeroDivisionError" in caplog.text, "tracebacks are looked at, too"
    shown = b"".join(written_out).decode("latin-1")
    shown += caplog.text + json.dumps(router.lines())
    shown += repr(router.app) + repr(router.app.settings) + repr(router.app.tenancy)
    assert "acme" in shown
    for secret in secrets:
        assert secret not in shown


# -- as clients' libraries see it --------------------------------------------------------------


@pytest.fixture
async def limited(worker: FakeWorker, start: StartRouter) -> RunningRouter:
    return await start(worker, acme={"models": ["m"], "requests_per_minute": 1})


async def test_openai_s_client(limited: RunningRouter) -> None:
    base = f"{limited.url}/v1"

    async def ask(client: openai.AsyncOpenAI, model: str = "m") -> Any:
        return await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}]
        )

    async with openai.AsyncOpenAI(base_url=base, api_key="pr-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as wrong:
            await ask(client)
        assert wrong.value.code == "invalid_api_key"
    async with openai.AsyncOpenAI(base_url=base, api_key=ACME, max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["m"]
        with pytest.raises(openai.NotFoundError) as missing:
            await ask(client, "gpt-5")
        assert missing.value.code == "model_not_found"
        await ask(client)
        with pytest.raises(openai.RateLimitError) as limit:
            await ask(client)
        assert (limit.value.code, limit.value.type) == ("rate_limit_exceeded", "requests")
        assert limit.value.response.headers["x-ratelimit-limit-requests"] == "1"


async def test_anthropic_s_client(limited: RunningRouter) -> None:
    async def ask(key: str) -> None:
        async with anthropic.AsyncAnthropic(
            base_url=limited.url, api_key=key, max_retries=0
        ) as client:
            await client.messages.create(
                model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}]
            )

    with pytest.raises(anthropic.AuthenticationError):
        await ask("pr-wrong")
    await ask(ACME)
    with pytest.raises(anthropic.RateLimitError):
        await ask(ACME)
