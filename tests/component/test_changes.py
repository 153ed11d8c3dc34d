"""Workers are added, removed, drained and described anew while requests run, wait and are refused."""

import asyncio
import json
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from router.discovery.registry import Discovery
from router.ids import WorkerId
from router.reload import Origin, Reloader
from router.setting_sources import load
from router.settings import Settings
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.certificate import Certificate
from tests.fakes.client import Fields, Response, request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, card, sse

JSON: Fields = [("Content-Type", "application/json")]
TOKEN = {"choices": [{"delta": {"content": "a"}}]}


async def add(router: RunningRouter, url: str, headers: Fields = ()) -> Response:
    fields = headers if any(name == "Host" for name, _ in headers) else [*headers, here(router)]
    return await router.post({"url": url}, target="/workers", headers=fields)


async def change(router: RunningRouter, method: str, target: str) -> Response:
    return await router.get(f"/workers/{target}", [*JSON, here(router)], method=method)


def here(router: RunningRouter) -> tuple[str, str]:
    """As who is on the router's own machine."""
    return "Host", f"127.0.0.1:{router.port}"


def ids(router: RunningRouter) -> list[str]:
    return [worker.id for worker in router.workers]


class Held:
    """Streams a token at once, and the end when it is let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = 0

    async def __call__(self, request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        await wire.chunk(sse(TOKEN, done=False)[0])
        self.begun += 1
        await self.go_on.wait()
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end()


def reloader(router: RunningRouter, **changes: Any) -> Reloader:
    """Reads settings that are the router's, with `changes`."""
    values = router.app.settings.model_dump(exclude_unset=True) | changes
    return Reloader(router.app, Origin(None, lambda: Settings(**values)))


# -- requests under way ----------------------------------------------------------------------------


async def test_a_stream_outlives_its_worker_and_a_new_one_at_the_same_address(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Removed and added again: another pool, another state, and the old answer ends as it would."""
    held = Held()
    worker, other = await start_worker(script=held), await start_worker(models=("other",))
    router = await start_router(worker, other, host="127.0.0.1")
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True))
        answer = await client.head()
        (old,) = [each for each in router.workers if each.id == worker.id]
        assert (await change(router, "DELETE", worker.id)).status == 200
        assert ids(router) == [other.id]
        assert (await router.post(chat())).status in (404, 503)
        assert (await add(router, worker.url)).status == 201
        (new,) = [each for each in router.workers if each.id == worker.id]
        assert new is not old
        await eventually(lambda: new.serves)
        assert (old.load.inflight, new.load.inflight) == (1, 0)
        held.go_on.set()
        await client.body(answer)
    assert answer.complete
    assert answer.body.endswith(b"data: [DONE]\n\n")
    await eventually(lambda: old.load.inflight == 0)
    assert (await router.post(chat())).status == 200


async def test_what_waits_for_a_removed_worker_is_told_so_or_goes_elsewhere(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    held = Held()
    first, second = await start_worker(script=held), await start_worker(script=held)
    router = await start_router(first, host="127.0.0.1", max_inflight=1)
    running = [asyncio.ensure_future(router.post(chat("a", stream=True)))]
    await eventually(lambda: held.begun == 1)
    waiting = [asyncio.ensure_future(router.post(chat(f"b{n}", stream=True))) for n in range(2)]
    await eventually(lambda: len(router.app.dispatch) == 2)
    assert (await add(router, second.url)).status == 201
    await eventually(lambda: held.begun == 2)
    await change(router, "DELETE", second.id)
    await change(router, "DELETE", first.id)
    await eventually(lambda: len(router.app.dispatch) == 0)
    refused = await _done(waiting, 1)
    assert [answer.status for answer in refused] == [503]
    held.go_on.set()
    answers = await asyncio.gather(*running, *waiting)
    assert sorted(answer.status for answer in answers) == [200, 200, 503]


async def _done(tasks: list["asyncio.Task[Response]"], count: int) -> list[Response]:
    await eventually(lambda: sum(task.done() for task in tasks) >= count)
    return [task.result() for task in tasks if task.done()]


async def test_a_removed_worker_leaves_nothing_behind(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Although its last answer ends, and is learned from, after it left."""
    usage = {"usage": {"prompt_tokens": 700, "completion_tokens": 1, "total_tokens": 701}}
    go_on = asyncio.Event()

    async def slow(request: Request, wire: Wire) -> None:
        await go_on.wait()
        await wire.json({"choices": [], **usage})

    worker, other = await start_worker(script=slow), await start_worker(models=("other",))
    router = await start_router(worker, other, host="127.0.0.1")
    text = "all that was said before " * 200
    task = asyncio.ensure_future(router.post(chat(text)))
    await worker.received_count(1)
    assert sum(router.app.insight.blocks(WorkerId(worker.id)).values()) > 0
    await change(router, "DELETE", worker.id)
    go_on.set()
    assert (await task).status == 200
    await router.line()
    left = router.app.insight.blocks(WorkerId(worker.id))
    assert not sum(left.values()), "of a worker that is not there any more"
    assert not router.samples("router_worker_inflight").get((("worker", worker.id),))


async def test_limits_hold_for_what_is_still_connecting_to_a_removed_worker(
    worker: FakeWorker,
    start_worker: StartWorker,
    start_router: StartRouter,
    certificate: Certificate,
) -> None:
    """Its TLS handshake takes long; meanwhile the worker is removed, and then never answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    silent = await start_worker(tls=context, script=hang)
    let_through, accepted = asyncio.Event(), asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await let_through.wait()
        back, forth = await asyncio.open_connection("127.0.0.1", silent.port)
        with suppress(ConnectionError):
            await asyncio.gather(pump(reader, forth), pump(back, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        slow = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        router = await start_router(
            worker,
            worker_ca_file=certificate.cert,
            first_byte_timeout_s=0.5,
            connect_timeout_s=10.0,
            host="127.0.0.1",
        )
        await add(router, f"https://{slow}")
        task = asyncio.ensure_future(router.post(chat(), headers=[("x-router-worker", slow)]))
        await accepted.wait()
        await asyncio.sleep(0.1)
        await change(router, "DELETE", slow)
        await asyncio.sleep(1.6)  # the router looks after its pools each second
        let_through.set()
        done, _ = await asyncio.wait([task], timeout=3.0)
        await silent.stop()
        status = (await task).status
    assert done, "the request hung until the worker died"
    assert status == 504


async def hang(request: Request, wire: Wire) -> None:
    await wire.hang()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


async def test_a_pinned_request_meets_a_drained_worker_and_not_a_removed_one(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    worker, other = await start_worker(), await start_worker()
    router = await start_router(worker, other, host="127.0.0.1")
    pin = [("x-router-worker", worker.id)]
    await change(router, "POST", f"{worker.id}/drain")
    assert (await router.post(chat(), headers=pin)).status == 200
    assert len(worker.requests) == 1
    await change(router, "DELETE", worker.id)
    assert (await router.post(chat(), headers=pin)).status == 400
    assert (len(worker.requests), len(other.requests)) == (1, 0)


async def test_the_last_worker_goes_and_another_comes(
    worker: FakeWorker, start_router: StartRouter, start_worker: StartWorker
) -> None:
    router = await start_router(worker, host="127.0.0.1")
    await change(router, "DELETE", worker.id)
    assert (await router.get("/ready")).status == 503
    assert (await router.post(chat())).status == 503
    other = await start_worker()
    await add(router, other.url)
    await eventually(lambda: router.app.fleet.ready)
    assert (await router.post(chat())).status == 200


# -- ranks -----------------------------------------------------------------------------------------


async def ranked(start_worker: StartWorker, start_router: StartRouter, **settings: Any) -> Any:
    worker = await start_worker()
    worker.metrics = b"".join(
        b'vllm:num_requests_running{model_name="m",engine="%d"} 0\n'
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="100",engine="%d"} 1\n' % (n, n)
        for n in range(2)
    )
    router = await start_router(worker, host="127.0.0.1", **settings)
    await eventually(lambda: len(router.workers) == 2)
    return worker, router


async def test_a_rank_stands_for_its_server(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Whichever of its ranks is named: drained, put back, removed."""
    worker, router = await ranked(start_worker, start_router)
    answer = await change(router, "POST", f"{worker.id}%231/drain")
    assert answer.status == 200
    assert answer.json()["id"] == worker.id
    assert [each.target.drained for each in router.workers] == [True, True]
    assert (await router.post(chat())).status == 503
    assert (await change(router, "POST", f"{worker.id}/undrain")).status == 200
    assert [each.target.drained for each in router.workers] == [False, False]
    assert (await change(router, "DELETE", f"{worker.id}%231")).status == 200
    assert router.workers == []
    assert (await add(router, worker.url)).status == 201
    await eventually(lambda: len(router.workers) == 2)


# -- descriptions ----------------------------------------------------------------------------------


def listed(
    start_router: StartRouter, file: Path, text: str, **settings: Any
) -> Awaitable[RunningRouter]:
    file.write_text(text)
    return start_router(workers_file=file, host="127.0.0.1", **settings)


async def test_models_are_narrowed_and_widened(
    worker: FakeWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    worker.cards = [card("m"), card("n")]
    file = tmp_path / "workers.yaml"
    router = await listed(start_router, file, f"- {worker.url}\n")

    async def statuses() -> list[int]:
        return [(await router.post({**chat(), "model": each})).status for each in "mn"]

    assert await statuses() == [200, 200]
    file.write_text(f"- url: {worker.url}\n  models: [n]\n")
    await eventually(lambda: router.workers[0].models == ["n"])
    assert await statuses() == [404, 200]
    file.write_text(f"- url: {worker.url}\n  models: [m, n]\n")
    await eventually(lambda: router.workers[0].models == ["m", "n"])
    assert await statuses() == [200, 200]


async def test_a_worker_for_prefill_gets_no_whole_requests(
    worker: FakeWorker, start_worker: StartWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    other = await start_worker()
    text = f"- url: {worker.url}\n  role: prefill\n- url: {other.url}\n  role: decode\n"
    router = await listed(start_router, tmp_path / "workers.yaml", text)
    for number in range(6):
        assert (await router.post(chat(f"{number}"))).status == 200
    assert (len(worker.requests), len(other.requests)) == (0, 6)
    await change(router, "DELETE", other.id)
    answer = await router.post(chat())
    assert answer.status == 503
    assert "drained" not in answer.json()["error"]["message"], "nobody has drained anything"


async def test_a_target_that_is_drained_gets_no_more_requests(
    worker: FakeWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    """docs/discovery.md: `drained: true           # no more requests`."""
    text = f"- url: {worker.url}\n  drained: true\n"
    router = await listed(start_router, tmp_path / "workers.yaml", text)
    await eventually(lambda: router.workers[0].up)
    assert (await router.post(chat())).status == 503
    assert worker.requests == []


async def test_both_drains_have_to_be_taken_back(
    worker: FakeWorker, start_worker: StartWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    other = await start_worker()
    file = tmp_path / "workers.yaml"
    drained = f"- {other.url}\n- url: {worker.url}\n  drained: true\n"
    router = await listed(start_router, file, drained)

    async def state() -> str:
        rows = (await router.get("/workers")).json()["workers"]
        return next(str(row["state"]) for row in rows if row["id"] == worker.id)

    await change(router, "POST", f"{worker.id}/drain")
    answer = await change(router, "POST", f"{worker.id}/undrain")
    assert answer.json()["state"] == "draining", "the file says so still"
    await change(router, "POST", f"{worker.id}/drain")
    file.write_text(f"- {other.url}\n- url: {worker.url}\n  name: back\n")
    await eventually(lambda: "back" in [each.target.name for each in router.workers])
    assert await state() == "draining", "an operator said so"
    await change(router, "POST", f"{worker.id}/undrain")
    assert await state() == "up"


# -- reloads ---------------------------------------------------------------------------------------


async def test_workers_that_move_to_a_file_are_not_lost_meanwhile(
    worker: FakeWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    """No request is refused, and what was learned of them is kept."""
    file = tmp_path / "workers.yaml"
    file.write_text(f"- {worker.url}\n")
    router = await start_router(worker, host="127.0.0.1")
    (before,) = router.workers
    await reloader(router, workers=[], workers_file=file).reload()
    answer = await router.post(chat())
    await eventually(lambda: router.app.discovery.heard)
    assert answer.status == 200
    assert router.workers == [before]


async def test_what_waits_outlives_a_reload_that_moves_its_workers(
    worker: FakeWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    held = worker.script = Held()
    file = tmp_path / "workers.yaml"
    file.write_text(f"- {worker.url}\n")
    moved = tmp_path / "moved.yaml"
    moved.write_text(f"- {worker.url}\n")
    router = await start_router(workers_file=file, host="127.0.0.1", max_inflight=1)
    first = asyncio.ensure_future(router.post(chat("a", stream=True)))
    await eventually(lambda: held.begun == 1)
    second = asyncio.ensure_future(router.post(chat("b", stream=True)))
    await eventually(lambda: len(router.app.dispatch) == 1)
    await reloader(router, workers_file=moved).reload()
    held.go_on.set()
    assert [answer.status for answer in await asyncio.gather(first, second)] == [200, 200]


async def test_a_worker_that_goes_over_to_https(
    start_worker: StartWorker, start_router: StartRouter, certificate: Certificate
) -> None:
    """The same host and port, so the same worker; but it is to be spoken to in another way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    plain = await start_worker()
    router = await start_router(plain, worker_ca_file=certificate.cert, host="127.0.0.1")
    assert (await router.post(chat())).status == 200
    await plain.stop()
    plain._tls = context
    await plain.start()
    await reloader(router, workers=[plain.url]).reload()
    assert plain.url.startswith("https")
    await eventually(lambda: router.workers[0].up, 3.0)
    assert (await router.post(chat())).status == 200


async def test_the_label_of_replicas_counts_at_once_or_the_log_says_that_it_does_not(
    worker: FakeWorker, start_router: StartRouter, caplog: pytest.LogCaptureFixture
) -> None:
    router = await start_router(worker, kubernetes_api="http://127.0.0.1:9", host="127.0.0.1")
    assert router.app.replicas is None
    with caplog.at_level("INFO"):
        await reloader(router, kubernetes_routers="app=router").reload()
    told = [line for line in caplog.messages if "kubernetes_routers" in line]
    assert told
    assert "after a restart" in told[0] or router.app.replicas is not None


async def test_an_empty_configuration_file_is_one_that_is_being_written(
    worker: FakeWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    """Editors and `cp` truncate a file before they write it; a router that looks just then must not lose its fleet."""
    file = tmp_path / "router.yaml"
    file.write_text(json.dumps({"workers": [worker.url]}))
    router = await start_router(worker, host="127.0.0.1")
    reload = Reloader(router.app, Origin(file, lambda: load(file, {})))
    file.write_text("")
    await reload.reload()
    assert ids(router) == [worker.id]


async def test_a_hanging_source_does_not_keep_a_reload_from_counting(
    worker: FakeWorker, start_worker: StartWorker, start_router: StartRouter
) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        router = await start_router(
            worker,
            kubernetes_api=f"http://127.0.0.1:{port}",
            kubernetes_selector="app=vllm",
            kubernetes_namespaces=["default"],
            host="127.0.0.1",
        )
        other = await start_worker()
        changed = {"kubernetes_selector": None, "kubernetes_namespaces": []}
        await reloader(router, workers=[other.url], **changed).reload()
        assert ids(router) == [other.id]
        await eventually(lambda: router.workers[0].serves)
        assert (await router.post(chat())).status == 200
        assert router.app.discovery.heard
    finally:
        server.close()


# -- what operators send ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://a:1/x y", "http://a b:1", "http://a:1/\x0b", "http://a:1/\x7f", "http://a\x01:1",
        "http://a:1/x HTTP/1.1\r\nX: y",
    ],
)  # fmt: skip
async def test_urls_that_would_not_fit_a_request_line_are_refused(
    worker: FakeWorker, start_router: StartRouter, url: str
) -> None:
    """A blank or a control character there makes every request to the worker another one."""
    router = await start_router(worker, host="127.0.0.1")
    assert (await add(router, url)).status == 400


@pytest.mark.parametrize(
    "url",
    ["", "http://", "ftp://a:1", "http://a:0", "http://a:99999", "http://a:1?x=1", "http://a:1#1",
     "http://u:p@a:1", "http://[::1", "http://ä:1", "http://a..b:1", "http://a:1/ä", 7, None],
)  # fmt: skip
async def test_what_is_no_url_of_a_worker_is_refused(
    worker: FakeWorker, start_router: StartRouter, url: Any
) -> None:
    router = await start_router(worker, host="127.0.0.1")
    answer = await add(router, url)
    assert answer.status == 400
    assert answer.json()["error"]["code"] == "invalid_worker"
    assert ids(router) == [worker.id]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:9/a%20b", "127.0.0.1:9/a%2520b"),
        ("http://127.0.0.1:9/a/drain", "127.0.0.1:9/a/drain"),
        ("http://[::1]:9", "[::1]:9"),
        ("http://[::1]:9", "%5B%3A%3A1%5D%3A9"),
        ("http://127.0.0.1:9/%0d%0a", "127.0.0.1:9/%250d%250a"),
    ],
)
async def test_ids_with_odd_characters_can_be_named(
    worker: FakeWorker, start_router: StartRouter, url: str, name: str
) -> None:
    router = await start_router(worker, host="127.0.0.1")
    answer = await add(router, url)
    assert answer.status == 201
    own = answer.json()["id"]
    drained = await change(router, "POST", f"{name}/drain")
    assert (drained.status, drained.json()["id"]) == (200, own)
    assert (await change(router, "DELETE", name)).status == 200
    assert ids(router) == [worker.id]


async def test_a_body_without_end_is_not_read(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, host="127.0.0.1")
    answer = await router.post(
        b'{"url":"' + b"a" * 200_000 + b'"}', target="/workers", headers=[here(router)]
    )
    assert answer.status == 400
    assert "too long" in answer.json()["error"]["message"]
    assert (await router.post(chat())).status == 200


OF_A_BROWSER: list[Fields] = [
    [("Origin", "http://evil.example")],
    [("Origin", "null")],
    [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")],
    [("Content-Type", "text/plain")],
]


@pytest.mark.parametrize("fields", OF_A_BROWSER)
async def test_a_web_page_changes_nothing(
    worker: FakeWorker, start_router: StartRouter, fields: Fields
) -> None:
    router = await start_router(worker, host="127.0.0.1")
    fields = [*fields, here(router)]
    body = json.dumps({"url": "http://evil.example:80"}).encode()
    async with router.connect() as client:
        await client.send(request("POST", "/workers", body, fields))
        assert (await client.response()).status in (403, 415)
    for target in (f"/workers/{worker.id}/drain",):
        assert (await router.get(target, fields, method="POST")).status in (403, 415)
    deleted = await router.get(f"/workers/{worker.id}", fields, method="DELETE")
    assert deleted.status in (403, 415)
    assert ids(router) == [worker.id]


async def test_a_page_whose_name_was_pointed_at_loopback_changes_nothing(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """DNS rebinding: the page is of the same origin as the router then, and loopback is all that guards it."""
    router = await start_router(worker, host="127.0.0.1")
    name = f"evil.example:{router.port}"
    fields = [("Host", name), ("Origin", f"http://{name}"), ("Sec-Fetch-Site", "same-origin")]
    answer = await add(router, "http://127.0.0.1:9", fields)
    assert answer.status == 403
    assert ids(router) == [worker.id]


async def test_who_is_not_guarded_adds_and_removes_nothing(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker)
    assert (await add(router, "http://127.0.0.1:9")).status == 403
    assert (await change(router, "DELETE", worker.id)).status == 403
    assert (await change(router, "POST", f"{worker.id}/drain")).status == 200
    assert ids(router) == [worker.id]


async def test_a_key_is_needed_where_there_is_one(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, admin_key="sesame")
    assert (await add(router, "http://127.0.0.1:9")).status == 401
    key = [("Authorization", "Bearer sesame")]
    assert (await add(router, "http://127.0.0.1:9", key)).status == 201
    gone = await router.get("/workers/127.0.0.1:9", key, method="DELETE")
    assert gone.status == 200


async def test_an_order_that_is_no_url_stops_nothing(
    worker: FakeWorker, start_router: StartRouter, start_worker: StartWorker
) -> None:
    """It may come from a shared Redis, of a router of another version."""
    router = await start_router(worker, host="127.0.0.1")
    discovery: Discovery = router.app.discovery
    with suppress(ValueError):
        discovery.order(router.workers[0].id, "ftp://nonsense")
    other = await start_worker()
    assert (await add(router, other.url)).status == 201
    await eventually(lambda: ids(router) == [worker.id, other.id])
