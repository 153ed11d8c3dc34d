"""The types of settings that are more than Python's own, each with what it refuses."""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from router.discovery.asking import nameserver
from router.discovery.dns import check as check_dns_name
from router.fleet.target import worker_url
from router.routing.registry import POLICIES
from router.shared.urls import parse as parse_redis_url
from router.upstream.pool import Address

_UNEXPANDED = re.compile(r"\$\{\w+(?::?-[^}]*)?\}|\$\w+|\$\(\w+\)|\{\{.*\}\}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _coordinator(url: str) -> str:
    Address.parse(url)
    return url


def _api_url(url: str) -> str:
    Address.parse(url)
    return url.rstrip("/")


def _dns_name(name: str) -> str:
    return check_dns_name(name)


def _collector(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(
            f"{url!r}: must be http://host:4318 or https://…, where the collector takes OTLP over HTTP"
        )
    return url


def _selector(text: str) -> str:
    """An empty one would fit every pod."""
    if not text.strip():
        raise ValueError("must not be empty: it would fit every pod")
    return text.strip()


def _name_server(text: str) -> str:
    nameserver(text)
    return text


def unexpanded(key: str) -> bool:
    """It is a `${NAME}`, which nobody replaces by what it stands for."""
    return _UNEXPANDED.fullmatch(key) is not None


def _api_key(key: str) -> str:
    """A key read from a file often ends with a newline."""
    key = key.strip()
    if not key:
        raise ValueError("is empty: leave it out where there is no key")
    if unexpanded(key):
        raise ValueError(
            f"{key} stands for a key, and nobody puts that in here: set the variable in the environment"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("the key must be printable ASCII without spaces")
    return key


def _readable(file: Path) -> Path:
    if not (os.access(file, os.R_OK) and file.is_file()):
        raise ValueError(f"'{file}' is not a file that can be read")
    return file


def _directory(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"'{path}' is not a directory")
    return path


def _policy(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"no such policy; there are {', '.join(POLICIES)}")
    return name


def _header(name: str) -> str | None:
    if name and not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    return name.lower() or None


def _redis_url(url: str) -> str:
    parse_redis_url(url)
    return url


def _namespace(name: str) -> str:
    if not name or set(name) & set("{}"):
        raise ValueError("must not be empty, or have braces")
    return name


def pairs(value: object, shape: str) -> object:
    """`name=value,name=value`, as an environment variable has to be; `shape`: what to say of anything else."""
    if not isinstance(value, str):
        return value
    parts = [part.rpartition("=") for part in value.split(",") if part.strip()]
    found = {name.strip(): each.strip() for name, _, each in parts}
    if not all(name and each for name, each in found.items()):
        raise ValueError(f"must be `{shape}`, several with commas")
    return found


def word(value: object) -> object:
    """YAML takes `off` and `on` for truth values."""
    return {False: "off", True: "on"}[value] if isinstance(value, bool) else value


RedisUrl = Annotated[str, AfterValidator(_redis_url)]
Namespace = Annotated[str, AfterValidator(_namespace)]
ApiUrl = Annotated[str, AfterValidator(_api_url)]
Selector = Annotated[str, AfterValidator(_selector)]
NameServer = Annotated[str, AfterValidator(_name_server)]
DnsName = Annotated[str, AfterValidator(_dns_name)]
WorkerUrl = Annotated[str, AfterValidator(worker_url)]
ApiKey = Annotated[str, AfterValidator(_api_key)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
ReadableDirectory = Annotated[Path, AfterValidator(_directory)]
CollectorUrl = Annotated[str, AfterValidator(_collector)]
CoordinatorUrl = Annotated[str, AfterValidator(_coordinator)]
PolicyName = Annotated[str, AfterValidator(_policy)]
HeaderName = Annotated[str, AfterValidator(_header)]
