"""Which endpoints of a Service are workers, and where they listen."""

import json
from typing import Any

import msgspec
import pytest

from router.discovery.kubernetes.objects import Described, EndpointSlice
from router.discovery.kubernetes.places import Found
from router.discovery.kubernetes.slices import workers
from tests.fakes import kubernetes_objects as objects
from tests.fakes.kubernetes_objects import Object, endpoint, endpoint_slice

POD = objects.pod("vllm-0", "10.0.0.1")
OTHER = objects.pod("vllm-1", "10.0.0.2")
HTTP = {"name": "http", "port": 8000, "protocol": "TCP"}
KV = {"name": "kv", "port": 5557, "protocol": "TCP"}
DNS = {"name": "http", "port": 53, "protocol": "UDP"}


def found(*slices: Object, port: str | None = None, pods: tuple[Object, ...] = ()) -> Found:
    kept = [msgspec.json.decode(json.dumps(each), type=EndpointSlice) for each in slices]
    described = [msgspec.json.decode(json.dumps(each), type=Described) for each in pods]
    by_name = {each.metadata.name: each for each in described}
    return workers(kept, port, by_name, "vllm.default.svc")


def hosts(*slices: Object, port: str | None = None) -> list[str]:
    """Of workers, those that are drained with a `-`."""
    told = found(*slices, port=port)
    assert told.wrong == {}
    return [
        each.url.removeprefix("http://") + "-" * (each.drained or each.leaving)
        for each in told.targets
    ]


def one(*endpoints: Object, **fields: Any) -> Object:
    return endpoint_slice("vllm-a", endpoints, **fields)


# -- whether -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ready", "serving", "terminating", "told"),
    [
        (True, True, False, ["10.0.0.1:8000"]),
        (None, None, None, ["10.0.0.1:8000"]),
        (True, None, None, ["10.0.0.1:8000"]),
        (False, False, False, []),
        (False, None, None, []),
        (False, True, True, ["10.0.0.1:8000-"]),
        (False, False, True, []),
        (False, None, True, []),
        (True, True, True, ["10.0.0.1:8000-"]),
        (True, False, True, ["10.0.0.1:8000-"]),
    ],
)
def test_conditions(
    ready: bool | None, serving: bool | None, terminating: bool | None, told: list[str]
) -> None:
    """The last two are what `publishNotReadyAddresses` makes of a pod that terminates."""
    sent = endpoint(POD, ready=ready, serving=serving, terminating=terminating)
    assert hosts(one(sent)) == told


def test_nothing_at_all() -> None:
    assert hosts() == []
    assert hosts(endpoint_slice("vllm-a", None, ports=None)) == []
    empty = endpoint(POD) | {"addresses": []}
    assert hosts(one(empty)) == []
    assert hosts(one(endpoint(POD, ""))) == []


# -- one worker, told of twice -----------------------------------------------------------------


def test_dual_stack_is_one_worker() -> None:
    six = endpoint_slice("vllm-6", [endpoint(POD, "fd00::1")], kind="IPv6")
    four = one(endpoint(POD))
    assert hosts(six, four) == hosts(four, six) == ["10.0.0.1:8000"]
    assert hosts(six) == ["[fd00::1]:8000"]


def test_dual_stack_that_is_updated_in_part() -> None:
    """The worker does not become another one for a moment."""
    six = endpoint_slice("vllm-6", [endpoint(POD, "fd00::1")], kind="IPv6")
    assert hosts(six, one(endpoint(POD, ready=False, serving=False))) == []
    assert hosts(six, one(endpoint(POD, ready=False, terminating=True))) == ["10.0.0.1:8000-"]


def test_in_two_slices_during_an_update() -> None:
    stale = one(endpoint(POD, ready=False, serving=False))
    fresh = endpoint_slice("vllm-b", [endpoint(POD), endpoint(OTHER)])
    assert hosts(stale, fresh) == hosts(fresh, stale) == ["10.0.0.1:8000", "10.0.0.2:8000"]


def test_without_pods() -> None:
    """Endpoints that somebody wrote by hand are told apart by their address."""
    bare = [
        {"addresses": [each], "conditions": {}} for each in ("10.0.0.7", "10.0.0.8", "10.0.0.7")
    ]
    assert hosts(one(*bare)) == ["10.0.0.7:8000", "10.0.0.8:8000"]


# -- where -------------------------------------------------------------------------------------


def test_names_of_hosts() -> None:
    named = [{"addresses": ["gpu-7.example"], "conditions": {"ready": True}}]
    assert hosts(one(*named, kind="FQDN")) == ["gpu-7.example:8000"]


def test_name_that_is_none() -> None:
    told = found(one({"addresses": ["a..b"], "conditions": {}}, kind="FQDN"))
    assert told.targets == []
    assert "it is left out" in told.wrong["endpoint a..b"]


@pytest.mark.parametrize(
    ("ports", "wanted", "told"),
    [
        ([HTTP], None, 8000),
        ([KV, HTTP], None, 5557),
        ([KV, HTTP], "http", 8000),
        ([KV, HTTP], "8000", 8000),
        ([DNS, HTTP], "http", 8000),
        ([{"name": "", "port": 8080}], None, 8080),
        (None, None, 8000),
        ([], None, 8000),
        ([], "9000", 9000),
    ],
)
def test_ports(ports: list[Object] | None, wanted: str | None, told: int) -> None:
    assert hosts(one(endpoint(POD), ports=ports), port=wanted) == [f"10.0.0.1:{told}"]


def test_port_in_another_slice() -> None:
    """Pods with a named port of several numbers are in a slice for each."""
    second = endpoint_slice("vllm-b", [endpoint(OTHER)], ports=[{**HTTP, "port": 8001}])
    only_kv = endpoint_slice("vllm-c", [endpoint(POD)], ports=[KV])
    told = hosts(one(endpoint(POD)), second, only_kv, port="http")
    assert told == ["10.0.0.1:8000", "10.0.0.2:8001"]


@pytest.mark.parametrize("wanted", ["grpc", "80"])
def test_port_that_is_not_there(wanted: str) -> None:
    told = found(one(endpoint(POD), ports=[HTTP, KV]), port=wanted)
    assert told.targets == []
    assert told.wrong == {
        "port": f"no endpoint has a port `{wanted}`; there are `http` (8000), `kv` (5557)"
    }


def test_tls() -> None:
    told = found(one(endpoint(POD), ports=[{**HTTP, "appProtocol": "https"}]))
    assert told.targets[0].url == "https://10.0.0.1:8000"
    assert told.targets[0].server_name == "vllm.default.svc"


# -- annotations -------------------------------------------------------------------------------


def test_annotations() -> None:
    pod = objects.pod("vllm-0", "10.0.0.1", annotations={"prefix-router.io/models": "a"})
    told = found(one(endpoint(pod), endpoint(OTHER)), pods=(pod,))
    assert [each.models for each in told.targets] == [("a",), ()]
    assert [each.name for each in told.targets] == ["default/vllm-0", "default/vllm-1"]


def test_annotations_of_a_pod_that_was_replaced() -> None:
    old = objects.pod("vllm-0", "10.0.0.1", annotations={"prefix-router.io/models": "a"})
    told = found(one(endpoint(POD)), pods=(old,))
    assert told.targets[0].models == ()


def test_pod_that_terminates_before_its_endpoint_does() -> None:
    leaving = {**POD, "metadata": {**POD["metadata"], "deletionTimestamp": objects.CREATED}}
    assert found(one(endpoint(POD)), pods=(leaving,)).targets[0].leaving


def test_ports_of_one_host_that_is_no_pod_are_workers_of_their_own() -> None:
    """Slices made by hand for a machine outside of the cluster: each has other ports."""
    machine = {"addresses": ["10.9.0.1"], "conditions": {"ready": True}}
    one_port, other = (
        endpoint_slice(f"gpu-box-{port}", (machine,), ports=[HTTP | {"port": port}])
        for port in (8000, 8001)
    )
    again = endpoint_slice("copy", (machine,), ports=[HTTP | {"port": 8001}])
    assert hosts(one_port, other, again) == ["10.9.0.1:8000", "10.9.0.1:8001"]
