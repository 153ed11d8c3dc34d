"""Pods as workers (pure).

One that is not ready is none: as with a Service, it is given no requests, and those that it has may end. One that
terminates is drained for as long as it is still ready, and then gone.
"""

from collections.abc import Iterable, Iterator

from router.discovery.kubernetes.annotations import Notes
from router.discovery.kubernetes.objects import Container, ContainerPort, Pod
from router.discovery.kubernetes.places import Found, Place, family

DEFAULT_PORT = 8000
"""vLLM's."""


def workers(pods: Iterable[Pod], port: str | None) -> Found:
    """Workers that the pods are; `port`: its number or name, None: the first that containers say they have."""
    found = Found()
    for pod in sorted(pods, key=lambda pod: pod.metadata.full_name):
        host = address(pod)
        if host is None or not ready(pod):
            continue
        notes, meta = found.notes_of(pod.metadata), pod.metadata
        number = notes.port or port_of(pod, port)
        if number is None:
            found.wrong[f"pod {meta.full_name}"] = f"it is left out: {_no_port(pod, port)}"
            continue
        leaving = meta.deletion_timestamp is not None
        place = Place(
            host=host,
            port=number,
            name=meta.full_name,
            where=f"pod {meta.full_name}",
            leaving=leaving,
        )
        place.add(found, notes)
    return found


def running(pods: Iterable[Pod], port: int, scheme: str) -> Found:
    """All that run, ready or not, at this port, whatever their annotations say: routers are asked for orders as soon as
    they listen.
    """
    found = Found()
    for pod in sorted(pods, key=lambda pod: pod.metadata.full_name):
        if (host := address(pod)) is not None and pod.status.phase == "Running":
            place = Place(host=host, port=port, name=pod.metadata.full_name, scheme=scheme)
            place.add(found, Notes())
    return found


def ready(pod: Pod) -> bool:
    """It runs, and its containers say that they serve. (An evicted pod is Failed; it may keep the condition, not the address.)"""
    conditions = pod.status.conditions or ()
    return pod.status.phase == "Running" and any(
        each.type == "Ready" and each.status == "True" for each in conditions
    )


def address(pod: Pod) -> str | None:
    """Its IPv4 address, if it has one, as of a Service's endpoints; else its IPv6 one; None: it has none."""
    known = [each.ip for each in pod.status.pod_ips or ()] or [pod.status.pod_ip or ""]
    families = {family(each): each for each in reversed(known)}
    return families.get(4) or families.get(6)


def port_of(pod: Pod, port: str | None) -> int | None:
    """The number of the port with this name or number; without either the first one's, or vLLM's. None: it has none such."""
    if port is not None and port.isdigit():
        return int(port)
    if port is None:
        return next((each.container_port for each in _ports(pod.spec.containers)), DEFAULT_PORT)
    return next((each.container_port for each in _all_ports(pod) if each.name == port), None)


def _no_port(pod: Pod, port: str | None) -> str:
    names = ", ".join(f"`{each.name}`" for each in _all_ports(pod) if each.name)
    return f"it has no port named `{port}`; {f'there are {names}' if names else 'none has a name'}"


def _all_ports(pod: Pod) -> Iterator[ContainerPort]:
    yield from _ports(pod.spec.containers)
    yield from _ports(pod.spec.init_containers)


def _ports(containers: Iterable[Container] | None) -> Iterator[ContainerPort]:
    for container in containers or ():
        for port in container.ports or ():
            if port.protocol in (None, "TCP"):
                yield port
