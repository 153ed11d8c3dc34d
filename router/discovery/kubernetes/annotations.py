"""What the annotations of a pod say of the worker in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from router.discovery.kubernetes.objects import ANNOTATIONS
from router.fleet.target import EventPorts, Role


@dataclass(frozen=True, slots=True)
class Notes:
    """None and empty: that is not said."""

    models: tuple[str, ...] = ()
    port: int | None = None
    scheme: str | None = None
    path: str = ""
    role: Role = Role.BOTH
    events: EventPorts | None = None
    drain: bool = False
    server_name: str = ""


def _models(text: str) -> tuple[str, ...]:
    models = tuple(part.strip() for part in text.split(",") if part.strip())
    if not models or not text.isprintable():
        raise ValueError
    return models


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError
    return int(text)


def _path(text: str) -> str:
    good = text.startswith("/") and text.isascii() and text.isprintable()
    if not good or set(text) & set(" ?#"):
        raise ValueError
    return text.rstrip("/")


def _scheme(text: str) -> str:
    return {"http": "http", "https": "https"}[text]


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _host(text: str) -> str:
    if not (text.isascii() and text.replace("-", "").replace(".", "").isalnum()):
        raise ValueError
    return text


_KNOWN: dict[str, tuple[Callable[[str], Any], str]] = {
    "models": (_models, "names of models, several with commas"),
    "port": (_port, "a number from 1 to 65535"),
    "scheme": (_scheme, "`http` or `https`"),
    "path": (_path, "a path as /prefix, without query"),
    "role": (Role, ", ".join(f"`{role}`" for role in Role)),
    "kv-events-port": (_port, "a number from 1 to 65535"),
    "kv-events-replay-port": (_port, "a number from 1 to 65535"),
    "drain": (_truth, "`true` or `false`"),
    "server-name": (_host, "the name of a host"),
}
"""How each is read, and what is allowed."""


def read(annotations: Mapping[str, str] | None) -> tuple[Notes, dict[str, str]]:
    """What they say, and what is wrong with those that are not heeded, by annotation."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for key, text in (annotations or {}).items():
        name = key.removeprefix(ANNOTATIONS)
        if name not in _KNOWN:
            wrong[key] = _unknown(name)
            continue
        parse, allowed = _KNOWN[name]
        try:
            values[name.replace("-", "_")] = parse(text.strip())
        except (ValueError, KeyError):
            wrong[key] = f"{text[:100]!r} is not allowed; it must be {allowed}"
    values["events"] = _events(values, wrong)
    return Notes(**values), wrong


def _events(values: dict[str, Any], wrong: dict[str, str]) -> EventPorts | None:
    port, replay = (values.pop(name, None) for name in ("kv_events_port", "kv_events_replay_port"))
    if port is None and replay is not None:
        wrong[f"{ANNOTATIONS}kv-events-replay-port"] = f"it needs {ANNOTATIONS}kv-events-port"
    return None if port is None else EventPorts(port, replay)


def _unknown(name: str) -> str:
    near = get_close_matches(name, _KNOWN, n=1)
    hint = f"did you mean {ANNOTATIONS}{near[0]}?" if near else f"there are {', '.join(_KNOWN)}"
    return f"there is no such annotation; {hint}"
