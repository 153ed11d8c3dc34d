"""The router's own paths stay its own, whatever is allowed."""

import re
from typing import Any

import pytest

from router.edge.admin import admin_app
from router.prompt.endpoints import EndpointTable, canonical_path

PATTERNS = ["*", "/*", "/v1/*", "/[a-z]*", "/v1/models", "/v1/models/*", "/health"]


def own_paths() -> list[str]:
    nothing: Any = None
    routes = admin_app(nothing, nothing, nothing, "0").routes
    paths = [
        re.sub(r"\{[^}]*\}", "org/name", route.path) for route in routes if hasattr(route, "path")
    ]
    assert {"/", "/health", "/ready", "/metrics", "/v1/models/org/name", "/docs"} <= set(paths)
    return paths


@pytest.mark.parametrize("pattern", PATTERNS)
def test_they_are_never_the_gateway_s(pattern: str) -> None:
    table = EndpointTable([pattern])
    for path in own_paths():
        for written in (path, path + "/", "/" + path, path.replace("e", "%65", 1)):
            assert table.resolve(canonical_path(written.encode())) is None, written


@pytest.mark.parametrize("path", ["/healthy", "/v1/model", "/v1/modelsx", "/v1/x", "/metrics/x"])
def test_what_only_looks_like_them_can_be_allowed(path: str) -> None:
    endpoint = EndpointTable(["*"]).resolve(path.encode())
    assert endpoint is not None
    assert endpoint.name == "other"
