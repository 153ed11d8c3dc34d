"""How lists and watches are asked for, and what their failures mean."""

from urllib.parse import parse_qsl

import pytest

from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.client import ApiError, Client, GoneError
from router.discovery.kubernetes.collection import (
    Watch,
    descriptions,
    listed,
    pods,
    slices,
)
from router.discovery.kubernetes.objects import Pod
from tests.fakes.kubernetes import KubernetesApi
from tests.fakes.kubernetes_objects import pod


def test_targets() -> None:
    path, _, query = pods("gpu", "app in (a,b),x!=y").target(limit=5).partition("?")
    assert path == "/api/v1/namespaces/gpu/pods"
    assert dict(parse_qsl(query)) == {"limit": "5", "labelSelector": "app in (a,b),x!=y"}
    path, _, query = slices("gpu", "vllm").target().partition("?")
    assert path == "/apis/discovery.k8s.io/v1/namespaces/gpu/endpointslices"
    assert dict(parse_qsl(query)) == {"labelSelector": "kubernetes.io/service-name=vllm"}
    assert "labelSelector" not in descriptions("gpu").target(limit=5)


def test_forms() -> None:
    assert pods("a", "b").accept(listed=True) == "application/json"
    for listed_, kind in ((True, "PartialObjectMetadataList"), (False, "PartialObjectMetadata")):
        accept = descriptions("a").accept(listed=listed_)
        assert accept == f"application/json;as={kind};g=meta.k8s.io;v=v1,application/json"


def test_what_is_to_be_done() -> None:
    client = Client(Account.find("https://k.example"))
    said = slices("gpu", "vllm").explained(ApiError("HTTP 403: no", 403), client)
    assert 'in namespace gpu: it needs a Role there with apiGroups ["discovery.k8s.io"]' in said
    assert 'resources ["endpointslices"], verbs ["get", "list", "watch"] (HTTP 403: no)' in said
    said = pods("gpu", "a").explained(ApiError("HTTP 401", 401), client)
    assert "the token in /var/run/secrets/kubernetes.io/serviceaccount/token" in said
    assert pods("gpu", "a").explained(ApiError("as it is"), client) == "as it is"


async def test_list_and_watch(api: KubernetesApi, account: Account) -> None:
    api.create(first := pod("vllm-0", "10.0.0.1"))
    client, wanted = Client(account), pods("default", "app=vllm")
    objects, version = await listed(client, wanted)
    assert [each.metadata.name for each in objects] == ["vllm-0"]
    assert version == str(api.version)
    told: list[tuple[str, bool]] = []

    def tell(each: Pod, there: bool) -> None:
        told.append((each.metadata.name, there))

    api.delete(first)
    api.create(pod("vllm-1", "10.0.0.2"))
    watch = Watch(client, wanted, version, tell)
    await watch.run(1, lambda: None, 10.0)
    assert told == [("vllm-0", False), ("vllm-1", True)]
    assert watch.version == str(api.version)
    client.close()


async def test_error_in_a_watch(api: KubernetesApi, account: Account) -> None:
    api.in_lines = True
    api.compact()
    client = Client(account)
    watch = Watch(client, pods("default", "a=b"), "1", lambda each, there: None)
    with pytest.raises(GoneError, match="too old resource version"):
        await watch.run(1, lambda: None, 10.0)
    client.close()


@pytest.mark.parametrize(
    "line", [b"{}", b"nonsense", b'{"type":"ADDED","object":{"metadata":{"name":7}}}', b"\xff"]
)
async def test_line_that_is_not_understood(line: bytes, account: Account) -> None:
    watch = Watch(Client(account), pods("default", "a=b"), "1", lambda each, there: None)
    with pytest.raises(ApiError, match="is not understood"):
        watch._line(line)


async def test_events_of_other_kinds(account: Account) -> None:
    """What later servers may tell is passed over."""
    watch = Watch(Client(account), pods("default", "a=b"), "1", lambda each, there: None)
    watch._line(b'{"type":"NEW","object":{"metadata":{"resourceVersion":"9"}}}')
    assert watch.version == "9"
