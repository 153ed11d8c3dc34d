"""What the fleet serves is what its workers say, and a request goes to who serves its model."""

import json

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, chat, eventually
from tests.fakes.client import request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, card


async def test_cards_keep_all_fields(start_worker: StartWorker, start_router: StartRouter) -> None:
    """Agents size their context by fields that merging lists used to lose; the shortest replica counts."""
    short, long = await start_worker(models=()), await start_worker(models=())
    short.cards = [card("org/big", max_model_len=4096, x_vendor={"a": [1, None]})]
    long.cards = [
        card("org/big", max_model_len=131_072),
        card("tuned", parent="org/big", root="/adapters/tuned", max_model_len=None),
    ]
    router = await start_router(short, long)
    listing = (await router.get("/v1/models")).json()
    assert listing["object"] == "list"
    cards = {entry["id"]: entry for entry in listing["data"]}
    assert cards["org/big"] == short.cards[0]
    assert cards["tuned"] == long.cards[1]
    assert len(listing["data"]) == 2


async def test_shortest_context_whoever_is_asked_first(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    long, short = await start_worker(models=()), await start_worker(models=())
    long.cards, short.cards = [card("m", max_model_len=131_072)], [card("m", max_model_len=4096)]
    router = await start_router(long, short)
    assert (await router.get("/v1/models/m")).json()["max_model_len"] == 4096


@pytest.mark.parametrize("name", ["org/model", "a/b/c", "with space", "ü"])
async def test_one_card(name: str, start_worker: StartWorker, start_router: StartRouter) -> None:
    """Ids may hold slashes and anything else."""
    worker = await start_worker(models=(name,))
    router = await start_router(worker)
    quoted = name.replace(" ", "%20").replace("ü", "%C3%BC")
    for target in (f"/v1/models/{quoted}", f"/v1/models/{quoted.replace('/', '%2F')}"):
        response = await router.get(target)
        assert response.json() == worker.cards[0]
    assert (await router.post(chat() | {"model": name})).status == 200


async def test_unknown_model(worker: FakeWorker, router: RunningRouter) -> None:
    """A typo is the client's error: never a 5xx, and never some other model."""
    for stream in (True, False):
        response = await router.post(chat(stream=stream) | {"model": "nope"})
        assert response.status == 404
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert error["type"] == "invalid_request_error"
        assert "nope" in error["message"]
        assert "`m`" in error["message"]
    assert (await router.get("/v1/models/nope")).json()["error"]["code"] == "model_not_found"
    assert worker.requests == []
    assert (await router.line())["outcome"] == "client_error"


async def test_unknown_model_in_the_messages_api(router: RunningRouter) -> None:
    response = await router.post({"model": "nope", "messages": []}, "/v1/messages")
    assert (response.status, response.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("model", [None, 7, "", [], {}], ids=repr)
async def test_no_model_named(model: object, worker: FakeWorker, router: RunningRouter) -> None:
    """Workers serve what names no model, and judge what names it wrongly."""
    body = {"messages": [], "model": model}
    assert (await router.post(body)).status == 200
    assert worker.requests[0].json() == body


async def test_model_omitted(router: RunningRouter) -> None:
    assert (await router.post({"messages": []})).status == 200
    assert (await router.post([1, 2])).status == 200


async def test_two_models_two_workers_each(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """A turn counter shared by all models sends alternating requests to only half of each model's workers."""
    fleet = {name: [await start_worker(models=(name,)) for _ in range(2)] for name in "ab"}
    router = await start_router(*fleet["a"], *fleet["b"], policy="round_robin")
    async with router.connect() as client:
        for n in range(20):
            response = await client.call("/v1/completions", {"model": "ab"[n % 2], "prompt": "x"})
            assert response.status == 200
    for name, workers in fleet.items():
        assert [len(worker.requests) for worker in workers] == [5, 5]
        assert all(r.json()["model"] == name for worker in workers for r in worker.requests)


@pytest.mark.parametrize("policy", ["prefix", "least_load", "round_robin", "random", "session"])
async def test_only_who_serves_the_model(
    policy: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    one, two = await start_worker(models=("a", "shared")), await start_worker(models=("shared",))
    router = await start_router(one, two, policy=policy)
    for n in range(12):
        response = await router.post(chat(str(n)) | {"model": "a"})
        assert response.header("x-router-worker") == one.id
    assert two.requests == []


async def test_adapter_loaded_later(start_worker: StartWorker, start_router: StartRouter) -> None:
    """LoRA adapters come and go at run time; requests for one go to who has it."""
    base, tuned = await start_worker(), await start_worker()
    router = await start_router(base, tuned)
    assert (await router.post(chat() | {"model": "lora"})).status == 404
    tuned.cards = [*tuned.cards, card("lora", parent="m", max_model_len=None)]
    assert await eventually(lambda: router.app.fleet.serves("lora")) < 2.0
    for _ in range(4):
        response = await router.post(chat() | {"model": "lora"})
        assert response.header("x-router-worker") == tuned.id
    assert (await router.get("/v1/models/lora")).json()["parent"] == "m"
    tuned.cards = tuned.cards[:1]
    await eventually(lambda: not router.app.fleet.serves("lora"))
    assert (await router.post(chat() | {"model": "lora"})).status == 404


async def test_models_while_a_worker_is_down(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """The list does not depend on the first worker's health."""
    first, second = await start_worker(), await start_worker()
    router = await start_router(first, second)
    await first.stop()
    await eventually(lambda: not router.workers[0].up or not router.workers[1].up)
    assert (await router.get("/v1/models")).json()["data"] == second.cards


async def test_workers_are_listed_as_configured(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    workers = [await start_worker() for _ in range(8)]
    router = await start_router(*workers)
    listed = [w["id"] for w in (await router.get("/workers")).json()["workers"]]
    assert listed == [worker.id for worker in workers]


async def test_pinned(start_worker: StartWorker, start_router: StartRouter) -> None:
    workers = [await start_worker() for _ in range(3)]
    router = await start_router(*workers)
    for worker in workers:
        for _ in range(2):
            response = await router.post(chat(), headers=[("X-Router-Worker", worker.id)])
            assert response.header("x-router-worker") == worker.id
        assert worker.requests[0].all("x-router-worker") == []
    response = await router.post(chat(), headers=[("X-Router-Worker", "nobody:1")])
    assert (response.status, response.json()["error"]["code"]) == (400, "unknown_worker")


async def test_stored_responses_live_where_they_were_made(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Fetching, cancelling and continuing a response ask the worker that stores it."""
    workers = [await start_worker() for _ in range(4)]

    def storing(number: int) -> None:
        async def script(request: Request, wire: Wire) -> None:
            await wire.json(
                {"id": f"resp_{number}", "object": "response", "target": request.target}
            )

        workers[number].script = script

    for number in range(4):
        storing(number)
    router = await start_router(*workers, policy="round_robin")
    homes = {}
    for _ in range(4):
        made = await router.post({"model": "m", "input": "x"}, "/v1/responses")
        homes[made.json()["id"]] = made.header("x-router-worker")
    assert len(homes) == 4
    for response_id, home in homes.items():
        follow = {"model": "m", "input": "y", "previous_response_id": response_id}
        again = await router.post(follow, "/v1/responses")
        fetched = await router.get(f"/v1/responses/{response_id}")
        cancelled = await router.post({}, f"/v1/responses/{response_id}/cancel")
        for answer in (again, fetched, cancelled):
            assert answer.header("x-router-worker") == home


@pytest.mark.parametrize(
    ("name", "status"),
    [("\\ud800", 404), ("m\\u0000", 404), ("\\u006d", 200), ("x" * 100_000, 404)],
    ids=["surrogate", "null", "escaped", "long"],
)
async def test_odd_names(name: str, status: int, worker: FakeWorker, router: RunningRouter) -> None:
    """A name that is no text, or written in escapes, is no reason to fail."""
    response = await router.post(f'{{"model": "{name}", "messages": []}}'.encode())
    assert response.status in (status, 200 if name == "\\ud800" else status)
    assert len(json.dumps((await router.line())["model"])) < 200_000


async def test_head_and_trailing_slash(router: RunningRouter) -> None:
    async with router.connect() as client:
        await client.send(request("HEAD", "/v1/models") + request("GET", "/v1/models/"))
        assert (await client.response(method="HEAD")).status == 200
        assert (await client.response()).json()["data"][0]["id"] == "m"
