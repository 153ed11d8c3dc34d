"""The Responses API: whole, streamed, stored, continued, in the background."""

from typing import Any

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


async def test_whole_and_stored(local: Any) -> None:
    async with local() as worker:
        body = (await worker.post(PATH, {"input": "Hello", "max_output_tokens": 3})).json()
        again = (await worker.http.get(f"{PATH}/{body['id']}")).json()
        unstored = (await worker.post(PATH, {"input": "Hello", "store": False})).json()
        gone = await worker.http.get(f"{PATH}/{unstored['id']}")
        cancel = await worker.post(f"{PATH}/{body['id']}/cancel", {})
    assert body == again
    assert (body["status"], body["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert len(body["output"][0]["content"][0]["text"]) == 12
    assert unstored["status"] == "completed"
    assert gone.status_code == 404
    assert (cancel.status_code, cancel.json()["error"]["param"]) == (400, "response_id")


async def test_stream_order(local: Any) -> None:
    async with local() as worker:
        events = await worker.events(PATH, {"input": "Hello", "max_output_tokens": 3})
        stored = await worker.http.get(f"{PATH}/{events[-1][1]['response']['id']}")
    names = [str(name).removeprefix("response.") for name, _ in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(names[4:-4]) == {"output_text.delta"}
    assert [value["sequence_number"] for _, value in events] == list(range(len(events)))
    assert events[-1][1]["response"] == stored.json()
    assert stored.json()["usage"]["output_tokens"] == 3


async def test_streamed_tool_call(local: Any) -> None:
    async with local() as worker:
        body = {"input": "Hello", "tools": [TOOL], "tool_choice": "required"}
        events = await worker.events(PATH, body)
    [item] = events[-1][1]["response"]["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "weather", "{}")


async def test_continuing_a_response_reuses_its_prefix(local: Any) -> None:
    async with local() as worker:
        text = "Tell me all that you know about caches, please, and take your time."
        first = (await worker.post(PATH, {"input": text, "max_output_tokens": 40})).json()
        body = {"input": "And?", "previous_response_id": first["id"], "max_output_tokens": 1}
        second = (await worker.post(PATH, body)).json()
        unknown = await worker.post(PATH, {**body, "previous_response_id": "resp_none"})
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    assert cached > first["usage"]["input_tokens"]
    assert unknown.status_code == 404


async def test_background_response_completes_or_is_cancelled(local: Any, eventually: Any) -> None:
    async with local() as worker:
        body = {"input": "Hello", "background": True, "max_output_tokens": 5}
        queued = (await worker.post(PATH, body)).json()
        assert queued["status"] == "queued"
        stored = worker.worker.store.get(queued["id"])
        await eventually(lambda: stored.body["status"] == "incomplete")
        worker.worker.engine.pause()
        endless = (await worker.post(PATH, body)).json()
        cancelled = (await worker.post(f"{PATH}/{endless['id']}/cancel", {})).json()
        await eventually(lambda: not worker.worker.engine.scheduler.waiting)
    assert cancelled["status"] == "cancelled"
