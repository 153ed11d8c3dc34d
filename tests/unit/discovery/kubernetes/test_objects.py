"""Objects as the API server sends them, and what is kept of them."""

import json
import sys

import msgspec
import pytest

from router.discovery.kubernetes.objects import Described, EndpointSlice, Page, Pod
from tests.fakes.kubernetes_objects import endpoint, endpoint_slice, evicted, pod


def test_pod() -> None:
    sent = pod("vllm-0", "10.0.0.1", annotations={"prefix-router.io/drain": "true"})
    kept = msgspec.json.decode(json.dumps(sent), type=Pod)
    assert kept.metadata.full_name == "default/vllm-0"
    assert kept.metadata.annotations == {"prefix-router.io/drain": "true"}
    assert kept.status.pod_ip == "10.0.0.1"
    assert kept.spec.containers is not None
    assert kept.spec.containers[0].ports is not None
    assert kept.spec.containers[0].ports[0].container_port == 8000


def test_evicted_pod() -> None:
    kept = msgspec.json.decode(json.dumps(pod("a", "10.0.0.1") | {"status": evicted()}), type=Pod)
    assert (kept.status.phase, kept.status.pod_ip, kept.status.pod_ips) == ("Failed", "", None)


def test_annotations_of_others_are_not_kept() -> None:
    """They may be large, as kubectl's last-applied-configuration is."""
    big = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 200_000}
    kept = msgspec.json.decode(json.dumps(pod("a", "10.0.0.1", annotations=big)), type=Described)
    assert kept.metadata.annotations is None
    assert sys.getsizeof(kept) + sys.getsizeof(kept.metadata) < 1000


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (Pod, {"metadata": {}, "spec": {"containers": None}, "status": {}}),
        (EndpointSlice, {"metadata": {}, "addressType": "", "endpoints": None, "ports": None}),
        (Described, {"metadata": {"resourceVersion": "7", "creationTimestamp": None}}),
    ],
)
def test_what_bookmarks_have(kind: type[Described], sent: object) -> None:
    assert msgspec.json.decode(json.dumps(sent), type=kind).metadata.name == ""


def test_slice() -> None:
    sent = endpoint_slice("vllm-a", [endpoint(pod("a", "10.0.0.1"), ready=None, serving=None)])
    kept = msgspec.json.decode(json.dumps(sent), type=EndpointSlice)
    assert kept.endpoints is not None
    (only,) = kept.endpoints
    assert (only.addresses, only.conditions.ready) == (["10.0.0.1"], None)
    assert only.target_ref is not None
    assert only.target_ref.name == "a"


def test_page() -> None:
    sent = {"kind": "PodList", "metadata": {"resourceVersion": "5", "continue": "x"}, "items": None}
    page = msgspec.json.decode(json.dumps(sent), type=Page[Pod])
    assert (page.metadata.resource_version, page.metadata.continue_) == ("5", "x")
    assert page.items is None
