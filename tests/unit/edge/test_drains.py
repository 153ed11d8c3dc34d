"""An operator takes workers out of use, and puts them back."""

from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from router.edge.admin import _router_error
from router.edge.drains import add_drains
from router.errors import RouterError
from router.fleet.fleet import Fleet
from tests.unit.support import fleet_of


def client_of(fleet: Fleet) -> AsyncClient:
    app = FastAPI()
    app.add_exception_handler(RouterError, _router_error)
    add_drains(app, fleet, lambda worker: {"id": worker.id, "drained": worker.drained})
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://router")


async def test_a_worker_is_drained_and_put_back() -> None:
    fleet = fleet_of("a", "b")
    async with client_of(fleet) as client:
        for path, drained in (("drain", True), ("drain", True), ("undrain", False)):
            answer = await client.post(f"/workers/a:8000/{path}")
            assert (answer.status_code, answer.json()) == (
                200,
                {"id": "a:8000", "drained": drained},
            )
            assert [worker.drained for worker in fleet] == [drained, False]
            assert len(fleet.candidates("m")) == 2 - drained


async def test_a_worker_s_id_may_have_a_path_and_a_rank() -> None:
    fleet = fleet_of("a")
    fleet.set_workers(["http://a:8000/v/1"])
    async with client_of(fleet) as client:
        assert (await client.post("/workers/a:8000/v/1/drain")).status_code == 200
    assert [worker.drained for worker in fleet] == [True]


async def test_a_worker_that_is_not_there() -> None:
    async with client_of(fleet_of("a")) as client:
        answer = await client.post("/workers/z:1/drain")
    assert answer.status_code == 404
    assert "GET /workers lists them" in answer.json()["error"]["message"]


async def test_looking_changes_nothing() -> None:
    fleet = fleet_of("a")
    async with client_of(fleet) as client:
        assert (await client.get("/workers/a:8000/drain")).status_code == 405
    assert not any(worker.drained for worker in fleet)
