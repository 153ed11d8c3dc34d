"""A Service's endpoints as workers (pure).

An endpoint that does not serve is none, one that terminates is drained while it serves. A Service with
`publishNotReadyAddresses` has all its pods ready: the router's own health checks decide then.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from router.discovery.kubernetes.annotations import Notes
from router.discovery.kubernetes.objects import Described, Endpoint, EndpointPort, EndpointSlice
from router.discovery.kubernetes.places import Found, Place, family
from router.discovery.kubernetes.pods import DEFAULT_PORT

_KINDS = {"IPv4": 0, "IPv6": 1, "FQDN": 2}
"""Which of a pod's addresses is taken: the first kind that there is."""


class _Listed(NamedTuple):
    """An endpoint in a slice. Of several for one pod, or for one port of a host where there is no pod, the least counts: IPv4 before IPv6 before names, and while it is
    moved from slice to slice, that which serves.
    """

    kind: int
    gone: bool
    leaving: bool
    host: str
    port: int
    https: bool
    namespace: str
    name: str
    uid: str


def workers(
    slices: Iterable[EndpointSlice],
    port: str | None,
    described: Mapping[str, Described],
    server_name: str = "",
) -> Found:
    """Workers at a Service's endpoints; `port`: its number or name, None: the first of a slice. `described`: the pods that
    are known, by name. `server_name`: what certificates are for, where an endpoint is on TLS.
    """
    found = Found()
    slices = list(slices)
    groups: dict[str, list[_Listed]] = defaultdict(list)
    for each in slices:
        if (meant := _port_of(each.ports or (), port)) is None:
            continue
        for endpoint in each.endpoints or ():
            listed = _listed(each, endpoint, meant)
            groups[listed.uid or f"{listed.host} {listed.port}"].append(listed)
    for listed in sorted(
        map(min, groups.values()), key=lambda each: (each.name, each.host, each.port)
    ):
        if not listed.gone:
            _add(listed, found, described, server_name)
    found.wrong |= _without_port(slices, port) if slices and not groups else {}
    return found


def _listed(each: EndpointSlice, endpoint: Endpoint, port: EndpointPort) -> _Listed:
    reference, conditions = endpoint.target_ref, endpoint.conditions
    of_pod = reference is not None and reference.kind == "Pod"
    ready = conditions.ready is not False
    serving = conditions.terminating and conditions.serving
    hosts = endpoint.addresses or [""]
    return _Listed(
        kind=_KINDS.get(each.address_type, len(_KINDS)),
        gone=not (_fits(hosts[0], each.address_type) and (ready or serving)),
        leaving=bool(conditions.terminating),
        host=hosts[0],
        port=port.port or DEFAULT_PORT,
        https=port.app_protocol == "https",
        namespace=each.metadata.namespace,
        name=reference.name if reference is not None and of_pod else "",
        uid=reference.uid if reference is not None else "",
    )


def _fits(address: str, kind: str) -> bool:
    return bool(address) and {"IPv4": 4, "IPv6": 6}.get(kind) == family(address)


def _add(listed: _Listed, found: Found, described: Mapping[str, Described], tls_name: str) -> None:
    pod = described.get(listed.name)
    known = pod is not None and (not listed.uid or pod.metadata.uid == listed.uid)
    meta = pod.metadata if pod is not None and known else None
    notes = found.notes_of(meta) if meta is not None else Notes()
    Place(
        host=listed.host,
        port=listed.port,
        name=f"{listed.namespace}/{listed.name}" if listed.name else "",
        where=f"endpoint {listed.host}",
        scheme="https" if listed.https else "http",
        leaving=listed.leaving or (meta is not None and meta.deletion_timestamp is not None),
        server_name=tls_name,
    ).add(found, notes)


def _port_of(ports: Iterable[EndpointPort], wanted: str | None) -> EndpointPort | None:
    """The port that is meant; a Service may have none, being there for a name only."""
    usable = [each for each in ports if each.protocol in (None, "TCP")]
    number = int(wanted) if wanted and wanted.isdigit() else None
    for each in usable:
        if wanted in (None, each.name) or (number is not None and number == each.port):
            return each
    if usable or (wanted is not None and number is None):
        return None
    return EndpointPort(port=number)


def _without_port(slices: Iterable[EndpointSlice], wanted: str | None) -> dict[str, str]:
    known = sorted({_shown(port) for each in slices for port in each.ports or ()})
    return (
        {}
        if not known
        else {"port": f"no endpoint has a port `{wanted}`; there are {', '.join(known)}"}
    )


def _shown(port: EndpointPort) -> str:
    return f"`{port.name}` ({port.port})" if port.name else f"{port.port}"
