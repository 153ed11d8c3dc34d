"""As much of Kubernetes' API as helm asks before it renders for a cluster: which kinds there are, and objects by name."""

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

KINDS = {
    "v1": ("ConfigMap", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "keda.sh/v1alpha1": ("ScaledObject",),
    "policy/v1": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding"),
}
"""What objects there may be, by the API that they are of."""


def _kinds(version: str) -> dict[str, Any]:
    each = [
        {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get"]}
        for kind in KINDS[version]
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": each}


def _documents() -> dict[str, Any]:
    groups = []
    for version in KINDS:
        if "/" in version:
            one = {"groupVersion": version, "version": version.partition("/")[2]}
            name = version.partition("/")[0]
            groups.append({"name": name, "versions": [one], "preferredVersion": one})
    return {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **{f"/{'apis' if '/' in each else 'api'}/{each}": _kinds(each) for each in KINDS},
    }


@contextmanager
def cluster(release: str, namespace: str, replicas: Mapping[str, int]) -> Iterator[str]:
    """The address of an API server with these Deployments of the release's, by name: how many replicas each has."""
    documents = _documents()
    owner = {"release-name": release, "release-namespace": namespace}
    owned = {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {f"meta.helm.sh/{name}": value for name, value in owner.items()},
    }
    for name, number in replicas.items():
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        about = {"apiVersion": "apps/v1", "kind": "Deployment"}
        documents[path] = {
            **about,
            "metadata": {"name": name, **owned},
            "spec": {"replicas": number},
        }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = documents.get(self.path.partition("?")[0])
            missing = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}  # fmt: skip
            body = json.dumps(missing if found is None else found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
