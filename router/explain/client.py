"""Asks a running router."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

_PATIENCE_S = 30.0


class NoExplanationError(Exception):
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
            raise NoExplanationError(f"{self._url}: {why}; is a router running there?") from None
        finally:
            connection.close()
        return self._read(status, text)

    def _read(self, status: int, text: bytes) -> Any:
        try:
            document = json.loads(text)
            if status == 200:
                return document
            said = document["error"]["message"]
        except (ValueError, KeyError, TypeError):
            said = (
                f"{self._url} answers {status} and not as a router; give its address with --router"
            )
        raise NoExplanationError(said)


def _address(url: str) -> SplitResult:
    address = urlsplit(url if "://" in url else f"http://{url}")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"{url!r} is not the URL of a router, like http://127.0.0.1:8080")
    _ = address.port  # raises ValueError too
    return address
