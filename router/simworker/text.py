"""POST /tokenize and /detokenize."""

from router.simworker.chat import checked_messages
from router.simworker.fields import pick_model, require
from router.simworker.http import Reply, Request
from router.simworker.tokens import decode, encode, render_chat, token_text
from router.simworker.worker import Worker


async def tokenize(worker: Worker, request: Request, reply: Reply) -> None:
    """Token ids of a prompt or of a conversation."""
    body = request.json()
    model = pick_model(worker.config, body)
    if "messages" in body:
        messages = checked_messages(body["messages"], model)
        text = render_chat(messages, body.get("tools") or [])
        if body.get("add_generation_prompt") is False:
            text = text.removesuffix("<|im_start|>assistant\n")
    else:
        text = str(require(body, "prompt"))
    tokens = encode(text)
    strings = [token_text(token) for token in tokens] if body.get("return_token_strs") else None
    limit = worker.config.context_limit
    await reply.json(
        {"count": len(tokens), "max_model_len": limit, "tokens": tokens, "token_strs": strings}
    )


async def detokenize(worker: Worker, request: Request, reply: Reply) -> None:
    """Text of token ids."""
    body = request.json()
    pick_model(worker.config, body)
    await reply.json({"prompt": decode(require(body, "tokens"))})
