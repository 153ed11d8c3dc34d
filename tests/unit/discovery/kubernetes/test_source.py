"""The table of workers follows what happens in the cluster."""

import asyncio
from dataclasses import replace

import pytest

from router.config_file import ConfigurationError
from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.source import (
    KubernetesWorkers,
    kubernetes_routers,
    kubernetes_workers,
)
from tests.fakes.kubernetes import KubernetesApi
from tests.fakes.kubernetes_objects import (
    Object,
    endpoint,
    endpoint_slice,
    evicted,
    pod,
    status,
)
from tests.fakes.kubernetes_table import QUICK, following


def of_pods(account: Account, selector: str = "app=vllm") -> KubernetesWorkers:
    return KubernetesWorkers.of_pods(account, "default", selector, None, QUICK)


def of_service(account: Account) -> KubernetesWorkers:
    return KubernetesWorkers.of_service(account, "default", "vllm", None, QUICK)


def two(api: KubernetesApi) -> tuple[Object, Object]:
    pods = pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2")
    api.create(*pods)
    return pods


# -- pods --------------------------------------------------------------------------------------


async def test_pods_come_and_go(api: KubernetesApi, account: Account) -> None:
    two(api)
    api.create(pod("other", "10.0.0.9", labels={"app": "web"}))
    async with following(of_pods(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        assert [target.name for target in table.told[-1]] == ["default/vllm-0", "default/vllm-1"]
        api.create(new := pod("vllm-2", "10.0.0.3", ready=False))
        api.patch(new, {"status": status("Running", "10.0.0.3", ready=True)})
        await table.is_("10.0.0.1", "10.0.0.2", "10.0.0.3")
        api.delete(new)
        await table.is_("10.0.0.1", "10.0.0.2")


async def test_a_pod_s_life(api: KubernetesApi, account: Account) -> None:
    api.create(one := pod("vllm-0", "", phase="Pending", ready=False))
    async with following(of_pods(account)) as table:
        await table.is_()
        api.patch(one, {"status": status("Running", "10.0.0.1", ready=False)})
        api.patch(one, {"status": status("Running", "10.0.0.1", ready=True)})
        await table.is_("10.0.0.1")
        api.patch(one, {"status": status("Running", "10.0.0.1", ready=False)})
        await table.is_()
        api.patch(one, {"status": status("Running", "10.0.0.1", ready=True)})
        await table.is_("10.0.0.1")
        api.terminate(one)
        await table.is_("10.0.0.1-")
        api.patch(one, {"status": status("Running", "10.0.0.1", ready=False)})
        await table.is_()
        api.delete(one)
        api.create(pod("vllm-0", "10.0.0.7"))  # as a StatefulSet does
        await table.is_("10.0.0.7")


async def test_eviction(api: KubernetesApi, account: Account) -> None:
    first, _ = two(api)
    async with following(of_pods(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.patch(first, {"status": evicted()})
        await table.is_("10.0.0.2")


async def test_relabelled(api: KubernetesApi, account: Account) -> None:
    """A pod that leaves the selector is told of as deleted."""
    first, _ = two(api)
    async with following(of_pods(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.patch(first, {"metadata": {"labels": {"app": "debug"}}})
        await table.is_("10.0.0.2")
        api.patch(first, {"metadata": {"labels": {"app": "vllm"}}})
        await table.is_("10.0.0.1", "10.0.0.2")


async def test_ipv6(api: KubernetesApi, account: Account) -> None:
    api.create(
        pod("vllm-0", "fd00::7"),
        pod("vllm-1", "fd00::8", ips=["fd00::8", "10.0.0.8"]),
    )
    async with following(of_pods(account)) as table:
        await table.is_("[fd00::7]", "10.0.0.8")


async def test_selectors_of_sets(api: KubernetesApi, account: Account) -> None:
    two(api)
    api.create(pod("canary", "10.0.0.5", labels={"tier": "test"}))
    async with following(of_pods(account, "app in (vllm, sglang),tier!=test")) as table:
        await table.is_("10.0.0.1", "10.0.0.2")


async def test_bursts_are_told_once(api: KubernetesApi, account: Account) -> None:
    pace = replace(QUICK, settle_s=1.0)
    source = KubernetesWorkers.of_pods(account, "default", "app=vllm", None, pace)
    async with following(source) as table:
        await table.is_()
        for n in range(20):
            api.create(pod(f"vllm-{n}", f"10.0.1.{n}"))
            await asyncio.sleep(0.005)
        await table.is_(*(f"10.0.1.{n}" for n in range(20)))
        assert len(table.told) < 10


async def test_restart_of_a_source(api: KubernetesApi, account: Account) -> None:
    """It tells anew, also where nothing has changed."""
    two(api)
    source = of_pods(account)
    for _ in range(2):
        async with following(source) as table:
            await table.is_("10.0.0.1", "10.0.0.2")
        await api.until_left()


async def test_wrong_annotation_is_said_once(
    api: KubernetesApi, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two(api)
    async with following(of_pods(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.patch(first, {"metadata": {"annotations": {"prefix-router.io/role": "chef"}}})
        api.patch(second, {"metadata": {"annotations": {"prefix-router.io/drain": "true"}}})
        await table.is_("10.0.0.1", "10.0.0.2-")
        api.patch(first, {"status": status("Running", "10.0.0.1", ready=False)})
        await table.is_("10.0.0.2-")
        api.patch(first, {"status": status("Running", "10.0.0.1", ready=True)})
        await table.is_("10.0.0.1", "10.0.0.2-")
    lines = [line for line in caplog.messages if "role" in line]
    assert len(lines) == 1
    assert "pod default/vllm-0: annotation prefix-router.io/role: 'chef' is not allowed" in lines[0]
    assert "`both`, `prefill`, `decode`" in lines[0]


# -- a Service ---------------------------------------------------------------------------------


async def test_endpoints(api: KubernetesApi, account: Account) -> None:
    first, second = two(api)
    api.create(
        one := endpoint_slice("vllm-a", [endpoint(first), endpoint(second)]),
        endpoint_slice("web-a", [endpoint(pod("x", "10.9.9.9"))], service="web"),
    )
    async with following(of_service(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        assert [target.name for target in table.told[-1]] == ["default/vllm-0", "default/vllm-1"]
        leaving = endpoint(first, ready=False, terminating=True)
        api.patch(one, {"endpoints": [leaving, endpoint(second)]})
        await table.is_("10.0.0.1-", "10.0.0.2")
        ended = endpoint(first, ready=False, serving=False, terminating=True)
        api.patch(one, {"endpoints": [ended, endpoint(second)]})
        await table.is_("10.0.0.2")
        api.create(endpoint_slice("vllm-b", [endpoint(first)]))
        await table.is_("10.0.0.1", "10.0.0.2")
        api.delete(one)
        await table.is_("10.0.0.1")


async def test_annotations_of_a_service_s_pods(api: KubernetesApi, account: Account) -> None:
    """They count from the first, however long the pods take."""
    api.slow_s, api.slow_for = 0.3, "/pods"
    api.create(first := pod("vllm-0", "10.0.0.1", annotations={"prefix-router.io/port": "8123"}))
    api.create(endpoint_slice("vllm-a", [endpoint(first)]))
    async with following(of_service(account)) as table:
        await table.is_("10.0.0.1")
        assert table.told[0][0].url == "http://10.0.0.1:8123"
        api.patch(first, {"metadata": {"annotations": {"prefix-router.io/drain": "true"}}})
        await table.is_("10.0.0.1-")
    accepts = {r.header("accept") for r in api.requests if "/pods" in r.path}
    assert all("PartialObjectMetadata" in str(each) for each in accepts)


async def test_service_without_the_right_to_read_pods(
    api: KubernetesApi, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    api.forbidden = {"list pods", "watch pods"}
    first, second = two(api)
    api.create(endpoint_slice("vllm-a", [endpoint(first), endpoint(second)]))
    async with following(of_service(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        assert table.source.problem is None
        await asyncio.sleep(0.2)
    lines = [line for line in caplog.messages if "vllm, annotations of its pods: " in line]
    assert len(lines) == 1
    assert 'resources ["pods"], verbs ["get", "list", "watch"]' in lines[0]


async def test_service_that_is_not_there(api: KubernetesApi, account: Account) -> None:
    async with following(of_service(account)) as table:
        await table.is_()
        assert table.source.problem is None


# -- several -----------------------------------------------------------------------------------


def test_one_source_for_each_namespace(account: Account) -> None:
    found = kubernetes_workers(
        account, service="vllm", selector="app=vllm", namespaces=["a", "b", "a"], port="http"
    )
    assert [source.name for source in found] == [
        "kubernetes service a/vllm",
        "kubernetes service b/vllm",
        "kubernetes pods app=vllm in a",
        "kubernetes pods app=vllm in b",
    ]
    (own,) = kubernetes_workers(account, selector="x=y")
    assert own.name == "kubernetes pods x=y in default"
    (other,) = kubernetes_workers(account, service="gpu/vllm", namespaces=["a", "b"])
    assert other.name == "kubernetes service gpu/vllm"


def test_outside_a_cluster_the_namespace_must_be_said() -> None:
    account = Account.find("http://127.0.0.1:8001")
    with pytest.raises(ConfigurationError, match="kubernetes_namespaces"):
        kubernetes_workers(account, service="vllm")
    with pytest.raises(ConfigurationError, match="kubernetes_routers"):
        kubernetes_routers(account, "app=router", 8080)
    assert kubernetes_workers(account, service="a/vllm")


async def test_the_router_s_own_pods(api: KubernetesApi, account: Account) -> None:
    """Also those that are not ready: they take orders; what is not for routers is not looked at."""
    odd = {"prefix-router.io/port": "1"}
    api.create(
        pod("router-0", "10.0.0.1", labels={"app": "router"}, annotations=odd),
        pod("router-1", "10.0.0.2", labels={"app": "router"}, ready=False),
        pod("router-2", "", labels={"app": "router"}, phase="Pending", ready=False),
    )
    source = kubernetes_routers(account, "app=router", 8080, scheme="https", pace=QUICK)
    async with following(source) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        assert [t.url for t in table.told[-1]] == ["https://10.0.0.1:8080", "https://10.0.0.2:8080"]
