"""A router whose workers are pods."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.certificate import Certificate
from tests.fakes.kubernetes import KubernetesApi
from tests.fakes.kubernetes_kubectl import KubectlApi, kubectl
from tests.fakes.kubernetes_objects import Object, endpoint, endpoint_slice, evicted, pod, status
from tests.fakes.kubernetes_table import account_files
from tests.fakes.ports import free_ports
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse


@pytest.fixture
async def api(certificate: Certificate) -> AsyncIterator[KubernetesApi]:
    """An API server."""
    async with KubernetesApi(certificate) as server:
        yield server


@pytest.fixture
def account(api: KubernetesApi, tmp_path: Path, certificate: Certificate) -> dict[str, Any]:
    """Settings of a router that finds it."""
    token_file = account_files(tmp_path, certificate)
    return {
        "kubernetes_api": api.url,
        "kubernetes_token_file": token_file,
        "kubernetes_ca_file": token_file.with_name("ca.crt"),
    }


def pod_of(worker: FakeWorker, name: str = "vllm-0", **fields: Any) -> Object:
    return pod(name, "127.0.0.1", ports=[("http", worker.port)], **fields)


def up(router: RunningRouter) -> list[str]:
    return sorted(worker.id for worker in router.workers if worker.serves)


async def known(router: RunningRouter, *workers: FakeWorker) -> None:
    """Wait until exactly these take requests."""
    await eventually(lambda: up(router) == sorted(worker.id for worker in workers), 10.0)


async def states(router: RunningRouter) -> dict[str, dict[str, Any]]:
    rows = (await router.get("/workers")).json()["workers"]
    return {row["id"]: row for row in rows}


async def test_pods(
    api: KubernetesApi,
    account: dict[str, Any],
    start_worker: StartWorker,
    start_router: StartRouter,
) -> None:
    """Through ready, not ready, evicted, relabelled, replaced: requests go to those that are there."""
    first, second = await start_worker(), await start_worker()
    api.create(one := pod_of(first), two := pod_of(second, "vllm-1"))
    router = await start_router(kubernetes_selector="app=vllm", **account)
    await known(router, first, second)
    rows = await states(router)
    assert rows[first.id]["name"] == "default/vllm-0"
    assert rows[first.id]["source"] == "kubernetes pods app=vllm in default"
    api.patch(one, {"status": status("Running", "127.0.0.1", ready=False)})
    await known(router, second)
    assert (await router.post(chat())).status == 200
    assert (len(first.requests), len(second.requests)) == (0, 1)
    api.patch(one, {"status": status("Running", "127.0.0.1", ready=True)})
    await known(router, first, second)
    api.patch(two, {"status": evicted()})
    await known(router, first)
    api.patch(one, {"metadata": {"labels": {"app": "debug"}}})
    await known(router)
    assert (await router.post(chat())).status == 503
    api.delete(two)
    api.create(pod_of(second, "vllm-1"))
    await known(router, second)
    assert (await router.post(chat())).status == 200


async def test_stream_of_a_pod_that_leaves(
    api: KubernetesApi,
    account: dict[str, Any],
    start_worker: StartWorker,
    start_router: StartRouter,
) -> None:
    """What is under way ends as it would; nothing new is sent there."""
    on = asyncio.Event()

    async def slow(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        await wire.chunk(sse({"n": 1}, done=False)[0])
        await on.wait()
        for event in sse({"n": 2}):
            await wire.chunk(event)
        await wire.end()

    worker, other = await start_worker(script=slow), await start_worker()
    api.create(leaving := pod_of(worker))
    router = await start_router(kubernetes_selector="app=vllm", **account)
    await known(router, worker)
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True))
        answer = await client.head()
        api.terminate(leaving)
        await eventually(lambda: router.workers[0].leaving)
        assert (await states(router))[worker.id]["state"] == "draining"
        api.create(pod_of(other, "vllm-1"))
        await known(router, other)
        assert (await router.post(chat())).status == 200
        api.patch(leaving, {"status": status("Running", "127.0.0.1", ready=False)})
        await eventually(lambda: worker.id not in [each.id for each in router.workers])
        on.set()
        await client.body(answer)
    assert answer.complete
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert (len(worker.requests), len(other.requests)) == (1, 1)


async def test_service(
    api: KubernetesApi,
    account: dict[str, Any],
    start_worker: StartWorker,
    start_router: StartRouter,
) -> None:
    """Its endpoints, with what annotations say of the pods."""
    first, second = await start_worker(models=("m", "n")), await start_worker(models=("m", "n"))
    one = pod_of(first, annotations={"prefix-router.io/models": "m"})
    two = pod_of(second, "vllm-1", annotations={"prefix-router.io/models": "n"})
    api.create(one, two)
    for number, (each, worker) in enumerate(((one, first), (two, second))):
        ports = [{"name": "http", "port": worker.port, "protocol": "TCP"}]
        api.create(endpoint_slice(f"vllm-{number}", [endpoint(each)], ports=ports))
    router = await start_router(
        kubernetes_service="default/vllm", kubernetes_port="http", **account
    )
    await known(router, first, second)
    for model in ("m", "n", "m", "n"):
        assert (await router.post({**chat(), "model": model})).status == 200
    assert {request.json()["model"] for request in first.requests} == {"m"}
    assert {request.json()["model"] for request in second.requests} == {"n"}


async def test_api_server_that_is_gone(
    api: KubernetesApi,
    account: dict[str, Any],
    start_worker: StartWorker,
    start_router: StartRouter,
) -> None:
    """Requests go on; metrics say that workers are not followed; what changed meanwhile is found out."""
    first, second = await start_worker(), await start_worker()
    api.create(one := pod_of(first))
    router = await start_router(kubernetes_selector="app=vllm", **account)
    await known(router, first)
    await api.stop()
    name = "kubernetes pods app=vllm in default"
    await eventually(lambda: router.total("router_discovery_up", source=name) == 0.0, 10.0)
    assert (await router.post(chat())).status == 200
    api.delete(one)
    api.create(pod_of(second, "vllm-1"))
    await api.start()
    await known(router, second)
    await eventually(lambda: router.total("router_discovery_up", source=name) == 1.0, 10.0)
    assert (await router.post(chat())).status == 200
    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_router_that_starts_before_the_api_server(
    api: KubernetesApi,
    account: dict[str, Any],
    start_worker: StartWorker,
    start_router: StartRouter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It serves, is not ready, and becomes so."""
    monkeypatch.setattr("router.app._FIRST_PROBE_S", 0.3)
    worker = await start_worker()
    api.create(pod_of(worker))
    await api.stop()
    router = await start_router(kubernetes_selector="app=vllm", **account)
    assert (await router.get("/health")).status == 200
    assert (await router.get("/ready")).status == 503
    await api.start()
    await known(router, worker)
    assert (await router.get("/ready")).status == 200


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
async def test_an_operator_is_told_that_no_replica_can_be_found(
    api: KubernetesApi,
    account: dict[str, Any],
    start_worker: StartWorker,
    start_router: StartRouter,
) -> None:
    """The Role is missing, then the label selector fits nothing: the router itself would be found."""
    worker = await start_worker()
    api.fault = 403
    (nobody,) = free_ports(1)
    own = {"kubernetes_routers": "app=router", "port": nobody}
    router = await start_router(worker, **own, **account)

    async def until_untold(what: str, *, there: bool = True) -> None:
        async with asyncio.timeout(10):
            while True:
                answer = await router.get(f"/workers/{worker.id}/drain", method="POST")
                assert answer.status == 200
                untold = answer.json()["untold_replicas"]
                if (what in str(untold)) is there:
                    return
                await asyncio.sleep(0.05)

    await until_untold("kubernetes routers app=router in default: ")
    await until_untold("HTTP 403")
    api.fault = None
    await until_untold("no pod is known, not even this")
    api.create(pod("router-0", "127.0.0.1", labels={"app": "router"}))
    await until_untold("no pod is known", there=False)


async def test_kubectl_takes_the_scripted_server_for_one(
    certificate: Certificate, tmp_path: Path
) -> None:
    """Lists, pages and watches are such that Kubernetes' own client understands them."""
    async with KubectlApi(certificate) as api:
        ask = partial(kubectl, api, certificate, tmp_path)
        one, two = pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2", ready=False)
        api.create(one, two, pod("web", "10.0.0.3", labels={"app": "web"}))
        api.create(endpoint_slice("vllm-a", [endpoint(one)]))
        pods = await ask("get", "pods", "-l", "app=vllm", "-o", "name", "--chunk-size=1")
        assert pods.split() == ["pod/vllm-0", "pod/vllm-1"]
        shown = await ask(
            "get", "endpointslices", "-o", "jsonpath={.items[*].endpoints[*].addresses}"
        )
        assert shown == '["10.0.0.1"]'
        waiting = asyncio.ensure_future(
            ask("wait", "--for=condition=Ready", "pod", "-l", "app=vllm", "--timeout=30s")
        )
        await eventually(lambda: api.watches == 1 or waiting.done(), 30.0)
        api.bookmark()
        api.patch(two, {"status": status("Running", "10.0.0.2", ready=True)})
        assert (await waiting).splitlines() == [
            "pod/vllm-0 condition met",
            "pod/vllm-1 condition met",
        ]
