"""What of the API server's objects is of interest; the rest, which is most of it, is not kept."""

from typing import Generic, TypeVar

import msgspec

ANNOTATIONS = "prefix-router.io/"
"""Annotations that begin so are for the router."""


class _Object(msgspec.Struct, rename="camel"):
    """Names are as in the API, `pod_ip` as `podIP` by hand; what is not there has its default."""


class Meta(_Object):
    """`metadata`: of the annotations only the router's own are kept."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.annotations is not None:
            ours = {k: v for k, v in self.annotations.items() if k.startswith(ANNOTATIONS)}
            self.annotations = ours or None

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class Described(_Object):
    """Any object, of which only the metadata count."""

    metadata: Meta


class ContainerPort(_Object):
    """A port that a container says it has."""

    container_port: int
    name: str | None = None
    protocol: str | None = None


class Container(_Object):
    """A container of a pod."""

    ports: list[ContainerPort] | None = None


class PodSpec(_Object):
    """`init_containers`: sidecars are among them."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None


class Condition(_Object):
    """`status`: True, False or Unknown."""

    type: str
    status: str


class PodIP(_Object):
    """One of a pod's addresses."""

    ip: str = ""


class PodStatus(_Object):
    """`phase`: Pending, Running, Succeeded, Failed or Unknown."""

    phase: str = ""
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: list[PodIP] | None = msgspec.field(default=None, name="podIPs")
    conditions: list[Condition] | None = None


class Pod(Described):
    """A pod."""

    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class EndpointConditions(_Object):
    """None means unknown: `ready` is to be taken for True then, `serving` for what `ready` is."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Reference(_Object):
    """The object behind an endpoint."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(_Object):
    """One or more addresses that are interchangeable: the first is used."""

    addresses: list[str] | None = None
    conditions: EndpointConditions = msgspec.field(default_factory=EndpointConditions)
    target_ref: Reference | None = None


class EndpointPort(_Object):
    """A port that all endpoints of a slice have; without a number: all of them."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class EndpointSlice(Described):
    """Some of a Service's endpoints, all of one `address_type`: IPv4, IPv6 or FQDN."""

    address_type: str = "IPv4"
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


T = TypeVar("T", bound=Described)


class PageMeta(msgspec.Struct, rename="camel"):
    """`continue_`: what the next page is asked for with."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, Generic[T]):
    """A list, or a part of one."""

    metadata: PageMeta
    items: list[T] | None = None


class Event(msgspec.Struct):
    """A line of a watch. `type`: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: msgspec.Raw


class Status(msgspec.Struct):
    """What the API server says of a request that failed."""

    code: int = 0
    message: str = ""
    reason: str = ""
