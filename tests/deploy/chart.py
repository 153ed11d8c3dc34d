"""Renders the Helm chart with the real helm, and reads what comes out."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.fakes import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "prefix-router"
VALUE_SETS = sorted(
    path.stem.removesuffix("-values") for path in (CHART / "ci").glob("*-values.yaml")
)
NAMESPACE = "llm"
FULL = "rel-prefix-router"
"""What the release `rel` calls its objects."""

Object = dict[str, Any]
SECRETS = {
    "redis-url": "redis+cluster://redis:6379", "url": "redis://redis:6379", "api-keys": "acme=key", "tenants.yaml": "tenants: {}",
}  # fmt: skip
"""What is in Secrets that are there before; any other key has `secret`."""
POD = "rel-prefix-router-5d9f"
"""The name of a pod."""
_REFERENCE = re.compile(r"\$\((\w+)\)")
_TIMEOUT_S = 50.0
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C: dashboards are long


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Refuses a key that is there twice, as kustomize, Flux and Argo CD do. Of helm's tools some take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"there twice: {twice}{node.start_mark}"
        return super().construct_mapping(node, deep)


def run(*arguments: str | Path, given: str = "") -> "subprocess.CompletedProcess[str]":
    """helm with these arguments, `given` on its standard input."""
    return subprocess.run(
        [helm.binary(), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )


def values_of(name: str) -> Path:
    """A set of values in the chart's folder ci."""
    return CHART / "ci" / f"{name}-values.yaml"


def read(text: str) -> list[Object]:
    """The documents that are not empty."""
    return [each for each in yaml.load_all(text, Loader=_Loader) if each]


@cache
def render(name: str, *flags: str) -> list[Object]:
    """All objects of a set of values, with more flags of helm's; not to be changed."""
    done = run("template", "rel", CHART, "-n", NAMESPACE, "-f", values_of(name), *flags)
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


def rendered(name: str, values: str) -> list[Object]:
    """The same with more values, as a file of YAML has them."""
    arguments = ("template", "rel", CHART, "-n", NAMESPACE, "-f", values_of(name), "-f", "-")
    done = run(*arguments, given=values)
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


def fails(name: str, *flags: str) -> str:
    """What helm says of values that are wrong."""
    done = run("template", "rel", CHART, "-n", NAMESPACE, "-f", values_of(name), *flags)
    assert done.returncode != 0, "nothing was wrong"
    return done.stderr


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Those of these kinds."""
    return [each for each in objects if each["kind"] in kinds]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """The one of that kind and name, in whatever namespace."""
    found = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    assert found, f"no {kind} {name}"
    return found[0]


def pods(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Name of its owner, and the template of each pod."""
    for each in of_kind(objects, "Deployment", "DaemonSet", "StatefulSet"):
        yield each["metadata"]["name"], each["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    """All containers, those that run before included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def component(template: Object) -> str:
    """router, worker, redis …"""
    return str(template["metadata"]["labels"]["app.kubernetes.io/component"])


def matches(selector: Mapping[str, str], template: Object) -> bool:
    """The labels of the pod are these, at least."""
    labels: dict[str, str] = template["metadata"]["labels"]
    return selector.items() <= labels.items()


def config(objects: Iterable[Object], name: str = FULL) -> Object:
    """The router's settings in the ConfigMap."""
    text = named(objects, "ConfigMap", name)["data"]["router.yaml"]
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def option(container: Object, name: str) -> Any:
    """The JSON of `--name={…}` among the container's arguments."""
    head = f"--{name}="
    return json.loads(
        next(each for each in container["args"] if each.startswith(head))[len(head) :]
    )


def environment(container: Object, objects: list[Object]) -> dict[str, str]:
    """The container's, as Kubernetes makes it."""
    made = {
        (each["metadata"]["name"], key): str(value)
        for each in of_kind(objects, "Secret")
        for key, value in each["stringData"].items()
    }
    found: dict[str, str] = {}
    for each in container["env"]:
        if "value" in each:
            value = _REFERENCE.sub(lambda match: found[match[1]], each["value"])
        elif "fieldRef" in each["valueFrom"]:
            assert each["valueFrom"]["fieldRef"] == {"fieldPath": "metadata.name"}
            value = POD
        else:
            ref = each["valueFrom"]["secretKeyRef"]
            value = made.get((ref["name"], ref["key"]), SECRETS.get(ref["key"], "secret"))
        found[each["name"]] = value
    return found


def configure(objects: list[Object], folder: Path, **changed: Any) -> Path:
    """The router's file, and those it names, below `folder`."""
    for name in ("config/router.yaml", "tls/tls.crt", "tls/tls.key", "tenants/tenants.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("tenants: {}\n", encoding="utf-8")
    text = named(objects, "ConfigMap", FULL)["data"]["router.yaml"]
    values = yaml.safe_load(text.replace("/etc/prefix-router", str(folder)))
    file = folder / "config/router.yaml"
    file.write_text(text.replace("/etc/prefix-router", str(folder)), encoding="utf-8")
    if changed:
        file.write_text(yaml.safe_dump({**values, **changed}), encoding="utf-8")
    return file


def router_of(objects: list[Object]) -> Object:
    """The router's container."""
    pod = named(objects, "Deployment", FULL)["spec"]["template"]["spec"]
    found = pod["containers"][0]
    assert isinstance(found, dict)
    return found
