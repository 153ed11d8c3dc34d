"""POST /v1/responses, GET /v1/responses/{id}, POST /v1/responses/{id}/cancel."""

from collections.abc import Callable
from typing import Any

from router.simworker.chat import checked_messages
from router.simworker.fields import pick_model, require, sampling
from router.simworker.generate import Generation
from router.simworker.http import ApiError, Reply, Request
from router.simworker.respond import Draft, input_messages, part
from router.simworker.store import ResponseStore, Stored
from router.simworker.tokens import decode, encode, render_chat
from router.simworker.toolcalls import forced_call
from router.simworker.worker import Worker


async def create(worker: Worker, request: Request, reply: Reply) -> None:
    """Answer an input: at once, as a stream, or in the background."""
    body = request.json()
    asked = input_messages(require(body, "input"))
    model = pick_model(worker.config, body)
    call = forced_call(body.get("tools"), body.get("tool_choice"))
    draft = Draft.of(body, model, call)
    messages = checked_messages(_history(worker, body) + asked, model)
    how = sampling(body, ("max_output_tokens",), call[1] if call else None)
    generation = worker.generator(request).start([_prompt(body, messages)], model, how)
    stored = Stored(draft.response("queued"), messages)
    store = worker.store if body.get("store", True) else None
    if body.get("background"):
        worker.store.put(stored)
        assert worker.tasks is not None
        stored.task = worker.tasks.create_task(_in_background(draft, generation, stored))
        await reply.json(stored.body)
        return
    async with generation:
        if body.get("stream"):
            await _stream(draft, generation, reply, lambda done: _finish(stored, done, store))
            return
        [(tokens, reason)] = await generation.finish()
        _finish(stored, draft.finished(tokens, reason, generation), store)
    await reply.json(stored.body)


def _prompt(body: dict[str, Any], messages: list[dict[str, Any]]) -> list[int]:
    instructions = body.get("instructions")
    system = [{"role": "system", "content": instructions}] if instructions else []
    return encode(render_chat(system + messages, body.get("tools") or []))


def _history(worker: Worker, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Messages of the conversation that the request continues."""
    previous = body.get("previous_response_id")
    return list(_find(worker, str(previous)).messages) if previous else []


def _find(worker: Worker, response_id: str) -> Stored:
    stored = worker.store.get(response_id)
    if stored is None:
        message = f"Response with id '{response_id}' not found."
        raise ApiError(404, "invalid_request_error", message, "response_id")
    return stored


def _finish(stored: Stored, response: dict[str, Any], store: ResponseStore | None) -> None:
    """Complete `stored` and remember it in `store`."""
    stored.body = response
    if store is not None:
        store.put(stored)
    stored.messages = stored.messages + input_messages(response["output"])


async def _in_background(draft: Draft, generation: Generation, stored: Stored) -> None:
    try:
        async with generation:
            stored.body = draft.response("in_progress")
            [(tokens, reason)] = await generation.finish()
            _finish(stored, draft.finished(tokens, reason, generation), None)
    except ApiError as error:
        stored.body = draft.response("failed") | {"error": error.body()["error"]}


class _Events:
    """Sends events with their running number."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._number = 0

    async def send(self, kind: str, **fields: Any) -> None:
        event = {**fields, "sequence_number": self._number, "type": f"response.{kind}"}
        await self._reply.event(event, event["type"])
        self._number += 1


async def _stream(
    draft: Draft, generation: Generation, reply: Reply, finish: Callable[[dict[str, Any]], None]
) -> None:
    events = _Events(reply)
    where = {"item_id": draft.item_id, "output_index": 0}
    tokens: list[int] = []
    reason = ""
    async for delta in generation.deltas():
        if not reply.started:
            await reply.start_events()
            await _open(draft, events)
        if delta.tokens:
            tokens += delta.tokens
            await _piece(draft, events, decode(delta.tokens), where)
        reason = delta.finish_reason or reason
    response = draft.finished(tokens, reason, generation)
    finish(response)
    await _close(draft, events, decode(tokens), where)
    await events.send("completed", response=response)
    await reply.end()


async def _open(draft: Draft, events: _Events) -> None:
    await events.send("created", response=draft.response("in_progress"))
    await events.send("in_progress", response=draft.response("in_progress"))
    await events.send("output_item.added", item=draft.item("", "in_progress"), output_index=0)
    if not draft.call:
        where = {"content_index": 0, "item_id": draft.item_id, "output_index": 0}
        await events.send("content_part.added", **where, part=part("", []))


async def _piece(draft: Draft, events: _Events, text: str, where: dict[str, Any]) -> None:
    if draft.call:
        await events.send("function_call_arguments.delta", delta=text, **where)
    else:
        await events.send("output_text.delta", content_index=0, delta=text, logprobs=[], **where)


async def _close(draft: Draft, events: _Events, text: str, where: dict[str, Any]) -> None:
    if draft.call:
        name = draft.call[0]
        await events.send("function_call_arguments.done", arguments=text, name=name, **where)
    else:
        await events.send("output_text.done", content_index=0, logprobs=[], text=text, **where)
        await events.send("content_part.done", content_index=0, part=part(text), **where)
    await events.send("output_item.done", item=draft.item(text, "completed"), output_index=0)


async def retrieve(worker: Worker, request: Request, reply: Reply) -> None:
    """A stored response."""
    await reply.json(_find(worker, request.argument).body)


async def cancel(worker: Worker, request: Request, reply: Reply) -> None:
    """Stop a response that is made in the background."""
    stored = _find(worker, request.argument)
    if stored.body["status"] not in ("queued", "in_progress") or stored.task is None:
        message = "Cannot cancel a synchronous response."
        raise ApiError(400, "invalid_request_error", message, "response_id")
    stored.task.cancel()
    stored.body = {**stored.body, "status": "cancelled"}
    await reply.json(stored.body)
