"""What an API server has: objects, their versions, and what happened to them as far back as it remembers."""

import asyncio
import copy
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.fakes.kubernetes_objects import CREATED, Object

_TERM = re.compile(r"\s*,\s*(?![^(]*\))")
_SET = re.compile(r"([^\s!=]+) (in|notin) \(([^)]*)\)")


class Change(NamedTuple):
    """`before` None: the object was not there; `after` None: it is gone."""

    version: int
    resource: str
    before: Object | None
    after: Object | None
    last: Object


class ExpiredError(Exception):
    """What was asked for is forgotten."""


class Store:
    """Objects by resource, namespace and name. `create`, `patch` and `delete` are what its other clients do."""

    def __init__(self) -> None:
        self.version = 1000
        self.news = asyncio.Event()
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._changes: list[Change] = []
        self._oldest = 1000

    def create(self, *objects: Object) -> None:
        """Add objects, or replace them."""
        for each in objects:
            self._set(_key(each), copy.deepcopy(each))

    def patch(self, object_: Object, changes: Object) -> None:
        """Merge changes into what the object is now; None takes a field away (RFC 7396)."""
        self._set(_key(object_), _merged(self._objects[_key(object_)], changes))

    def terminate(self, pod: Object) -> None:
        """What `kubectl delete` does at first."""
        self.patch(
            pod, {"metadata": {"deletionTimestamp": CREATED, "deletionGracePeriodSeconds": 600}}
        )

    def delete(self, object_: Object, *, unseen: bool = False) -> None:
        """Take it away; `unseen`: watches are not told, as if the event were lost."""
        key = _key(object_)
        before = self._objects.pop(key)
        self.version += 1
        last = _merged(before, {"metadata": {"resourceVersion": str(self.version)}})
        if not unseen:
            self._add(Change(self.version, key[0], before, None, last))

    def compact(self) -> None:
        """Forget what happened so far."""
        self._changes.clear()
        self.version += 1
        self._oldest = self.version
        self._ring()

    def listed(self, resource: str, namespace: str, fits: Callable[[Object], bool]) -> list[Object]:
        """Objects as they are now, by name."""
        found = [
            each
            for (kind, where, _), each in sorted(self._objects.items())
            if kind == resource and namespace in ("", where) and fits(each)
        ]
        return copy.deepcopy(found)

    def since(
        self, version: int, resource: str, namespace: str, fits: Callable[[Object], bool]
    ) -> Iterator[tuple[int, str, Object]]:
        """Version, kind and object of each event after a version. Raises `ExpiredError`."""
        if version < self._oldest:
            raise ExpiredError
        for change in [*self._changes]:
            meta = change.last["metadata"]
            if change.version <= version or change.resource != resource:
                continue
            if namespace in ("", meta["namespace"]) and (kind := _kind(change, fits)):
                yield change.version, kind, _shown(change, kind)

    def _set(self, key: tuple[str, str, str], object_: Object) -> None:
        self.version += 1
        object_["metadata"]["resourceVersion"] = str(self.version)
        before = self._objects.get(key)
        self._objects[key] = object_
        self._add(Change(self.version, key[0], before, object_, object_))

    def _add(self, change: Change) -> None:
        self._changes.append(change)
        self._ring()

    def _ring(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


def selects(selector: str) -> Callable[[Object], bool]:
    """Which objects a label selector fits."""
    terms = [_term(term) for term in _TERM.split(selector) if term]
    return lambda each: all(term(each["metadata"].get("labels") or {}) for term in terms)


def _term(term: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.fullmatch(term):
        name, how, values = match.groups()
        among = {value.strip() for value in values.split(",")}
        return lambda labels: (labels.get(name) in among) is (how == "in")
    if "!=" in term:
        name, value = term.split("!=")
        return lambda labels: labels.get(name) != value
    if "=" in term:
        name, value = re.split("==?", term)
        return lambda labels: labels.get(name) == value
    return lambda labels: (term.lstrip("!") in labels) is not term.startswith("!")


def _shown(change: Change, kind: str) -> Object:
    """What is gone is shown as it was while it was there."""
    if kind != "DELETED":
        return copy.deepcopy(change.last)
    assert change.before is not None
    return _merged(change.before, {"metadata": {"resourceVersion": str(change.version)}})


def _kind(change: Change, fits: Callable[[Object], bool]) -> str | None:
    """What a watch with a selector is told: an object that leaves it is deleted."""
    was = change.before is not None and fits(change.before)
    is_ = change.after is not None and fits(change.after)
    if is_:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else None


def _key(object_: Object) -> tuple[str, str, str]:
    meta = object_["metadata"]
    return f"{object_['kind'].lower()}s", meta["namespace"], meta["name"]


def _merged(value: Object, changes: Object) -> Object:
    merged: dict[str, Any] = {**value}
    for key, change in changes.items():
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], change)
        else:
            merged[key] = copy.deepcopy(change)
    return merged
