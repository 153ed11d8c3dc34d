"""The ASGI application: routes, access key, CORS, errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from router.simworker import admin, chat, completions, embeddings, messages, responses, text
from router.simworker.fields import new_id
from router.simworker.http import (
    ApiError,
    Header,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    bad_request,
    disconnected,
    read_body,
)
from router.simworker.worker import Worker

Handler = Callable[[Worker, Request, Reply], Awaitable[None]]
_log = logging.getLogger(__name__)

ROUTES: dict[str, dict[str, Handler]] = {
    "/v1/chat/completions": {"POST": chat.chat_completions},
    "/v1/completions": {"POST": completions.completions},
    "/v1/messages": {"POST": messages.create},
    "/v1/messages/count_tokens": {"POST": messages.count_tokens},
    "/v1/responses": {"POST": responses.create},
    "/v1/responses/{}": {"GET": responses.retrieve},
    "/v1/responses/{}/cancel": {"POST": responses.cancel},
    "/v1/embeddings": {"POST": embeddings.create},
    "/v1/models": {"GET": admin.models},
    "/tokenize": {"POST": text.tokenize},
    "/detokenize": {"POST": text.detokenize},
    "/health": {"GET": admin.health},
    "/ping": {"GET": admin.health, "POST": admin.health},
    "/version": {"GET": admin.version},
    "/load": {"GET": admin.load},
    "/metrics": {"GET": admin.metrics},
    "/kv_event_sources": {"GET": admin.kv_event_sources},
    "/reset_prefix_cache": {"POST": admin.reset_prefix_cache},
    "/is_sleeping": {"GET": admin.is_sleeping},
    "/is_paused": {"GET": admin.is_paused},
    "/sleep": {"POST": admin.sleep},
    "/wake_up": {"POST": admin.wake_up},
    "/pause": {"POST": admin.pause},
    "/resume": {"POST": admin.resume},
    "/_fault": {"POST": admin.fault},
}
_ANY_METHOD = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


def find_route(path: str) -> tuple[dict[str, Handler] | None, str]:
    """Handlers by method of a path, and what stands for `{}` in its route."""
    if path in ROUTES:
        return ROUTES[path], ""
    parts = path.split("/")
    if len(parts) > 3 and parts[3]:
        argument, parts[3] = parts[3], "{}"
        return ROUTES.get("/".join(parts)), argument
    return None, ""


@dataclass(slots=True)
class App:
    """Serves one worker over ASGI (HTTP only)."""

    worker: Worker
    _keys: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        key = self.worker.config.api_key
        self._keys = frozenset([f"Bearer {key}"] if key else [])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection are refused."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id") or new_id().encode()
        reply = Reply(send, [(b"x-request-id", request_id)])
        if not self._allowed(scope, headers):
            await reply.json({"error": "Unauthorized"}, 401)
            return
        reply.extra += _cors(headers)
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await reply.text(b"OK", headers=_preflight(headers))
            return
        body = await read_body(receive)
        if body is None:
            return
        path = scope["path"]
        routes, argument = find_route(path)
        request = Request(scope["method"], path, scope["query_string"], headers, body, argument)
        await self._while_connected(self._answer(routes, request, reply), receive)

    def _allowed(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether the key fits; only /v1 is guarded, and CORS preflights never are."""
        if not self._keys or scope["method"] == "OPTIONS" or not scope["path"].startswith("/v1"):
            return True
        return headers.get(b"authorization", b"").decode("latin-1") in self._keys

    async def _answer(
        self, routes: dict[str, Handler] | None, request: Request, reply: Reply
    ) -> None:
        if routes is None:
            await reply.json({"detail": "Not Found"}, 404)
            return
        handler = routes.get(request.method)
        if handler is None:
            allow = ", ".join(routes).encode()
            await reply.json({"detail": "Method Not Allowed"}, 405, [(b"allow", allow)])
            return
        try:
            await handler(self.worker, request, reply)
        except ApiError as error:
            if reply.started:
                await reply.event(error.body())
                await reply.end(b"data: [DONE]\n\n")
            else:
                await reply.json(error.body(), error.status)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            # A field of a form that no check foresees; vLLM answers such errors in the same way.
            if reply.started:
                raise
            _log.info("odd request to %s", request.path, exc_info=True)
            await reply.json(bad_request(str(error)).body(), 400)

    @staticmethod
    async def _while_connected(work: Awaitable[None], receive: Receive) -> None:
        """Do the work, or drop it when the client goes; both end together."""
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(_run(work))
            watch = group.create_task(disconnected(receive))
            watch.add_done_callback(lambda _: answer.cancel())
            answer.add_done_callback(lambda _: watch.cancel())


async def _run(work: Awaitable[None]) -> None:
    await work


def _cors(headers: dict[bytes, bytes]) -> list[Header]:
    fields = [(b"vary", b"Origin")]
    if b"origin" in headers:
        fields.append((b"access-control-allow-origin", b"*"))
    return fields


def _preflight(headers: dict[bytes, bytes]) -> list[Header]:
    fields = [(b"access-control-allow-methods", _ANY_METHOD), (b"access-control-max-age", b"600")]
    wanted = headers.get(b"access-control-request-headers")
    return [*fields, (b"access-control-allow-headers", wanted)] if wanted else fields
