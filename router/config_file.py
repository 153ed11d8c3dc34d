"""Reads a YAML file of settings, and where in it each of them stands."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

_NO_VALUE = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML raises for text that is no value of its tag: a day 99, an `!!int` without digits."""


class ConfigurationError(Exception):
    """The configuration is wrong; `problems` say where and how, one each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Loader(yaml.SafeLoader):
    """Says where a value stands that cannot be made."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _NO_VALUE:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            problem = f"the value is taken for `{kind}` and is none; text goes in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def no_such_setting(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is none of the `known` ones."""
    near = get_close_matches(name, known, n=1)
    return f"no such setting{f'; did you mean `{near[0]}`?' if near else ''}"


def state_of(file: Path) -> tuple[int, int, int] | None:
    """What differs when a file has changed, also one that is mounted and swapped; None: it is not there."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The file's values and the line of each, by dotted path; raises `ConfigurationError`."""
    with _explained(file):
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=_Loader)
        values = _values(node)
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError([f"{file}:1: the file must hold settings, `name: value` each"])
    if twice := [f"{file}:{line}: {name}: given a second time" for name, line in _repeated(node)]:
        raise ConfigurationError(twice)
    return values, dict(_lines(node))


def read_list(file: Path) -> tuple[list[Any], dict[str, int]]:
    """The items of a file that is a list, tables by the names that are written; and the line of each, `0`, and of what is
    in tables, `0.name`. An empty file is no list, as one is that was cut short. Raises `ConfigurationError`.
    """
    with _explained(file):
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=_Loader)
        if not isinstance(node, yaml.SequenceNode):
            raise ConfigurationError(
                [f"{file}:1: the file must hold a list, `- item` each, or `[]`"]
            )
        items = [_item(item) for item in node.value]
        lines: dict[str, int] = {}
        twice = []
        for place, item in enumerate(node.value):
            lines[str(place)] = item.start_mark.line + 1
            if isinstance(item, yaml.MappingNode):
                lines.update({f"{place}.{name}": line for name, line in _lines(item)})
                twice += [
                    f"{file}:{line}: {name}: given a second time" for name, line in _repeated(item)
                ]
    if twice:
        raise ConfigurationError(twice)
    return items, lines


def _item(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _values(node)
    return _Loader("").construct_document(node)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Whatever is wrong with a file as such is a `ConfigurationError`."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError([f"{file}: {error.strerror}"]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError([_not_yaml(file, error)]) from None
    except RecursionError:
        raise ConfigurationError([f"{file}: lists or tables are nested too deeply"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{file}: not valid YAML: {error}"]) from None


def _values(node: yaml.Node | None) -> dict[str, Any]:
    """Settings by name as it is written: YAML would read `on` as a truth value."""
    loader, values = _Loader(""), {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a name must be text", problem_mark=key.start_mark)
        values[key.value] = loader.construct_document(value)
    return values


def _not_yaml(file: Path, error: yaml.MarkedYAMLError) -> str:
    """Without the line itself, as PyYAML would show it: a secret may stand there."""
    mark = error.problem_mark or error.context_mark
    where = f"{file}:{mark.line + 1}" if mark else str(file)
    why = ", ".join(filter(None, (error.context, error.problem)))
    return f"{where}: not valid YAML: {why}"


def _repeated(node: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    """Names that were given before in their table, which YAML forbids and PyYAML overlooks, and the line of each."""
    for path, each in _tables("", node, set()):
        seen: set[str] = set()
        for key, _ in each.value:
            if str(key.value) in seen:
                yield f"{path}{key.value}", key.start_mark.line + 1
            seen.add(str(key.value))


def _lines(node: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    """The line of each setting, and of each item of lists and tables in it."""
    for path, each in _tables("", node, set()):
        for key, value in each.value:
            yield f"{path}{key.value}", key.start_mark.line + 1
            if isinstance(value, yaml.SequenceNode):
                for place, item in enumerate(value.value):
                    yield f"{path}{key.value}.{place}", item.start_mark.line + 1


def _tables(
    path: str, node: yaml.MappingNode, seen: set[int]
) -> Iterator[tuple[str, yaml.MappingNode]]:
    """The table and those in it, each once (anchors may make rings), with what the names in it begin with."""
    if id(node) in seen:
        return
    seen.add(id(node))
    yield path, node
    for key, value in node.value:
        if isinstance(value, yaml.MappingNode):
            yield from _tables(f"{path}{key.value}.", value, seen)
