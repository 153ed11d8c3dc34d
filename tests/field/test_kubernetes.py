"""Pods that are not there any more, and routers that did not hear of it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from router.discovery.kubernetes.source import KubernetesWorkers
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import chat, eventually
from tests.fakes.certificate import Certificate
from tests.fakes.kubernetes import KubernetesApi
from tests.fakes.kubernetes_objects import Object, evicted, pod, status
from tests.fakes.kubernetes_table import QUICK, account_files, account_of, following


@pytest.fixture
async def api(certificate: Certificate) -> AsyncIterator[KubernetesApi]:
    """An API server."""
    async with KubernetesApi(certificate) as server:
        yield server


@pytest.fixture
def source(api: KubernetesApi, tmp_path: Path, certificate: Certificate) -> KubernetesWorkers:
    """Pods of vLLM; they are listed anew every second."""
    account = account_of(api, account_files(tmp_path, certificate))
    pace = replace(QUICK, resync_s=1.0)
    return KubernetesWorkers.of_pods(account, "default", "app=vllm", None, pace)


async def test_evicted_pod(api: KubernetesApi, source: KubernetesWorkers) -> None:
    """ghost-endpoint: the event of an evicted pod has an empty address, and the pod stays in rotation."""
    api.create(ghost := pod("vllm-0", "10.0.0.1"))
    async with following(source) as table:
        await table.is_("10.0.0.1")
        api.patch(ghost, {"status": evicted()})
        await table.is_()


async def test_evicted_pod_that_still_says_it_is_ready(
    api: KubernetesApi, source: KubernetesWorkers
) -> None:
    """ghost-endpoint: conditions of a failed pod may be those it had while it ran."""
    api.create(ghost := pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2"))
    async with following(source) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.patch(ghost, {"status": {"phase": "Failed", "podIP": "", "podIPs": None}})
        await table.is_("10.0.0.2")


async def test_requests_after_an_eviction(
    api: KubernetesApi,
    tmp_path: Path,
    certificate: Certificate,
    start_worker: StartWorker,
    start_router: StartRouter,
) -> None:
    """ghost-endpoint: no request is sent to where an evicted pod was, though somebody answers there."""
    workers = [await start_worker() for _ in range(2)]
    pods: list[Object] = [
        pod(f"vllm-{n}", "127.0.0.1", ports=[("http", worker.port)])
        for n, worker in enumerate(workers)
    ]
    api.create(*pods)
    token_file = account_files(tmp_path, certificate)
    router = await start_router(
        kubernetes_selector="app=vllm",
        kubernetes_api=api.url,
        kubernetes_token_file=token_file,
        kubernetes_ca_file=token_file.with_name("ca.crt"),
        policy="random",
    )
    await eventually(lambda: sum(worker.serves for worker in router.workers) == 2, 10.0)
    api.patch(pods[0], {"status": evicted()})
    await eventually(lambda: [each.id for each in router.workers] == [workers[1].id], 10.0)
    assert {(await router.post(chat(str(n)))).status for n in range(8)} == {200}
    assert (len(workers[0].requests), len(workers[1].requests)) == (0, 8)


async def test_deletion_that_was_missed(api: KubernetesApi, source: KubernetesWorkers) -> None:
    """stale-k8s-worker: a watch that lost an event never tells; the next list does."""
    api.create(stale := pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2"))
    async with following(source) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.delete(stale, unseen=True)
        await table.is_("10.0.0.2")


async def test_pod_that_is_not_ready(api: KubernetesApi, source: KubernetesWorkers) -> None:
    """stale-k8s-worker: a pod that stops being ready is given requests on and on."""
    api.create(stale := pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2"))
    async with following(source) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.patch(stale, {"status": status("Running", "10.0.0.1", ready=False)})
        await table.is_("10.0.0.2")


async def test_pod_that_is_relabelled(api: KubernetesApi, source: KubernetesWorkers) -> None:
    """stale-k8s-worker: a pod that is taken out of the selection stays a worker."""
    api.create(stale := pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2"))
    async with following(source) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.patch(stale, {"metadata": {"labels": {"app": None}}})
        await table.is_("10.0.0.2")


@pytest.mark.parametrize("in_lines", [True, False])
async def test_watch_that_is_too_old(
    in_lines: bool, api: KubernetesApi, source: KubernetesWorkers
) -> None:
    """stale-k8s-worker: a watch that begins again where it broke off is told that this is forgotten."""
    api.in_lines = in_lines
    api.create(stale := pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2"))
    async with following(source) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await api.stop()
        api.delete(stale)
        api.compact()
        await api.start()
        await table.is_("10.0.0.2")
