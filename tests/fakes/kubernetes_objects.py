"""Pods and EndpointSlices as an API server sends them, with all that is of no interest here."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

_NUMBERS = count(1)
CREATED = "2026-03-02T09:14:07Z"


def uid() -> str:
    """One that no other object has."""
    return f"6f1f9b0e-4c5e-4a7b-9d7e-{next(_NUMBERS):012x}"


def pod(
    name: str,
    ip: str = "",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    ready: bool = True,
    phase: str = "Running",
    ports: Iterable[tuple[str, int]] = (("http", 8000),),
    ips: Sequence[str] = (),
    namespace: str = "default",
) -> Object:
    """A vLLM pod of a Deployment."""
    notes = {
        "kubectl.kubernetes.io/restartedAt": CREATED,
        "cni.projectcalico.org/podIP": f"{ip}/32",
        **(annotations or {}),
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "generateName": f"{name.rpartition('-')[0]}-",
            "namespace": namespace,
            "uid": uid(),
            "creationTimestamp": CREATED,
            "labels": {"app": "vllm", "pod-template-hash": "7d9c5bf6f4", **(labels or {})},
            "annotations": notes,
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "vllm-7d9c5bf6f4",
                    "uid": uid(),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": _managed("kube-controller-manager", "kubelet"),
        },
        "spec": _spec(list(ports)),
        "status": status(phase, ip, ready=ready, ips=ips),
    }


def status(phase: str, ip: str, *, ready: bool, ips: Sequence[str] = ()) -> Object:
    """A pod's status."""
    conditions = (
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    )
    told: Object = {
        "phase": phase,
        "conditions": [
            {
                "type": each,
                "status": "True" if ready or "Ready" not in each[-5:] else "False",
                "lastProbeTime": None,
                "lastTransitionTime": CREATED,
                **({} if ready else {"reason": "ContainersNotReady"}),
            }
            for each in conditions
        ],
        "hostIP": "192.168.49.2",
        "startTime": CREATED,
        "containerStatuses": [
            {
                "name": "vllm",
                "state": {"running": {"startedAt": CREATED}},
                "lastState": {},
                "ready": ready,
                "restartCount": 0,
                "image": "vllm/vllm-openai:v0.11.0",
                "imageID": "docker.io/vllm/vllm-openai@sha256:" + "a" * 64,
                "started": True,
            }
        ],
        "qosClass": "Burstable",
    }
    if ip:
        told["podIP"] = ip
        told["podIPs"] = [{"ip": each} for each in (ips or [ip])]
    return told


def evicted() -> Object:
    """What the status of a pod becomes that its node has no room for."""
    return {
        "phase": "Failed",
        "message": "The node was low on resource: memory.",
        "reason": "Evicted",
        "podIP": "",
        "podIPs": None,
        "startTime": CREATED,
    }


def endpoint(
    pod: Object,
    address: str | None = None,
    *,
    ready: bool | None = True,
    serving: bool | None = True,
    terminating: bool | None = False,
) -> Object:
    """What a slice says of a pod."""
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    meta = pod["metadata"]
    return {
        "addresses": [pod["status"]["podIP"] if address is None else address],
        "conditions": {key: value for key, value in conditions.items() if value is not None},
        "targetRef": {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "nodeName": "worker-1",
        "zone": "eu-west-1a",
    }


def endpoint_slice(
    name: str,
    endpoints: Iterable[Object] | None,
    *,
    service: str = "vllm",
    kind: str = "IPv4",
    ports: Iterable[Mapping[str, Any]] | None = (
        {"name": "http", "port": 8000, "protocol": "TCP"},
    ),
    namespace: str = "default",
) -> Object:
    """A slice of a Service."""
    return {
        "addressType": kind,
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "generateName": f"{service}-",
            "namespace": namespace,
            "uid": uid(),
            "creationTimestamp": CREATED,
            "generation": 3,
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": service,
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": CREATED},
            "managedFields": _managed("kube-controller-manager"),
        },
        "endpoints": None if endpoints is None else list(endpoints),
        "ports": None if ports is None else [dict(each) for each in ports],
    }


def _spec(ports: list[tuple[str, int]]) -> Object:
    return {
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}],
        "initContainers": [
            {"name": "warm", "image": "busybox:1.36", "command": ["sh", "-c", "true"]},
        ],
        "containers": [
            {
                "name": "vllm",
                "image": "vllm/vllm-openai:v0.11.0",
                "args": ["--model", "Qwen/Qwen3-8B", "--port", "8000"],
                "ports": [
                    {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports
                ]
                or None,
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
                "readinessProbe": {
                    "httpGet": {"path": "/health", "port": 8000},
                    "periodSeconds": 5,
                },
                "env": [
                    {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "t"}}}
                ],
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 600,
        "nodeName": "worker-1",
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }


def _managed(*managers: str) -> list[Object]:
    return [
        {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "v1",
            "time": CREATED,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {'k:{"name":"vllm"}': {".": {}, "f:image": {}}}},
                "f:status": {"f:conditions": {'k:{"type":"Ready"}': {".": {}, "f:status": {}}}},
            },
        }
        for manager in managers
    ]
