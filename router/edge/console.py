"""The console: a page for browsers at `/`, its files, and the events that it shows."""

from collections.abc import Mapping
from contextlib import aclosing
from hashlib import sha256
from importlib.resources import files

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from router.console.console import Console
from router.edge.messages import Receive, Scope, Send
from router.errors import RouterError, Source, no_such_worker

_JS, _CSS = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
_FILES = {
    "console/console.css": _CSS,
    "console/icon.svg": "image/svg+xml",
    "uplot/uPlot.iife.min.js": _JS,
    "uplot/uPlot.min.css": _CSS,
    **{
        f"console/{name}.js": _JS
        for name in (
            *("main", "stream", "cells", "details", "explain", "feed", "fleet"),
            *("format", "header", "plots", "theme", "words"),
        )
    },
}
_PAGE = "console/index.html"
_UNDER = "/console/"
_SECURITY = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Shell:
    """What a browser needs before it has any data: public, as nothing of the router's is in it."""

    def __init__(self) -> None:
        assets = files("router") / "assets"
        self._page = _File((assets / _PAGE).read_bytes(), "text/html; charset=utf-8")
        self._files = {
            path.rpartition("/")[2]: _File((assets / path).read_bytes(), kind)
            for path, kind in _FILES.items()
        }

    def root(self, request: Request, version: str) -> Response:
        """The page for a browser, for anybody else what this is."""
        if wants_page(request.headers):
            return self._page.answer(request, {"vary": "Accept"})
        about = {"service": "prefix-router", "version": version}
        return JSONResponse(about, headers={"vary": "Accept"})

    def file(self, name: str, request: Request) -> Response:
        """One of its files; raises `RouterError`, 404."""
        file = self._files.get(name)
        if file is None:
            message = f"The console has no file {name!r}."
            raise RouterError(404, "unknown_file", message, source=Source.CLIENT)
        return file.answer(request, {})


class _File:
    """A file that is part of the router: it only changes with it."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._data = data
        self._fields = {
            "content-type": kind,
            "cache-control": "no-cache",
            "etag": f'"{sha256(data).hexdigest()[:20]}"',
            **_SECURITY,
        }

    def answer(self, request: Request, more: Mapping[str, str]) -> Response:
        fields = self._fields | dict(more)
        known = request.headers.get("if-none-match", "")
        if fields["etag"] in known:
            return Response(status_code=304, headers=fields)
        return Response(self._data, headers=fields)


def is_shell(method: str, path: str, headers: Headers) -> bool:
    """Asks for the page or one of its files, which anybody may have."""
    if method not in ("GET", "HEAD"):
        return False
    return path in _PATHS or (path == "/" and wants_page(headers))


_PATHS = frozenset(_UNDER + path.rpartition("/")[2] for path in _FILES)


def wants_page(headers: Headers) -> bool:
    """Comes from a browser that shows what it gets to a person."""
    return "text/html" in headers.get("accept", "")


def add_console(app: FastAPI, console: Console, version: str) -> None:
    """Add the page to `app`, and what it asks for."""
    shell = Shell()

    @app.get("/console/stream", include_in_schema=False)
    async def stream(request: Request) -> Response:
        """Server-sent events: `hello`, `fleet`, `points`, `requests`, `bye`."""
        _same_site(request.headers)
        return _Stream(console)

    @app.get("/console/workers/{worker:path}", include_in_schema=False)
    async def details(worker: str) -> Response:
        """One worker, as `/workers` has it."""
        known = console.details(worker)
        if known is None:
            raise no_such_worker(worker)
        return JSONResponse(known, headers={"cache-control": "no-store"})

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def root(request: Request) -> Response:
        """Says what this is; a browser gets the console."""
        return shell.root(request, version)

    @app.api_route("/console/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def file(name: str, request: Request) -> Response:
        """One of the page's files."""
        return shell.file(name, request)


class _Stream(StreamingResponse):
    """Watches from its first byte to its last, however it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        fields = {"cache-control": "no-store", "x-accel-buffering": "no", **_SECURITY}
        super().__init__((), 200, fields, "text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        viewer = self._console.join()
        try:
            async with aclosing(self._console.watch(viewer)) as events:
                self.body_iterator = events
                await super().__call__(scope, receive, send)
        finally:
            self._console.leave(viewer)


def _same_site(headers: Headers) -> None:
    """Pages of other sites may not even keep the places of viewers taken."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        message = "Web pages of other sites may not watch this router."
        raise RouterError(403, "cross_site_request", message, source=Source.CLIENT)
