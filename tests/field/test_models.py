"""Which models there are, and who serves them."""

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.worker import FakeWorker, card


async def test_cards_keep_their_fields(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """models-metadata: the list of models loses what agents size their context by."""
    long, short = await start_worker(models=()), await start_worker(models=())
    long.cards = [card("m", max_model_len=131_072), card("only", max_model_len=131_072, x_new=[1])]
    short.cards = [card("m", max_model_len=32_768)]
    router = await start_router(long, short)
    listed = {each["id"]: each for each in (await router.get("/v1/models")).json()["data"]}
    assert listed["only"] == long.cards[1]
    assert listed["m"] == long.cards[0] | {"max_model_len": 32_768}
    assert (await router.get("/v1/models/only")).json() == long.cards[1]


@pytest.mark.parametrize("target", [CHAT, "/v1/completions", "/v1/embeddings"])
async def test_model_that_nobody_serves(
    target: str, worker: FakeWorker, router: RunningRouter
) -> None:
    """model-404: a misspelt model is answered with a 5xx, or by whatever model there is."""
    answer = await router.post(chat(model="nope"), target)
    assert answer.status == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert "nope" in error["message"]
    assert worker.requests == []


async def test_adapter_that_is_loaded_later(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """lora: adapters that come at run time are not found, or asked of workers that lack them."""
    plain, tuned = await start_worker(), await start_worker()
    router = await start_router(plain, tuned)
    tuned.cards = [*tuned.cards, card("tuned", parent="m", max_model_len=None)]
    await eventually(lambda: router.app.fleet.serves("tuned"))
    for _ in range(6):
        answer = await router.post(chat(model="tuned"))
        assert answer.header("x-router-worker") == tuned.id
    assert (await router.get("/v1/models/tuned")).json()["parent"] == "m"
    tuned.cards = tuned.cards[:1]
    await eventually(lambda: not router.app.fleet.serves("tuned"))
    assert (await router.post(chat(model="tuned"))).status == 404


@pytest.mark.parametrize("noticed", [True, False])
async def test_first_worker_is_down(
    noticed: bool, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """first-unhealthy-get: questions that any worker could answer go to the first one, well or not."""
    first, second = await start_worker(), await start_worker()
    router = await start_router(first, second, health_interval_s=0.1 if noticed else 60)
    await first.stop()
    if noticed:
        await eventually(lambda: not router.workers[0].up)
    for target in ("/v1/models", "/v1/models/m", "/version"):
        for _ in range(3):
            assert (await router.get(target)).status == 200
    assert (await router.get("/v1/models")).json()["data"] == second.cards
