"""Asking a router over HTTP, and what is said when that fails."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from router.client import NoAnswerError, RouterClient


class Router(HTTPServer):
    """Answers everything alike and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: tuple[int, bytes] = 200, b"{}"
        self.seen: list[tuple[str, str, bytes, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Router

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fields = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, body, fields))
        status, text = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def router() -> Iterator[Router]:
    with Router() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_explaining(router: Router) -> None:
    router.answer = 200, b'{"worker": "a:1"}'
    client = RouterClient(router.url + "/", {"x-session-id": "s"})
    assert client.explain(b"{}", None) == {"worker": "a:1"}
    ((method, path, body, fields),) = router.seen
    assert (method, path, body) == ("POST", "/explain", b"{}")
    assert (fields["content-type"], fields["x-session-id"]) == ("application/json", "s")


@pytest.mark.parametrize(
    ("endpoint", "query"), [("/v1/completions", "/v1/completions"), ("/a b&c", "/a%20b%26c")]
)
def test_naming_the_endpoint(endpoint: str, query: str, router: Router) -> None:
    RouterClient(router.url, {}).explain(b"{}", endpoint)
    assert router.seen[0][1] == f"/explain?endpoint={query}"


def test_models(router: Router) -> None:
    router.answer = 200, b'{"data": [{"id": "m"}, {"id": "n"}]}'
    assert RouterClient(router.url, {}).models() == ["m", "n"]
    assert router.seen[0][:2] == ("GET", "/v1/models")


def test_a_router_behind_a_path(router: Router) -> None:
    RouterClient(router.url.removeprefix("http://") + "/llm/", {}).explain(b"{}", None)
    assert router.seen[0][1] == "/llm/explain"


def test_its_error_is_passed_on(router: Router) -> None:
    router.answer = 404, json.dumps({"error": {"message": "The model is not there."}}).encode()
    with pytest.raises(NoAnswerError, match=r"^The model is not there\.$"):
        RouterClient(router.url, {}).explain(b"{}", None)


@pytest.mark.parametrize("answer", [(404, b"<html>"), (404, b'{"detail": 1}'), (500, b"[]")])
def test_something_else_answers(answer: tuple[int, bytes], router: Router) -> None:
    router.answer = answer
    with pytest.raises(NoAnswerError, match=f"{router.url} answers {answer[0]}.*--router"):
        RouterClient(router.url, {}).explain(b"{}", None)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NoAnswerError, match=f"127.0.0.1:{port}: .*is a router running there"):
        RouterClient(f"http://127.0.0.1:{port}", {}).explain(b"{}", None)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "", "http://x:y", "x:99999999"])
def test_that_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        RouterClient(url, {})
