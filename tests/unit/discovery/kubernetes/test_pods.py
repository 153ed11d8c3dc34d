"""Which pods are workers, and where they listen."""

import json
from typing import Any

import msgspec
import pytest

from router.discovery.kubernetes.objects import Pod
from router.discovery.kubernetes.places import Found
from router.discovery.kubernetes.pods import address, running, workers
from router.fleet.target import EventPorts, Role
from tests.fakes import kubernetes_objects as objects
from tests.fakes.kubernetes_objects import Object, evicted


def decoded(sent: Object) -> Pod:
    return msgspec.json.decode(json.dumps(sent), type=Pod)


def found(*pods: Object, port: str | None = None) -> Found:
    return workers(map(decoded, pods), port)


def urls(*pods: Object, port: str | None = None) -> list[str]:
    told = found(*pods, port=port)
    assert told.wrong == {}
    return [each.url for each in told.targets]


def pod(**fields: Any) -> Object:
    return objects.pod("vllm-0", fields.pop("ip", "10.0.0.1"), **fields)


def terminating(sent: Object) -> Object:
    sent["metadata"]["deletionTimestamp"] = objects.CREATED
    return sent


# -- whether -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (pod(), ["http://10.0.0.1:8000"]),
        (pod(ready=False), []),
        (pod(phase="Pending"), []),
        (pod(phase="Failed"), []),
        (pod(phase="Succeeded"), []),
        (pod(phase="Unknown"), []),
        (pod(ip=""), []),
        (pod(ip="nonsense"), []),
        (pod() | {"status": evicted()}, []),
        (pod() | {"status": {}}, []),
        (pod() | {"status": {"phase": "Running", "podIP": "10.0.0.1"}}, []),
        (terminating(pod(ready=False)), []),
    ],
)
def test_which_are_workers(sent: Object, told: list[str]) -> None:
    assert urls(sent) == told


def test_one_that_terminates_is_drained() -> None:
    (only,) = found(terminating(pod())).targets
    assert only.leaving


def test_in_order() -> None:
    pods = [objects.pod(f"vllm-{n}", f"10.0.0.{n}") for n in (3, 1, 2)]
    assert urls(*pods) == [f"http://10.0.0.{n}:8000" for n in (1, 2, 3)]


def test_running_ones() -> None:
    sent = pod(ready=False, annotations={"prefix-router.io/nonsense": "1"})
    told = running(map(decoded, [sent, pod(phase="Pending"), pod(ip="")]), 8080, "http")
    assert [each.url for each in told.targets] == ["http://10.0.0.1:8080"]
    assert told.wrong == {}


# -- where -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ips", "told"),
    [
        (["10.0.0.1", "fd00::1"], "10.0.0.1"),
        (["fd00::1", "10.0.0.1"], "10.0.0.1"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.1"),
        (["fd00::1"], "fd00::1"),
        ([""], None),
    ],
)
def test_of_several_addresses(ips: list[str], told: str | None) -> None:
    assert address(decoded(pod(ip=ips[0], ips=ips))) == told


def test_older_servers_have_one_address() -> None:
    sent = pod()
    del sent["status"]["podIPs"]
    assert address(decoded(sent)) == "10.0.0.1"


@pytest.mark.parametrize(
    ("ports", "wanted", "told"),
    [
        ([], None, 8000),
        ([("http", 8080)], None, 8080),
        ([("http", 8080), ("kv", 5557)], None, 8080),
        ([("kv", 5557), ("http", 8080)], "http", 8080),
        ([("kv", 5557), ("http", 8080)], "5557", 5557),
        ([("kv", 5557)], "8000", 8000),
        ([], "8000", 8000),
    ],
)
def test_ports(ports: list[tuple[str, int]], wanted: str | None, told: int) -> None:
    assert urls(pod(ports=ports), port=wanted) == [f"http://10.0.0.1:{told}"]


def test_port_of_another_container() -> None:
    sent = pod(ports=[("kv", 5557)])
    sidecar = {
        "ports": [{"containerPort": 53, "protocol": "UDP", "name": "http"}, {"containerPort": 9}]
    }
    proxy = {"ports": [{"containerPort": 4443, "name": "http", "protocol": "TCP"}]}
    sent["spec"]["containers"] += [sidecar]
    sent["spec"]["initContainers"] += [proxy]
    assert urls(sent, port="http") == ["http://10.0.0.1:4443"]
    assert urls(sent) == ["http://10.0.0.1:5557"]


@pytest.mark.parametrize(
    ("ports", "said"),
    [([("api", 8000), ("kv", 1)], "there are `api`, `kv`"), ([], "none has a name")],
)
def test_port_that_is_not_there(ports: list[tuple[str, int]], said: str) -> None:
    told = found(pod(ports=ports), port="http")
    assert told.targets == []
    assert (
        told.wrong["pod default/vllm-0"] == f"it is left out: it has no port named `http`; {said}"
    )


def test_annotations() -> None:
    notes = {
        "prefix-router.io/port": "9000",
        "prefix-router.io/models": "a,b",
        "prefix-router.io/role": "decode",
        "prefix-router.io/kv-events-port": "5557",
        "prefix-router.io/drain": "true",
    }
    (only,) = found(pod(annotations=notes), port="not there").targets
    assert only.url == "http://10.0.0.1:9000"
    assert only.models == ("a", "b")
    assert only.role is Role.DECODE
    assert only.events == EventPorts(5557)
    assert only.drained


def test_wrong_annotations_name_the_pod() -> None:
    told = found(pod(annotations={"prefix-router.io/port": "x"}))
    assert [each.url for each in told.targets] == ["http://10.0.0.1:8000"]
    assert list(told.wrong) == ["pod default/vllm-0: annotation prefix-router.io/port"]
