"""Of a worker's routes clients reach those that infer, and none that control it."""

from typing import Any

import pytest

from tests.e2e.harness import Router, ask

pytestmark = pytest.mark.engine

INFERENCE = {
    "/generative_scoring",
    "/inference/v1/generate",
    "/invocations",
    "/tokenize",
    "/detokenize",
    "/version",
    "/v1/systemone",
}
INFERENCE_PREFIXES = ("/v1/chat/", "/v1/completions", "/v1/messages", "/v1/responses")
OWN = {"/health", "/metrics", "/ping", "/v1/models", "/docs", "/redoc", "/openapi.json"}


def is_inference(path: str) -> bool:
    return path in INFERENCE or path.startswith(INFERENCE_PREFIXES)


def test_control_routes_are_withheld(engine_router: Router, engine_workers: list[Any]) -> None:
    document = ask(engine_workers[0].url, "/openapi.json", method="GET").json()
    routes = {
        (path, method.upper())
        for path, methods in document["paths"].items()
        for method in methods
        if path not in OWN and not is_inference(path)
    }
    assert ("/sleep", "POST") in routes
    assert len(routes) > 20
    for path, method in sorted(routes):
        answer = ask(engine_router.url, path.replace("{adapter_name}", "a"), b"{}", method=method)
        assert (path, answer.status) == (path, 404)
        assert answer.header("x-router-worker") is None
        assert answer.json()["error"]["code"]
