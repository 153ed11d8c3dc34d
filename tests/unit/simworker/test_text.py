"""/tokenize agrees with usage, /detokenize undoes it."""

from typing import Any


async def test_counts_agree_with_usage(local: Any) -> None:
    messages = [{"role": "user", "content": "Hällo <b>there</b>\n\nfriend"}]
    async with local() as worker:
        counted = (
            await worker.post("/tokenize", {"messages": messages, "return_token_strs": True})
        ).json()
        answer = await worker.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1})
        text = (await worker.post("/detokenize", {"tokens": counted["tokens"]})).json()["prompt"]
        bare = {"messages": messages, "add_generation_prompt": False}
        shorter = (await worker.post("/tokenize", bare)).json()
        again = (await worker.post("/tokenize", {"prompt": text})).json()
    assert counted["count"] == answer.json()["usage"]["prompt_tokens"] == len(counted["tokens"])
    assert "".join(counted["token_strs"]) == text
    assert again["tokens"] == counted["tokens"]
    assert again["token_strs"] is None
    assert shorter["count"] < counted["count"]
