"""Asks a running router: over HTTP, and the options of commands that say which."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import click

F = TypeVar("F", bound=Callable[..., Any])

_URL = "http://127.0.0.1:8080"
_PATIENCE_S = 30.0


class NoAnswerError(Exception):
    """The router cannot be reached, or answers with an error; the message says so to a user."""


class RouterClient:
    """Calls a router at `url`; `headers` go with each request. Raises ValueError when `url` is none."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._address = _address(url)
        self._headers = {"content-type": "application/json", **headers}

    def models(self) -> list[str]:
        """Ids of the models that are served."""
        return [card["id"] for card in self._call("GET", "/v1/models")["data"]]

    def explain(self, body: bytes, endpoint: str | None) -> dict[str, Any]:
        """What would become of a request with this body now."""
        query = f"?endpoint={quote(endpoint)}" if endpoint else ""
        answer: dict[str, Any] = self._call("POST", f"/explain{query}", body)
        return answer

    def workers(self) -> list[dict[str, Any]]:
        """Every worker with its state."""
        found: list[dict[str, Any]] = self._call("GET", "/workers")["workers"]
        return found

    def add_worker(self, url: str) -> dict[str, Any]:
        """Have it in the fleet; its state."""
        answer: dict[str, Any] = self._call("POST", "/workers", json.dumps({"url": url}).encode())
        return answer

    def change_worker(self, worker: str, change: str) -> dict[str, Any]:
        """`drain`, `undrain` or `remove` it; its state."""
        target = f"/workers/{quote(worker, safe=':/')}"
        if change == "remove":
            answer: dict[str, Any] = self._call("DELETE", target)
        else:
            answer = self._call("POST", f"{target}/{change}")
        return answer

    def _call(self, method: str, target: str, body: bytes | None = None) -> Any:
        secure = self._address.scheme == "https"
        connection = (HTTPSConnection if secure else HTTPConnection)(
            self._address.hostname or "", self._address.port, timeout=_PATIENCE_S
        )
        try:
            connection.request(method, self._address.path.rstrip("/") + target, body, self._headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, HTTPException) as error:
            why = str(error) or type(error).__name__
            raise NoAnswerError(f"{self._url}: {why}; is a router running there?") from None
        finally:
            connection.close()
        return self._read(status, text)

    def _read(self, status: int, text: bytes) -> Any:
        try:
            document = json.loads(text)
            if status in (200, 201):
                return document
            said = document["error"]["message"]
        except (ValueError, KeyError, TypeError):
            said = (
                f"{self._url} answers {status} and not as a router; give its address with --router"
            )
        raise NoAnswerError(said)


def _address(url: str) -> SplitResult:
    address = urlsplit(url if "://" in url else f"http://{url}")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"{url!r} is not the URL of a router, like http://127.0.0.1:8080")
    _ = address.port  # raises ValueError too
    return address


def asks_a_router(command: F) -> F:
    """With the options `url` and `admin_key`; what they say is for `asking`."""
    url = click.option(
        "--router",
        "url",
        envvar="PREFIX_ROUTER_URL",
        metavar="URL",
        help=f"The router to ask, or its admin_port; also PREFIX_ROUTER_URL.  [default: {_URL}]",
    )
    key = click.option(
        "--admin-key",
        envvar="PREFIX_ROUTER_ADMIN_KEY",
        metavar="KEY",
        help="Its admin_key; best in the environment, as PREFIX_ROUTER_ADMIN_KEY.",
    )
    return url(key(command))


@contextmanager
def asking(
    url: str | None, admin_key: str | None, headers: Mapping[str, str] | None = None
) -> Iterator[RouterClient]:
    """The router that the options name. What it says no to ends the command; where `headers` have an authorization, that is sent
    instead of the key.
    """
    fields = dict(headers or {})
    if admin_key and "authorization" not in map(str.lower, fields):
        fields["authorization"] = f"Bearer {admin_key}"
    try:
        client = RouterClient(url or _URL, fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        yield client
    except NoAnswerError as error:
        said = str(error).replace("GET /workers", "`prefix-router workers`")
        raise click.ClickException(said) from None
