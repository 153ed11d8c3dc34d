"""Says what is wrong with a manifest, by Kubernetes' own schemas and those of the kinds that others define.

`crds/` has the latter, from the repositories that they name; rules in CEL are not looked at.
"""

import json
import os
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

CRDS = Path(__file__).parent / "crds"
OLDEST, NEWEST = "1.29", "1.36"
"""Versions of Kubernetes that the chart is checked for."""


def problem(manifest: Mapping[str, Any], version: str) -> str | None:
    """What is wrong with it in that version of Kubernetes; None: nothing."""
    custom = CRDS / f"{manifest['kind'].lower()}.json"
    if custom.exists():
        found = next(_custom(custom).iter_errors(manifest), None)
        return found and f"{found.json_path}: {found.message}"
    validate = _kubernetes_validate()
    try:
        validate.validate(manifest, version, strict=True)
    except validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return None


def _kubernetes_validate() -> ModuleType:
    """Without it the test is skipped, or fails when TEST_HELM is `require`."""
    if os.environ.get("TEST_HELM") == "require":
        return import_module("kubernetes_validate")
    return cast(ModuleType, pytest.importorskip("kubernetes_validate"))


@cache
def _custom(path: Path) -> Draft202012Validator:
    return Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))
