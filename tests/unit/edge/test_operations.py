"""An operator adds and removes workers, takes them out of use, and puts them back."""

import json
from dataclasses import replace

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from router.discovery.registry import Discovery
from router.discovery.replicas import Replicas
from router.edge.admin import _router_error
from router.edge.operations import Guard, Operations, add_operations
from router.errors import RouterError
from router.fleet.fleet import Fleet
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.fleet.target import Target
from tests.unit.support import fleet_of


def client_of(
    fleet: Fleet, replicas: Replicas | None = None, *, guard: Guard = Guard.KEY_OR_PORT
) -> AsyncClient:
    app = FastAPI()
    app.add_exception_handler(RouterError, _router_error)
    discovery = Discovery(fleet.set_targets)
    discovery.set_sources([worker.target for worker in fleet], [])
    operations = Operations(
        fleet,
        discovery,
        lambda worker: {"id": worker.id, "drained": worker.target.drained},
        replicas,
        guard=guard,
    )
    add_operations(app, operations)
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://router")


def ids(fleet: Fleet) -> list[str]:
    return [worker.id for worker in fleet]


class TestDraining:
    async def test_a_worker_is_drained_and_put_back(self) -> None:
        fleet = fleet_of("a", "b")
        async with client_of(fleet) as client:
            for path, drained in (("drain", True), ("drain", True), ("undrain", False)):
                answer = await client.post(f"/workers/a:8000/{path}")
                assert (answer.status_code, answer.json()) == (
                    200,
                    {
                        "id": "a:8000",
                        "drained": drained,
                        "inflight": 0,
                        "ranks": ["a:8000"],
                        "drained_by": ["operator"] * drained,
                    },
                )
                assert [worker.target.drained for worker in fleet] == [drained, False]
                assert len(fleet.candidates("m")) == 2 - drained

    async def test_a_worker_s_id_may_have_a_path_and_a_rank(self) -> None:
        fleet = fleet_of("a")
        fleet.set_workers(["http://a:8000/v/1"])
        async with client_of(fleet) as client:
            assert (await client.post("/workers/a:8000/v/1/drain")).status_code == 200
        assert [worker.target.drained for worker in fleet] == [True]

    @pytest.mark.parametrize("asked", ["a:8000", "a:8000%231"])
    async def test_a_server_is_idle_once_none_of_its_ranks_has_a_request(self, asked: str) -> None:
        fleet = fleet_of("a")
        fleet.set_report(next(iter(fleet)), replace(next(iter(fleet)).report, ranks=2))
        leases = [
            Lease(rank, PendingPrefill(1.0, 1.0, streams=True), 0.0)
            for rank in (*fleet, [*fleet][1])
        ]
        async with client_of(fleet) as client:
            for path in ("drain", "undrain", "drain"):
                told = (await client.post(f"/workers/{asked}/{path}")).json()
                assert (told["id"], told["inflight"]) == ("a:8000", 3)
                assert told["ranks"] == ["a:8000", "a:8000#1"]
            removed = (await client.delete(f"/workers/{asked}")).json()
        assert (removed["id"], removed["inflight"]) == ("a:8000", 3)
        assert len(leases) == 3

    async def test_who_drains_it_beside_the_operator_is_said(self) -> None:
        fleet = fleet_of("a")
        fleet.set_targets([Target(url="http://a:8000", drained=True)])
        async with client_of(fleet) as client:
            told = (await client.post("/workers/a:8000/undrain")).json()
        assert (told["drained"], told["drained_by"]) == (True, ["configuration"])

    async def test_looking_changes_nothing(self) -> None:
        fleet = fleet_of("a")
        async with client_of(fleet) as client:
            assert (await client.get("/workers/a:8000/drain")).status_code == 405
        assert not any(worker.target.drained for worker in fleet)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/workers/z:1/drain"), ("DELETE", "/workers/z:1")]
)
async def test_a_worker_that_is_not_there(method: str, path: str) -> None:
    async with client_of(fleet_of("a")) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 404
    assert "GET /workers lists them" in answer.json()["error"]["message"]


class TestRoster:
    async def test_a_worker_is_added_once(self) -> None:
        fleet = fleet_of("a")
        async with client_of(fleet) as client:
            for status in (201, 200):
                answer = await client.post("/workers", json={"url": "http://b:8000/base"})
                assert answer.status_code == status
                assert answer.json()["id"] == "b:8000/base"
        assert ids(fleet) == ["a:8000", "b:8000/base"]

    async def test_one_that_is_known_with_the_other_scheme_is_not_said_to_be_added(self) -> None:
        fleet = fleet_of("a")
        async with client_of(fleet) as client:
            refused = await client.post("/workers", json={"url": "https://a:8000"})
            for url in ("http://b:8000", "https://b:8000"):
                assert (await client.post("/workers", json={"url": url})).status_code < 300
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (409, "worker_known")
        assert "known as http://a:8000 from: configuration" in error["message"]
        assert [worker.url for worker in fleet] == ["http://a:8000", "https://b:8000"]

    async def test_a_worker_is_removed(self) -> None:
        fleet = fleet_of("a", "b")
        async with client_of(fleet) as client:
            answer = await client.delete("/workers/a:8000")
            assert (answer.status_code, answer.json()["id"]) == (200, "a:8000")
        assert ids(fleet) == ["b:8000"]

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "truncated"),
            (b"[]", "Expected `object`"),
            (b"{}", "required field `url`"),
            (b'{"url": 1}', "Expected `str`"),
            (b'{"url": "http://b:1", "model": "m"}', "unknown field `model`"),
            (b'{"url": "ftp://b"}', "scheme must be http or https"),
            (b'{"url": "http://b:0"}', "port 0"),
            (b'{"url": "\xff"}', "utf"),
            (json.dumps({"url": "b" * 100_000}).encode(), "too long"),
        ],
    )
    async def test_what_is_no_worker_changes_nothing(self, body: bytes, why: str) -> None:
        fleet = fleet_of("a")
        async with client_of(fleet) as client:
            answer = await client.post("/workers", content=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_worker", "url")
        assert why.lower() in error["message"].lower()
        assert ids(fleet) == ["a:8000"]

    async def test_where_everybody_can_ask_nobody_may(self) -> None:
        fleet = fleet_of("a")
        async with client_of(fleet, guard=Guard.NONE) as client:
            added = await client.post("/workers", json={"url": "http://b:8000"})
            removed = await client.delete("/workers/a:8000")
            drained = await client.post("/workers/a:8000/drain")
        assert (added.status_code, removed.status_code, drained.status_code) == (403, 403, 200)
        assert "admin_key" in added.json()["error"]["message"]
        assert ids(fleet) == ["a:8000"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 201),
        ("localhost", 201),
        ("[::1]:8080", 201),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
async def test_a_page_whose_name_was_pointed_at_loopback_changes_nothing(
    host: str, status: int
) -> None:
    async with client_of(fleet_of("a"), guard=Guard.LOOPBACK) as client:
        answer = await client.post(
            "/workers", json={"url": "http://b:8000"}, headers={"host": host}
        )
    assert answer.status_code == status


async def test_targets_are_kept_as_they_were() -> None:
    fleet = fleet_of("a")
    fleet.set_targets([Target(url="http://a:8000", name="pod-a")])
    async with client_of(fleet) as client:
        await client.post("/workers", json={"url": "http://b:8000"})
    assert [worker.target.name for worker in fleet] == ["pod-a", ""]


class Told(Replicas):
    """Replicas of which one cannot be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes]] = []

    async def pass_on(self, method: str, path: str, body: bytes) -> list[str]:
        self.told.append((method, path, body))
        return ["http://10.0.0.2:8080"]


class TestReplicas:
    async def test_they_are_told_what_this_one_was(self) -> None:
        replicas = Told()
        async with client_of(fleet_of("a", "b"), replicas) as client:
            answers = [
                await client.post("/workers/a:8000/drain"),
                await client.post("/workers", json={"url": "http://c:8000"}),
                await client.delete("/workers/b:8000"),
            ]
        assert [method for method, *_ in replicas.told] == ["POST", "POST", "DELETE"]
        assert [path for _, path, _ in replicas.told][::2] == [
            "/workers/a:8000/drain",
            "/workers/b:8000",
        ]
        assert json.loads(replicas.told[1][2]) == {"url": "http://c:8000"}
        for answer in answers:
            assert answer.json()["untold_replicas"] == ["http://10.0.0.2:8080"]

    async def test_what_was_passed_on_goes_no_further(self) -> None:
        replicas, fleet = Told(), fleet_of("a")
        async with client_of(fleet, replicas) as client:
            answer = await client.post("/workers/a:8000/drain", headers={"x-router-relayed": "1"})
        assert answer.json()["drained"]
        assert "untold_replicas" not in answer.json()
        assert replicas.told == []
