"""Where settings come from, strongest first: command-line flags, environment (`PREFIX_ROUTER_…`), the YAML file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from router.config_file import ConfigurationError, no_such_setting, read
from router.settings import Settings

_PREFIX = "PREFIX_ROUTER_"
_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_(HOST|PORT\w*)=|PORT_\d+_(TCP|UDP|SCTP)\w*=|PORT=(tcp|udp|sctp)://)"
)
"""Variables that Kubernetes sets in every pod beside a Service named `prefix-router…`."""

_OF_COMMANDS = {f"{_PREFIX}URL"}
"""Variables that commands read which ask a router: no settings of one."""

_FLAGS = {"workers": "worker", "allow_paths": "allow-path"}
"""Flags that are given once per item, where they differ from the setting."""


def load(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Merge all sources and validate; raises `ConfigurationError`."""
    from_file, lines = read(file) if file else ({}, {})
    environment, problems = _environment()
    try:
        settings = Settings(**{**from_file, **environment, **flags})
    except ValidationError as error:
        problems += [_problem(detail, file, lines, environment, flags) for detail in error.errors()]
        raise ConfigurationError(problems) from None
    if problems:
        raise ConfigurationError(problems)
    return settings


def _environment() -> tuple[dict[str, str], list[str]]:
    """The settings in the environment, and what is wrong with the names of others."""
    known = {f"{_PREFIX}{name.upper()}": name for name in Settings.model_fields}
    values, problems = {}, []
    for variable, value in os.environ.items():
        if not variable.startswith(_PREFIX) or _SERVICE_LINK.match(f"{variable}={value}"):
            continue
        if variable in _OF_COMMANDS:
            continue
        if variable in known:
            values[known[variable]] = value
        else:
            problems.append(f"{variable}: {no_such_setting(variable, known)}")
    return values, problems


def _problem(
    detail: Mapping[str, Any],
    file: Path | None,
    lines: Mapping[str, int],
    environment: Mapping[str, Any],
    flags: Mapping[str, Any],
) -> str:
    """One line: where, what, why."""
    location = [str(part) for part in detail["loc"]]
    name = location[0] if location else ""
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = no_such_setting(name, Settings.model_fields)
    if name in flags:
        where = f"--{_FLAGS.get(name, name).replace('_', '-')}"
    elif name in environment:
        where = f"{_PREFIX}{name.upper()}"
    else:
        line = lines.get(".".join(location)) or lines.get(name)
        where = f"{file}:{line}" if line else str(file or "configuration")
    return f"{where}: {'.'.join(location)}: {message}" if location else f"{where}: {message}"
