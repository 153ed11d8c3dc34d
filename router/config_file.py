"""Reads a YAML file of settings, and where in it each of them stands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


class ConfigurationError(Exception):
    """The configuration is wrong; `problems` say where and how, one each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The file's values and the line of each, by dotted path; raises `ConfigurationError`."""
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        values = _values(node)
    except OSError as error:
        raise ConfigurationError([f"{file}: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{file}: not valid YAML: {error}"]) from None
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError([f"{file}:1: the file must hold settings, `name: value` each"])
    if twice := [f"{file}:{line}: {name}: given a second time" for name, line in _repeated(node)]:
        raise ConfigurationError(twice)
    return values, dict(_lines(node))


def _values(node: yaml.Node | None) -> dict[str, Any]:
    """Settings by name as it is written: YAML would read `on` as a truth value."""
    loader, values = yaml.SafeLoader(""), {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a name must be text", problem_mark=key.start_mark)
        values[key.value] = loader.construct_document(value)
    return values


def _repeated(node: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    """Names that were given before, which YAML forbids and PyYAML overlooks, and the line of each."""
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            yield key.value, key.start_mark.line + 1
        seen.add(key.value)


def _lines(node: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    """The line of each setting, and of each item of a list or a table."""
    for key, value in node.value:
        yield key.value, key.start_mark.line + 1
        if isinstance(value, yaml.SequenceNode):
            for place, item in enumerate(value.value):
                yield f"{key.value}.{place}", item.start_mark.line + 1
        elif isinstance(value, yaml.MappingNode):
            for name, _ in value.value:
                yield f"{key.value}.{name.value}", name.start_mark.line + 1
