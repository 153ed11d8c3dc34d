"""Who may see what of the routes that are not inference: public ones, and those of the administrator."""

import hashlib
import re
from hmac import compare_digest
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Match

from router.edge.admin import unknown_route
from router.edge.console import is_shell
from router.edge.cors import Cors, is_preflight, replaced
from router.edge.envelope import error_body, error_headers
from router.edge.messages import Message, Receive, Scope, Send
from router.errors import RouterError, Source
from router.prompt.endpoints import Family

_PUBLIC = re.compile(r"/(?:health|ping|ready|metrics|v1/models(?:/.*)?)", re.DOTALL)
_MODELS = "/v1/models"
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_ONLY_ASKS = frozenset(("/explain",))
"""Reads a body and changes nothing."""
_OF_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""What a web page can send anywhere without asking first."""


class Gate:
    """Before the routes that are not inference.

    `key`: what the administrator's routes demand, None: nothing. `elsewhere`: they have a listener of their own,
    here they are not. `cors`: which web pages may list the models; none may ever use the administrator's routes.
    """

    def __init__(
        self, app: FastAPI, *, key: str | None, elsewhere: bool = False, cors: Cors | None = None
    ) -> None:
        self._app = app
        self._key = None if key is None else _digest(key.encode("ascii"))
        self._elsewhere = elsewhere
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _PUBLIC.fullmatch(scope["path"]) is None:
            await self._administer(scope, receive, send)
        elif self._cors is not None and scope["path"].startswith(_MODELS):
            await self._to_browsers(self._cors, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _administer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not any(route.matches(scope)[0] != Match.NONE for route in self._app.routes):
            await self._app(scope, receive, send)  # which says that there is no such route
            return
        if self._elsewhere:
            await _refusal(unknown_route(scope["method"], scope["path"]))(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if is_shell(scope["method"], scope["path"], headers):
            await self._app(scope, receive, send)
            return
        error = self._objection(scope["method"], scope["path"], headers)
        if error is None:
            await self._app(scope, receive, send)
        else:
            await _refusal(error)(scope, receive, send)

    def _objection(self, method: str, path: str, headers: Headers) -> RouterError | None:
        if self._key is not None:
            kind, _, given = headers.get("authorization", "").partition(" ")
            matches = compare_digest(_digest(given.strip().encode("latin-1")), self._key)
            return None if matches and kind.lower() == "bearer" else _UNAUTHORIZED
        if method in _READING or path in _ONLY_ASKS:
            return None
        return _cross_site(headers)

    async def _to_browsers(self, cors: Cors, scope: Scope, receive: Receive, send: Send) -> None:
        by_name: dict[bytes, bytes] = dict(scope["headers"])
        if is_preflight(scope["method"].encode("ascii"), by_name):
            try:
                answer = Response(status_code=204)
                answer.raw_headers = cors.preflight(by_name)
            except RouterError as error:
                answer = _refusal(error)
            await answer(scope, receive, send)
            return
        fields = cors.fields(by_name.get(b"origin"))

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = replaced(list(message["headers"]), fields)
            await send(message)

        await self._app(scope, receive, tell)


def _digest(key: bytes) -> bytes:
    """Of one length, whatever is compared."""
    return hashlib.sha256(key).digest()


_UNAUTHORIZED = RouterError(
    401,
    "invalid_admin_key",
    "This route is the administrator's: send `Authorization: Bearer` with the `admin_key`.",
    source=Source.CLIENT,
    fields=((b"www-authenticate", b"Bearer"),),
)


def _cross_site(headers: Headers) -> RouterError | None:
    """Why a request that changes something is not taken from a web page; browsers always say where theirs come from."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
        origin is not None and _place(origin) != headers.get("host")
    ):
        message = "Web pages of other sites may not change anything here."
        return RouterError(403, "cross_site_request", message, source=Source.CLIENT)
    if headers.get("content-type", "").partition(";")[0].strip().lower() in _OF_FORMS:
        message = "Send `Content-Type: application/json`; what a form can send is not taken."
        return RouterError(415, "unsupported_media_type", message, source=Source.CLIENT)
    return None


def _place(origin: str) -> str | None:
    """Host and port; None: it is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _refusal(error: RouterError) -> Response:
    answer = Response(error_body(error, Family.OPENAI), error.status)
    answer.raw_headers += error_headers(error, b"")
    return answer
