"""Where workers are found, beside those that are set."""

import os
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from router.setting_types import ApiUrl, DnsName, NameServer, Selector

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class DiscoverySettings(BaseModel):
    """Where workers are found, beside those that are set."""

    workers_file: Path | None = Field(
        default=None,
        description="YAML list of workers, URLs or tables with `url`, `models`, `drained` …; read anew when it changes.",
    )
    workers_dns: list[DnsName] = Field(
        default=[],
        description="Names that are resolved again and again: `http://vllm.default.svc:8000` stands for a worker at each of "
        "its addresses, `srv://_http._tcp.vllm.default.svc` for one at each host and port (`srvs://`: on https).",
    )
    dns_interval_s: float = Field(
        default=10.0, gt=0, description="How often they are resolved; sooner where answers say so."
    )
    dns_family: Literal["auto", "ipv4", "ipv6"] = Field(
        default="auto",
        description="Which of a name's addresses count; `auto`: IPv4 where there are any, else IPv6.",
    )
    dns_nameservers: list[NameServer] = Field(
        default=[],
        description="Name servers to ask instead of the system's: `10.0.0.2`, `127.0.0.1:8600`. Needs `prefix-router[dns]`, "
        "and so does `srv://`.",
    )
    kubernetes_service: str | None = Field(
        default=None,
        description="Kubernetes Service whose endpoints are workers: `name`, or `namespace/name`.",
    )
    kubernetes_selector: Selector | None = Field(
        default=None, description="Label selector of pods that are workers: `app=vllm,tier!=test`."
    )
    kubernetes_namespaces: list[str] = Field(
        default=[], description="Where they are looked for; default: the router's own namespace."
    )
    kubernetes_port: str | None = Field(
        default=None,
        description="Name or number of the workers' port; default: the only or first one.",
    )
    kubernetes_routers: Selector | None = Field(
        default=None,
        description="Label selector of the router's own pods: what an operator changes at one of them is passed on to all.",
    )
    kubernetes_api: ApiUrl | None = Field(
        default=None,
        description="The API server; default: that of the cluster the router runs in.",
    )
    kubernetes_token_file: Path = Field(
        default=_ACCOUNT / "token",
        description="Bearer token for it; read anew when it changes. Unused where it is not there.",
    )
    kubernetes_ca_file: Path = Field(
        default=_ACCOUNT / "ca.crt",
        description="CA bundle for it; the system's where it is not there.",
    )

    @field_validator("kubernetes_port", mode="before")
    @classmethod
    def _port(cls, value: object) -> object:
        """A number is one also without quotes."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("kubernetes_service")
    @classmethod
    def _service(cls, value: str | None) -> str | None:
        parts = [] if value is None else value.split("/")
        if len(parts) > 2 or not all(_LABEL.fullmatch(part) for part in parts):
            raise ValueError("must be the `name` of a Service, or `namespace/name`")
        return value

    @field_validator("kubernetes_namespaces")
    @classmethod
    def _namespaces(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a namespace")
        return value

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.kubernetes_port and not (self.kubernetes_service or self.kubernetes_selector):
            raise ValueError("kubernetes_port needs kubernetes_service or kubernetes_selector")
        anything = self.kubernetes_service or self.kubernetes_selector or self.kubernetes_routers
        if self.kubernetes_namespaces and not anything:
            raise ValueError(
                "kubernetes_namespaces needs kubernetes_service, kubernetes_selector or kubernetes_routers"
            )
        return self


def cluster_address() -> tuple[str | None, str | None]:
    """Host and port of the API server, as every pod's environment has them."""
    return os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
