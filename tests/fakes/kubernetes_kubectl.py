"""A scripted API server that also says what it has, so that kubectl can be pointed at it."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.fakes.certificate import Certificate
from tests.fakes.kubernetes import TOKEN, KubernetesApi
from tests.fakes.kubernetes_objects import Object
from tests.fakes.wire import Request, Wire

_FORM = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def _resource(group: str, kind: str, short: str) -> Object:
    return {
        "resource": f"{kind.lower()}s",
        "responseKind": {"group": group, "version": "v1", "kind": kind},
        "scope": "Namespaced",
        "singularResource": kind.lower(),
        "verbs": ["get", "list", "watch"],
        "shortNames": [short],
    }


def _groups(group: str, *resources: Object) -> Object:
    version = {"version": "v1", "freshness": "Current", "resources": list(resources)}
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{"metadata": {"name": group} if group else {}, "versions": [version]}],
    }


_KNOWN = {
    "/api": _groups("", _resource("", "Pod", "po")),
    "/apis": _groups(
        "discovery.k8s.io", _resource("discovery.k8s.io", "EndpointSlice", "endpointslices")
    ),
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.4"},
}


class KubectlApi(KubernetesApi):
    """Answers what kubectl asks first."""

    async def answer(self, request: Request, wire: Wire) -> None:
        if (known := _KNOWN.get(request.path)) is None:
            await super().answer(request, wire)
        else:
            form = "application/json" if request.path == "/version" else _FORM
            await wire.reply(200, [("Content-Type", form)], json.dumps(known).encode())


async def kubectl(api: KubernetesApi, certificate: Certificate, home: Path, *args: str) -> str:
    """What a kubectl command prints; fails where it does, and after a while."""
    command = shutil.which("kubectl")
    assert command is not None
    process = await asyncio.create_subprocess_exec(
        command,
        *("--server", api.url, "--certificate-authority", str(certificate.cert)),
        *("--token", TOKEN, "--cache-dir", str(home), *args),
        stdout=PIPE,
        stderr=PIPE,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    try:
        async with asyncio.timeout(40):
            out, wrong = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, wrong.decode()
    return out.decode()
