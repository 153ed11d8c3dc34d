"""A managed service that stands in: what it is sent and what not, and what becomes of its failures."""

import asyncio
import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from router.discovery.registry import Discovery
from router.engines.vllm import DRAINING
from router.finding import configured
from router.settings import Settings
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.client import Fields, chunked, request
from tests.fakes.wire import Request, Script, Wire
from tests.fakes.worker import FakeWorker, card, sse

TOKEN = {"choices": [{"delta": {"content": "a"}}]}


async def before(
    start_router: StartRouter, service: FakeWorker, *workers: FakeWorker | str, **settings: Any
) -> RunningRouter:
    usual = {
        "fallback_url": f"{service.url}/v1",
        "fallback_api_key": "secret",
        "fallback_models": {"m": "there"},
        "host": "127.0.0.1",
    }
    return await start_router(*workers, **{**usual, **settings})


def answering(
    status: int, headers: Fields = (), body: bytes = b'{"error":{"message":"no"}}'
) -> Any:
    async def script(request: Request, wire: Wire) -> None:
        await wire.reply(status, [("Content-Type", "application/json"), *headers], body)

    return script


# -- what it is sent -------------------------------------------------------------------------------


async def test_a_form_is_sent_with_the_services_name_of_the_model(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    body = (
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\n\x00\x01\xff--not-B\r\n--B--\r\n"
    )
    headers = [("Content-Type", "multipart/form-data; boundary=B")]
    answer = await router.post(body, target="/v1/audio/transcriptions", headers=headers)
    assert answer.status == 200
    (asked,) = service.requests
    assert b"\x00\x01\xff--not-B\r\n" in asked.body
    assert b"\r\n\r\nthere\r\n" in asked.body
    assert b"\r\n\r\nm\r\n" not in asked.body


@pytest.mark.parametrize("fields", [[], [("X-Router-Worker", "fallback")]])
async def test_a_model_that_it_does_not_stand_in_for_is_not_asked_of_it(
    start_router: StartRouter, start_worker: StartWorker, fields: Fields
) -> None:
    """Not either by who names it: the operator pays, for the models of `fallback_models`."""
    service, worker = await start_worker(), await start_worker()
    router = await before(start_router, service, worker)
    headers = [(name, service.id) for name, _ in fields]
    answer = await router.post({**chat(), "model": "the-dearest"}, headers=headers)
    assert answer.status in (400, 404)
    assert service.requests == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_stored_at_the_service_is_nobodys_to_see(
    start_router: StartRouter, start_worker: StartWorker, method: str
) -> None:
    """It is all stored under the operator's key: whoever knows or guesses an id could read or delete it."""
    service = await start_worker()
    router = await before(start_router, service)
    await router.get("/v1/responses/resp_of_somebody", method=method)
    assert service.requests == []


async def test_a_path_that_was_allowed_for_workers_is_not_open_there(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """`allow_paths` was meant for vLLM's; at a service the same path may list or delete the operator's files."""
    service = await start_worker()
    router = await before(start_router, service, allow_paths=["/v1/files*"])
    answer = await router.get("/v1/files")
    assert answer.status >= 400
    assert service.requests == []


async def test_no_field_that_is_not_known_and_no_key_is_sent(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    keys = {"team": "of-the-client-0123456789"}
    router = await before(
        start_router, service, api_keys={"team": keys["team"]}, tenant_header="x-team"
    )
    headers = [
        ("Authorization", f"Bearer {keys['team']}"),
        ("X-Api-Key", keys["team"]),
        ("Api-Key", keys["team"]),
        ("Cookie", "session=1"),
        ("X-Team", "a"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Vllm-Priority", "3"),
        ("X-Data-Parallel-Rank", "0"),
        ("X-Router-Explain", "1"),
        ("Accept", "application/json"),
        ("User-Agent", "client"),
    ]
    answer = await router.post({**chat(), "priority": 3}, headers=headers)
    assert answer.status == 200
    (asked,) = service.requests
    assert keys["team"] not in str(asked.headers)
    names = sorted(name.lower() for name, _ in asked.headers)
    assert set(names) <= {
        "host", "authorization", "content-type", "content-length", "accept", "user-agent",
        "x-request-id", "connection",
    }  # fmt: skip
    assert asked.all("authorization") == ["Bearer secret"]
    assert asked.header("host") == service.authority


async def test_without_a_key_none_is_sent(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service, fallback_api_key=None)
    assert (await router.post(chat(), headers=[("Authorization", "Bearer mine")])).status == 200
    assert service.requests[0].all("authorization") == []


async def test_what_came_compressed_is_sent_plain_and_renamed(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    body = gzip.compress(json.dumps(chat("x" * 5000)).encode())
    answer = await router.post(body, headers=[("Content-Encoding", "gzip")])
    assert answer.status == 200
    (asked,) = service.requests
    assert asked.header("content-encoding") is None
    assert asked.json() == {**chat("x" * 5000), "model": "there"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"\\ud83d\\ude00 \\u0000"}]}',
        b' \n{"messages":[],"model":"m","n":1e400,"big":123456789012345678901234567890}',
        b'{"model":"other","messages":[],"model":"m"}',
        '{"model":"m","messages":[{"content":"ä €","r":1.10}]}'.encode(),
    ],
)
async def test_only_the_name_differs_of_odd_bodies(
    start_router: StartRouter, start_worker: StartWorker, body: bytes
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    assert (await router.post(body)).status == 200
    (asked,) = service.requests
    assert b'"there"' in asked.body
    assert b'"m"' not in asked.body
    for piece in (b"1e400", b"123456789012345678901234567890", b"\\ud83d\\ude00 \\u0000", b"1.10"):
        assert (piece in asked.body) == (piece in body)


async def test_a_big_body_is_sent_whole(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    text = "0123456789" * 1_000_000
    assert (await router.post(chat(text))).status == 200
    assert service.requests[0].json()["messages"][0]["content"] == text


async def test_a_request_without_a_model_is_not_sent_there(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """It would run whatever the service takes for its default."""
    service = await start_worker()
    router = await before(start_router, service)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert (await router.post(body)).status in (400, 503)
    assert service.requests == []


# -- what comes of it ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_its_errors_are_the_clients_and_it_is_asked_again(
    start_router: StartRouter, start_worker: StartWorker, status: int
) -> None:
    service = await start_worker(script=answering(status, [("Retry-After", "30")]))
    router = await before(start_router, service)
    for number in range(8):
        answer = await router.post(chat(f"{number}"))
        assert answer.status == status
        assert answer.json() == {"error": {"message": "no"}}
    assert len(service.requests) == 8
    service.script = FakeWorker().script
    assert (await router.post(chat())).status == 200
    assert (await router.get("/ready")).status == 200


async def test_its_cookies_are_not_given_to_clients(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """They are of the operator's session with the service, and its account is named in other fields."""
    fields = [("Set-Cookie", "__cf_bm=1"), ("OpenAI-Organization", "org-of-the-operator")]
    service = await start_worker(script=answering(200, fields, b"{}"))
    router = await before(start_router, service)
    answer = await router.post(chat())
    assert answer.all("set-cookie") == []
    assert answer.all("openai-organization") == []


async def test_its_circuit_opens_and_closes_again_although_nobody_probes_it(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker(script=answering(502))
    router = await before(start_router, service, eject_failures=2, eject_s=0.2)
    (known,) = router.workers
    for _ in range(3):
        assert (await router.post(chat())).status == 502
    assert known.circuit.opened >= 1
    assert known.up
    service.script = FakeWorker().script
    await asyncio.sleep(0.7)
    for number in range(10):
        assert (await router.post(chat(f"{number}"))).status == 200
    assert known.circuit.plain


async def test_what_it_says_of_draining_is_not_for_ever(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """Nobody would find out that it is over."""
    service = await start_worker(script=answering(500, body=b'{"error":"' + DRAINING + b'"}'))
    dead = await start_worker()
    router = await before(start_router, service, dead)
    await dead.stop()
    await router.post(chat())
    service.script = FakeWorker().script
    assert (await router.post(chat())).status == 200
    assert (await router.get("/ready")).status == 200


async def test_a_stream_that_breaks_there_ends_with_an_error(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    async def breaks(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        await wire.chunk(sse(TOKEN, done=False)[0])
        wire.reset()

    service = await start_worker(script=breaks)
    router = await before(start_router, service, resume="on")
    answer = await router.post(chat(stream=True))
    assert answer.status == 200
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
    assert len(service.requests) == 1


def _breaking(begun: asyncio.Event, die: asyncio.Event) -> Script:
    """Begins a stream that could go on elsewhere, and breaks it off."""

    async def breaks(request: Request, wire: Wire) -> None:
        assert request.json().get("return_token_ids") is True
        await wire.start(200, [("Content-Type", "text/event-stream")])
        await wire.chunk(
            sse(
                {
                    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "prompt_token_ids": [1, 2],
                    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None,
                                 "finish_reason": None}],
                },
                {
                    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": None,
                                 "token_ids": [5]}],
                },
                done=False,
            )[0]
        )  # fmt: skip
        begun.set()
        await die.wait()
        wire.reset()

    return breaks


async def test_a_stream_that_a_worker_began_does_not_go_on_there(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """The service would begin anew, in other words: the client would have both."""
    begun, die = asyncio.Event(), asyncio.Event()
    service = await start_worker()
    first = await start_worker(script=_breaking(begun, die))
    router = await before(start_router, service, first, resume="on")
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True, max_tokens=5))
        answer = await client.head()
        await begun.wait()
        first_down = first.stop
        die.set()
        await first_down()
        await client.body(answer)
    assert b"[DONE]" not in answer.body
    assert service.requests == []


async def test_nor_where_it_waits_for_a_worker_that_leaves(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    begun, die, held = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold(request: Request, wire: Wire) -> None:
        await held.wait()
        await wire.json({})

    service, busy = await start_worker(), await start_worker(script=hold)
    first = await start_worker(script=_breaking(begun, die))
    router = await before(start_router, service, first, busy, resume="on", max_inflight=1)
    other = asyncio.ensure_future(router.post(chat(), headers=[("x-router-worker", busy.id)]))
    await busy.received_count(1)
    streamed = asyncio.ensure_future(router.post(chat(stream=True, max_tokens=5)))
    await begun.wait()
    die.set()
    await eventually(lambda: len(router.app.dispatch) == 1)
    await first.stop()
    await eventually(lambda: not any(each.up for each in router.workers if each.id == first.id))
    await router.post({}, f"/workers/{busy.id}/drain")
    answer = await streamed
    assert b"[DONE]" not in answer.body
    assert b"could not be resumed: there is no other worker" in answer.body
    assert service.requests == []
    line = await router.line()
    assert (line["status"], line["outcome"], line["worker"]) == (200, "upstream_error", first.id)
    held.set()
    assert (await other).status == 200


async def test_a_request_that_waits_goes_there_when_the_last_worker_leaves(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    go_on = asyncio.Event()

    async def held(request: Request, wire: Wire) -> None:
        await go_on.wait()
        await wire.json({})

    service, worker = await start_worker(), await start_worker(script=held)
    router = await before(start_router, service, worker, max_inflight=1)
    running = asyncio.ensure_future(router.post(chat("a")))
    await worker.received_count(1)
    waiting = asyncio.ensure_future(router.post(chat("b")))
    await eventually(lambda: len(router.app.dispatch) == 1)
    here = ("Host", f"127.0.0.1:{router.port}")
    await router.get(f"/workers/{worker.id}", [here], method="DELETE")
    assert (await waiting).status == 200
    assert service.requests[0].json()["model"] == "there"
    go_on.set()
    assert (await running).status == 200


async def test_a_service_that_an_operator_drained_stands_in_for_nobody(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """Its cost ran away, say. Not either while the circuits of all workers are open."""
    service = await start_worker()
    worker = await start_worker(script=answering(502))
    router = await before(start_router, service, worker, eject_failures=1, eject_s=60)
    here = ("Host", f"127.0.0.1:{router.port}")
    drained = await router.get(f"/workers/{service.id}/drain", [here], method="POST")
    assert drained.status == 200
    for number in range(3):
        await router.post(chat(f"{number}"))
    assert service.requests == []


async def test_explain_with_nothing_but_a_service(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    answer = await router.post(chat(), target="/explain")
    assert answer.status == 200
    assert answer.json()["worker"] == service.id
    assert service.requests == []


async def test_a_workers_own_card_of_a_model_counts_however_late_it_was_found(
    start_router: StartRouter, start_worker: StartWorker, tmp_path: Path
) -> None:
    service, worker = await start_worker(), await start_worker()
    worker.cards = [card("m", max_model_len=4096)]
    file = tmp_path / "workers.yaml"
    file.write_text(f"- {worker.url}\n")
    router = await before(start_router, service, workers_file=file)
    await eventually(lambda: all(known.models for known in router.workers))
    (listed,) = (await router.get("/v1/models")).json()["data"]
    assert listed["owned_by"] == "vllm"
    assert listed["root"] == "m", "what it is called at the service is nobody's business"
    assert listed["max_model_len"] == 4096


async def test_what_it_stands_in_for_may_change_while_it_runs(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    discovery: Discovery = router.app.discovery
    values = router.app.settings.model_dump(exclude_unset=True)
    values |= {"fallback_models": {"n": "elsewhere"}, "fallback_api_key": "new"}
    discovery.set_sources(configured(Settings(**values)), [])
    assert (await router.post(chat())).status == 404
    assert (await router.post({**chat(), "model": "n"})).status == 200
    (asked,) = service.requests
    assert asked.json()["model"] == "elsewhere"
    assert asked.header("authorization") == "Bearer new"


async def test_a_service_at_a_workers_address_is_refused_by_the_configuration(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """One of them would silently not be there."""
    service = await start_worker()
    with pytest.raises(ValidationError):
        await before(start_router, service, service)


async def test_quotas_count_what_a_service_answers(
    start_router: StartRouter, start_worker: StartWorker, tmp_path: Path
) -> None:
    usage = b'{"usage":{"prompt_tokens":90,"completion_tokens":20,"total_tokens":110}}'
    service = await start_worker(script=answering(200, body=usage))
    tenants = tmp_path / "tenants.yaml"
    digest = sha256(b"a-key-of-the-team-0123").hexdigest()
    tenants.write_text(
        f"tenants:\n  team:\n    keys: ['sha256:{digest}']\n    tokens_per_minute: 100\n"
    )
    router = await before(start_router, service, tenants_file=tenants)
    key = [("Authorization", "Bearer a-key-of-the-team-0123")]
    assert (await router.post(chat())).status == 401
    assert (await router.post(chat(), headers=key)).status == 200
    assert (await router.post(chat(), headers=key)).status == 429
    assert len(service.requests) == 1


async def test_a_slow_service_is_given_up(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    async def hang(request: Request, wire: Wire) -> None:
        await wire.hang()

    service = await start_worker(script=hang)
    router = await before(start_router, service, first_byte_timeout_s=0.3)
    assert (await router.post(chat())).status == 504
    assert router.workers[0].up


async def test_an_expectation_and_a_chunked_body_are_its_too(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    body = json.dumps(chat()).encode()
    fields = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    async with router.connect() as client:
        await client.send(request("POST", CHAT, chunked(body[:9], body[9:]), fields))
        assert (await client.response()).status == 200
    assert service.requests[0].json()["model"] == "there"
