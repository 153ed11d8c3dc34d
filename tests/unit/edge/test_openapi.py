"""The document that describes the router's own routes says what they answer."""

from typing import Any

import pytest

from router.edge.admin import admin_app
from router.edge.explain import add_explain
from router.edge.limits import Drain
from router.edge.openapi import errors
from router.edge.operations import add_operations


@pytest.fixture(scope="module")
def paths() -> dict[str, Any]:
    nothing: Any = None
    app = admin_app(nothing, nothing, nothing, "0", Drain())
    add_explain(app, nothing, nothing)
    add_operations(app, nothing)
    found: dict[str, Any] = app.openapi()["paths"]
    return found


def test_errors_have_one_form() -> None:
    found = errors({404: "gone", 400: "wrong"})
    assert [found[status]["description"] for status in (404, 400)] == ["gone", "wrong"]
    (schema,) = {str(each["content"]["application/json"]["schema"]) for each in found.values()}
    assert "message" in schema


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/health", "get", {"200"}),
        ("/ready", "get", {"200", "503"}),
        ("/metrics", "get", {"200"}),
        ("/v1/models", "get", {"200"}),
        ("/v1/models/{model}", "get", {"200", "404", "default"}),
        ("/workers", "get", {"200"}),
        ("/workers", "post", {"201", "400", "default"}),
        ("/workers/{worker}", "delete", {"200", "404", "default"}),
        ("/workers/{worker}/drain", "post", {"200", "404", "default"}),
        ("/workers/{worker}/undrain", "post", {"200", "404", "default"}),
        ("/explain", "post", {"200", "400", "default"}),
    ],
)
def test_statuses(paths: dict[str, Any], path: str, method: str, statuses: set[str]) -> None:
    """None is claimed that never comes, such as FastAPI's 422."""
    assert paths[path][method]["responses"].keys() == statuses


def test_nothing_and_text_are_no_json(paths: dict[str, Any]) -> None:
    assert "content" not in paths["/health"]["get"]["responses"]["200"]
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]


@pytest.mark.parametrize("path", ["/explain", "/workers"])
def test_what_is_asked_for_is_sent_as_a_body(paths: dict[str, Any], path: str) -> None:
    body = paths[path]["post"]["requestBody"]
    assert body["required"]
    assert list(body["content"]) == ["application/json"]
